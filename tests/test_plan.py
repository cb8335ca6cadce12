"""What is refused before anything is built: settings that mean nothing, sizes that do not fit, devices that cannot compute."""

import pytest
import torch

import uncollapse as uc
from tests.conftest import TINY
from uncollapse.cli import main
from uncollapse.runs import plan as plan_module
from uncollapse.runs.config import merge
from uncollapse.training.timing import Pace

BASE = "train --recipe grammar --data.sentences 60 --encoder.hidden 8 --decoder.hidden 8 --encoder.emb 8 --decoder.emb 8 --train.epochs 1".split()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--train.threads 100000", "train.threads: expected an integer from 0 to 1024"),
        ("--train.seed 18446744073709551616", "train.seed: expected an integer from 0 to"),
        ("--data.sentences 12345678901234567890123456", "data.sentences: expected an integer from 0 to"),
        ("--train.device meta", "train.device: expected a device of this machine"),
        ("--encoder.hidden 10000000 --decoder.hidden 10000000", "the model would take"),
        ("--encoder.emb 1000000000 --decoder.emb 1000000000", "the model would take"),
        ("--model.latent 100000000", "the model would take"),
        ("--decoder.kind cnn --decoder.context 99999999", "the model would take"),
        ("--data.side 100000", "data.side: expected an integer from 8 to 512"),
        ("--objective.target 5 --objective.weight 0", "a floor or target needs a weight above 0"),
        ("--objective.floor 5 --objective.weight 0.0", "a floor or target needs a weight above 0"),
        ("--objective.floor 1e30", "objective.floor: expected a number from 0 to"),
        ("--objective.divergence renyi --objective.alpha 0", "Renyi divergence needs an order above 0"),
        ("--encoder.bn 0.6 --train.batch_size 1", "a batch of one sentence has no variance"),
        ("--objective.weight linear(1,-1,1steps)", "objective.weight: expected values of at least 0"),
        ("--encoder.state_pooling max --remedy twr-mean", "encoder.state_pooling max: there is one posterior"),
        ("--model.condition ,", "model.condition: expected names, separated by commas"),
        ("--model.latent 0 --encoder.bn 0.6", "nothing for floor, target, mmd, bow or bn"),
    ],
)
def test_one_line_and_nothing_left_behind(tmp_path, monkeypatch, capsys, flags, said):
    monkeypatch.chdir(tmp_path)
    assert main([*BASE, *flags.split()]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert said in lines[-1] and not any("Traceback" in line for line in lines)
    assert not list(tmp_path.rglob("*.yaml"))


def test_memory_is_counted_before_it_is_taken(monkeypatch, tmp_path, capsys):
    """A machine with a kibibyte: the network of this test needs more, and says how much."""
    monkeypatch.setattr(plan_module.os, "sysconf", lambda name: 32)
    assert main([*BASE, "--out", str(tmp_path / "run")]) == 2
    assert "GiB of memory in training, and there are 0" in capsys.readouterr().err
    assert merge(TINY, {})  # the settings of other tests are far below


def test_data_are_read_once_and_the_model_is_built_once_for_a_training(tmp_path, monkeypatch):
    import uncollapse as uc
    from uncollapse.runs.builders import data, model

    calls = []
    for where, name in ((data, "build_splits"), (model, "build_model")):
        original = getattr(where, name)

        def counted(*args, original=original, name=name, **options):
            if torch.empty(0).device.type != "meta":  # where nothing is allocated
                calls.append(name)
            return original(*args, **options)

        for module in ("uncollapse.runs.plan", "uncollapse.runs.builders.model", "uncollapse.runs.run"):
            monkeypatch.setattr(f"{module}.{name}", counted, raising=False)
    run = uc.train("grammar", out=tmp_path / "run", **merge(TINY, {"train": {"epochs": 1}}))
    run.splits(), run.evaluate("valid", 2, 10)
    assert calls == ["build_splits", "build_model"]


def test_a_text_too_long_for_the_minutes_is_visited_in_parts(tmp_path, monkeypatch, capsys):
    """By a pace of a second a step, and a validation of two: four epochs of 28 steps in two minutes, of 53 that there are."""
    monkeypatch.setattr(plan_module, "measure_pace", lambda *_, **__: Pace(1.0, 2.0))
    flags = (
        "train --recipe grammar --data.sentences 840 --train.batch_size 16 --train.epochs 0 --train.minutes 2 --dry-run"
    )
    assert main(flags.split()) == 0
    said = capsys.readouterr().err
    assert "4 epochs of 28 steps of 16 sentences, each over 53% of the text, about 2 min" in said
    assert main([*flags.replace("--train.minutes 2", "--train.minutes 4").split()]) == 0
    assert "4 epochs of 53 steps of 16 sentences, about 4 min" in capsys.readouterr().err


def test_a_dry_run_says_what_would_be_chosen_and_leaves_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "captions.txt").write_text("".join(f"A man number {i} is here.\n" for i in range(200)))
    assert main("train --data.path captions.txt --train.minutes 0.1 --dry-run".split()) == 0
    out, err = capsys.readouterr()
    for said in (
        "tokens: subwords",
        "network: lstm, hidden 128, embeddings 64, z 32",
        "training: kl-controller, adam 0.004",
    ):
        assert said in err
    assert out == "" and [path.name for path in tmp_path.iterdir()] == ["captions.txt"]


@pytest.mark.parametrize(
    ("flags", "remedies", "folder"),
    [
        ("", ["kl-controller"], "captions-1"),
        ("--seed 3", ["kl-controller"], "captions-3"),
        ("--remedy bn", ["bn"], "captions-bn-1"),
        ("--model.latent 0", [], "captions-1"),
        ("--objective.weight 0.4", [], "captions-1"),
    ],
)
def test_the_default_has_a_remedy_unless_another_is_meant(tmp_path, monkeypatch, flags, remedies, folder):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "captions.txt").write_text("".join(f"A man number {i} is here.\n" for i in range(100)))
    flags = f"train --data.path captions.txt --encoder.hidden 8 --decoder.hidden 8 --train.epochs 1 {flags}"
    assert main(flags.split()) == 0
    made = uc.load(tmp_path / "runs" / folder)
    assert list(made.remedies) == remedies and made.config.data.level == "bpe"
    assert main([*flags.split(), "--resume"]) == 0  # what was left open is taken from the run
