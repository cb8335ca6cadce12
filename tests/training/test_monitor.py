"""The monitor changes nothing, sees what there is, and can end a training."""

import json
import math
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import uncollapse as uc
from tests.conftest import TINY
from uncollapse.cli import main
from uncollapse.files import read_lines
from uncollapse.messages import sparkline
from uncollapse.runs.advice import ADVICE, Warn
from uncollapse.training.callbacks.monitor import LAG_COST, LAG_SHARE, LOOK_COST, SHARE, Monitor

train = partial(uc.train, "grammar", callbacks=[])


class Seen(uc.callbacks.Callback):
    def __init__(self):
        self.looks, self.modes = [], []

    def on_look(self, trainer, look):
        self.looks.append(look)
        self.modes.append((trainer.model.encoder.training, trainer.model.decoder.training))


def fit(*callbacks, epochs=2, freeze=False, **options):
    splits = uc.data.load(name="grammar", sentences=200, level="word")
    size = len(splits.vocabulary)
    torch.manual_seed(0)
    model = uc.VAE(uc.nn.RecurrentEncoder(size, 4, 6, 2), uc.nn.RecurrentDecoder(size, 4, 6, 2), uc.StandardNormal(2))
    if freeze:
        model.encoder.requires_grad_(False)
    objective = uc.Objective([uc.Penalty(weight=uc.linear(0, 1, 9))])
    how = {"optimizer": lambda p: torch.optim.Adam(p, 0.01), "epochs": epochs, **options}
    return uc.fit(model, objective, splits, callbacks=callbacks, **how), splits


def test_training_is_the_same_with_and_without_it(tmp_path):
    one, splits = fit()
    other, _ = fit(Monitor(splits.valid, every=2))
    assert all(torch.equal(one.best[name], other.best[name]) for name in one.best)


def test_looks_see_the_sample_and_leave_every_part_in_its_mode(tmp_path):
    valid = fit()[1].valid
    seen, monitor = Seen(), Monitor(valid, every=5, path=tmp_path / "looks.jsonl")
    result, _ = fit(monitor, seen, freeze=True, epochs=3)
    assert [look.step for look in seen.looks] == [5, 10, 15, 20]
    assert seen.modes == [(False, True)] * 4  # a frozen encoder stays in evaluation mode
    assert all(look.encoder_gradient == 0 for look in seen.looks)
    assert [line["state"] for line in read_lines(tmp_path / "looks.jsonl")] == [s.diagnosis.state for s in seen.looks]
    assert [entry["monitor"]["state"] for entry in result.log] == ["warming up", seen.looks[1].diagnosis.state,
                                                                   seen.looks[-1].diagnosis.state]  # fmt: skip
    assert seen.looks[0].weight == pytest.approx(4 / 9) and seen.looks[0].diagnosis.state == "warming up"
    assert seen.looks[2].weight == 1 and seen.looks[2].diagnosis.state != "warming up"


def test_the_gradient_of_the_encoder_is_a_part_of_the_whole(tmp_path):
    valid = fit()[1].valid
    for clip in (0.0, 1e-3):  # a clipped gradient is told as it was
        seen = Seen()
        fit(Monitor(valid, every=1), seen, clip=clip, epochs=1)
        assert all(0 < look.encoder_gradient < look.gradient for look in seen.looks)
        assert seen.looks[0].encoder_gradient > 1e-3


def test_looks_cost_no_more_than_their_share():
    splits = fit()[1]
    seen = Seen()
    few = splits.valid.subset(np.arange(12))
    fit(Monitor(few), seen, epochs=60)
    sentences = 60 * len(splits.train)
    assert len(seen.looks) == int(SHARE * sentences / (LOOK_COST * len(few))) > 0
    assert any(look.health.lag is not None for look in seen.looks)
    assert sum(look.health.lag is not None for look in seen.looks) * 8 * LAG_COST <= LAG_SHARE * sentences


