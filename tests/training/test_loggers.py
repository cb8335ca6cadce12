"""Loggers write what the log says; weights are kept where a value is reached."""

import json

import pytest
import torch

import uncollapse as uc
from tests.conftest import TINY
from uncollapse.cli import main
from uncollapse.training.callbacks.files import Keep, read_condition
from uncollapse.training.callbacks.loggers import numbers
from uncollapse.training.states import load_weights

SETTINGS = {**TINY, "train": {**TINY["train"], "epochs": 3}}


def test_numbers_of_nested_entries():
    entry = {"epoch": 1, "train": {"loss": 2.5, "deep": {"x": 1}}, "advice": "wait", "rates": [1.0], "flag": True}
    assert dict(numbers(entry)) == {"epoch": 1.0, "train/loss": 2.5, "train/deep/x": 1.0}


def test_tensorboard_has_the_numbers_of_the_log(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = uc.train("grammar", "annealed", out=tmp_path / "run", callbacks=[],
                   **{**SETTINGS, "monitor": {"every": 10, "log": ("tensorboard",)}})  # fmt: skip
    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    for name, key in (("valid/nll_elbo", "nll_elbo"), ("valid/mi", "mi")):
        logged = [(event.step, event.value) for event in events.Scalars(name)]
        assert logged == [(entry["step"], pytest.approx(entry["valid"][key], rel=1e-5)) for entry in run.log]
    looks = run.folder.looks()
    assert [event.step for event in events.Scalars("monitor/z_use")] == [look["step"] for look in looks]
    text = events.Tensors("samples/text_summary")
    assert len(text) == 3 and text[-1].tensor_proto.string_val[0].decode().count("1. ") == 8
    codes = next((run.path / "tensorboard").glob("*/posterior-means/metadata.tsv")).read_text().splitlines()
    assert codes == run.splits()[0].valid.texts(range(len(codes))) and len(codes) == 1000


def test_wandb_gets_the_same_offline(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    logged, begin = [], wandb.init

    def init(**options):
        run = begin(**options)
        log = run.log
        run.log = lambda values: (logged.append(values), log(values))[1]
        return run

    monkeypatch.setattr(wandb, "init", init)
    run = uc.train("grammar", "annealed", out=tmp_path / "run", callbacks=[],
                   **{**SETTINGS, "monitor": {"every": 10, "log": ("wandb",)}})  # fmt: skip
    scalars = [values["valid/nll_elbo"] for values in logged if "valid/nll_elbo" in values]
    assert scalars == [entry["valid"]["nll_elbo"] for entry in run.log]
    tables = [json.loads(file.read_text()) for file in (run.path / "wandb").rglob("*.table.json")]
    sentences = [table for table in tables if table["columns"] == ["sentence"]]
    assert len(sentences) == 3 and all(len(table["data"]) == 8 for table in sentences)
    assert any(len(table["columns"]) == 1 + run.model.latent and len(table["data"]) == 1000 for table in tables)


def test_a_logger_is_closed_without_codes_where_training_fails(tmp_path):
    pytest.importorskip("tensorboard")

    class Fails(uc.callbacks.Callback):
        def on_step(self, trainer, update):
            raise MemoryError

    with pytest.raises(MemoryError):
        uc.train("grammar", out=tmp_path / "run", callbacks=[Fails()],
                 **{**SETTINGS, "monitor": {"log": ("tensorboard",)}})  # fmt: skip
    assert not list((tmp_path / "run" / "tensorboard").rglob("metadata.tsv"))


def test_a_logger_whose_package_is_absent_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("uncollapse.training.callbacks.loggers.find_spec", lambda name: None)
    for name in ("tensorboard", "wandb"):
        assert (
            main(["train", "--recipe", "grammar", "--log", name, "--train.epochs", "1", "--out", str(tmp_path / name)])
            == 2
        )
        assert f"{name} is not installed; run: pip install 'uncollapse[{name}]'" in capsys.readouterr().err
        assert not (tmp_path / name).exists()
    assert main(["train", "--recipe", "grammar", "--log", "tensorbord"]) == 2
    assert "did you mean tensorboard?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "read"),
    [("mi>=4", ("mi", 1, 4.0)), (" nll_elbo <= 1e2 ", ("nll_elbo", -1, 100.0)), ("rate>=-0.5", ("rate", 1, -0.5))],
)
def test_a_condition_is_read(text, read):
    assert read_condition(text) == read


@pytest.mark.parametrize("text", ["mi", "mi>4", "mi>=four", ">=4", "mi>=4 and rate>=1", "mi==4"])
def test_another_form_is_refused(text, capsys):
    assert main(["train", "--recipe", "grammar", "--train.keep", text]) == 2
    assert "expected a condition such as mi>=4" in capsys.readouterr().err


def test_weights_are_kept_at_every_epoch_that_reaches_the_value(tmp_path, capsys):
    class Weights(uc.callbacks.Callback):
        def __init__(self):
            self.seen = {}

        def on_measure(self, trainer, entry):
            self.seen[entry["epoch"]] = {n: v.clone() for n, v in trainer.model.state_dict().items()}

    train, weights = {**SETTINGS["train"], "epochs": 4}, Weights()
    before = uc.train("grammar", "annealed", out=tmp_path / "before", callbacks=[], **{**SETTINGS, "train": train})
    limit = round(sorted(entry["valid"]["nll_elbo"] for entry in before.log)[1] + 1e-3, 3)
    settings = {**SETTINGS, "train": {**train, "keep": f"nll_elbo<={limit}"}}
    run = uc.train("grammar", "annealed", out=tmp_path / "run", callbacks=[weights], **settings)
    reached = {entry["epoch"]: entry["valid"]["nll_elbo"] for entry in run.log if entry["valid"]["nll_elbo"] <= limit}
    files = sorted(file.name for file in (run.path / "kept").iterdir())
    assert files == [f"{epoch:04d}-nll_elbo-{value:.3f}.safetensors" for epoch, value in reached.items()] != []
    assert len(reached) == 2
    epoch = min(reached)
    assert all(
        torch.equal(value, weights.seen[epoch][name])
        for name, value in load_weights(run.path / "kept" / files[0]).items()
    )
    assert main(["evaluate", str(run.path), "--split", "valid", "--epoch", str(epoch), "--iw-samples", "0"]) == 0
    metrics = run.metrics
    assert list(metrics) == [f"valid@{epoch}"]
    assert metrics[f"valid@{epoch}"]["nll_elbo"] == pytest.approx(reached[epoch], rel=1e-6)
    assert uc.load(run.path, epoch=epoch).model.state_dict().keys() == run.model.state_dict().keys()
    capsys.readouterr()
    assert main(["evaluate", str(run.path), "--epoch", "9"]) == 2
    assert f"no weights were kept of epoch 9; kept: {', '.join(map(str, reached))}" in capsys.readouterr().err


def test_a_number_that_is_not_measured(tmp_path, capsys):
    assert main(["train", "--recipe", "grammar", "--train.keep", "m>=1"]) == 2
    assert "unknown number 'm'" in capsys.readouterr().err
    with pytest.raises(uc.UserError, match=r"train.keep"):
        Keep(tmp_path, "nothing>=1").on_measure(None, {"valid": {"mi": 1.0}, "epoch": 1})


def test_what_is_kept_of_an_epoch_whose_rate_decays_is_what_was_measured(tmp_path):
    settings = {
        **SETTINGS,
        "optim": {"optimizer": "sgd", "lr": 20.0, "clip": 1.0, "decay_after": 0, "patience": 1},
        "train": {**SETTINGS["train"], "epochs": 5, "keep": "nll_elbo<=1e6"},
    }
    run = uc.train("grammar", "vanilla", out=tmp_path / "run", callbacks=[], **settings)
    decays = [entry for entry in run.log if entry["advice"] == "decay"]
    assert decays
    kept = uc.load(run.path, epoch=decays[0]["epoch"])
    measured = kept.evaluate("valid", 0)
    assert measured["nll_elbo"] == pytest.approx(decays[0]["valid"]["nll_elbo"], rel=1e-6)
    assert measured["epochs"] == decays[0]["epoch"] < len(run.log)