def test_a_run_writes_its_looks_and_resumes_to_the_same(tmp_path):
    settings = {**TINY, "train": {**TINY["train"], "epochs": 4}, "monitor": {"every": 4}}

    class Kill(uc.callbacks.Callback):
        def on_step(self, trainer, update):
            if trainer.progress.step == 18:
                trainer.stop()

    whole = train("annealed", out=tmp_path / "whole", **settings)
    stopped = uc.train("grammar", "annealed", out=tmp_path / "parts", callbacks=[Kill()], **settings)
    assert len(stopped.folder.looks()) == 4
    parts = train("annealed", out=tmp_path / "parts", resume=True, **settings)
    assert parts.folder.looks() == whole.folder.looks() != []
    assert {look["state"] for look in whole.folder.looks()} <= {"warming up", *ADVICE, "healthy", "partial"}


def test_without_it_no_file_is_written(tmp_path):
    run = train("annealed", out=tmp_path / "run", **{**TINY, "monitor": {"enabled": False}})
    assert run.folder.looks() == [] and not run.folder.monitor_file.exists()
    assert "monitor" not in run.log[-1]
    lm = train("lm", out=tmp_path / "lm", **{**TINY, "model": {"latent": 0}, "monitor": {"every": 1}})
    assert lm.folder.looks() == []


HOPELESS = ["--objective.weight", "30", "--train.epochs", "9", "--monitor.every", "3"]


def test_a_training_without_hope_ends_early_with_its_status(tmp_path, capsys):
    flags = [f"--{s}.{k}={v}" for s, values in TINY.items() for k, v in values.items() if k != "epochs"]
    command = ["train", "--recipe", "grammar", "--remedy", "beta", *flags, *HOPELESS, "--stop-when", "collapsed"]
    assert main([*command, "--out", str(tmp_path / "run")]) == 3
    run = uc.load(tmp_path / "run")
    assert 3 < len(run.log) < 9 and {entry["monitor"]["state"] for entry in run.log[-3:]} == {"collapsed"}
    err = capsys.readouterr().err
    assert err.count("monitor: collapsed at step") == 1 and "--remedy kl-controller" in err
    assert main([*command, "--out", str(tmp_path / "run"), "--resume"]) == 3  # it is still hopeless
    assert main(["train", "--stop-when", "never", "--out", str(tmp_path / "x")]) == 2


def test_a_look_counts_for_its_epoch_alone():
    monitor, entry = Monitor(fit()[1].valid, stop_when="collapsed"), {"epoch": 7}
    monitor.last = SimpleNamespace(epoch=2, diagnosis=SimpleNamespace(state="collapsed", evidence=""))
    for _ in range(5):
        monitor.on_validate(None, entry)
    assert "monitor" not in entry


def test_bars_of_numbers_that_are_not_finite():
    assert sparkline([0.0, 1.0, math.inf, math.nan]) == "▁███" and sparkline([2.0, 2.0]) == "▁▁" and sparkline([]) == ""


def test_a_damaged_file_of_looks_is_one_line(tmp_path):
    run = train("annealed", out=tmp_path / "run", **{**TINY, "monitor": {"every": 4}})
    run.folder.monitor_file.write_text(json.dumps({"step": 1}) + "\n")
    with pytest.raises(uc.UserError, match="monitor.jsonl"):
        run.folder.looks()


def test_a_state_is_warned_of_after_some_looks_in_a_row(capsys):
    warn, number = Warn(), iter(range(99))

    def look(state, lag=None):
        health = SimpleNamespace(lag=lag)
        warn.on_look(
            None,
            SimpleNamespace(step=next(number), diagnosis=SimpleNamespace(state=state, evidence="e"), health=health),
        )
        return capsys.readouterr().err

    assert not look("collapsed") and not look("partial") and not look("collapsed")  # it came and went
    assert "monitor: collapsed at step 3 (e); to change it: hold the rate" in look("collapsed")
    assert not look("collapsed")  # once
    assert not look("lagging", 5.0) and not look("healthy") and not look("lagging", 5.0) and not look("healthy")
    assert "monitor: lagging at step 9" in look("lagging", 5.0)
    assert not look("dead rate") and not look("healthy", 1.0) and not look("healthy") and not look("warming up")
