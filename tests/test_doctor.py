"""The doctor finds each planted fault, and nothing in a healthy run."""

import json
import shlex
import shutil
from dataclasses import replace

import pytest

import uncollapse as uc
from tests.conftest import TINY
from uncollapse.cli import main
from uncollapse.runs.compose import compose
from uncollapse.runs.config import nest
from uncollapse.runs.doctor import CHECKS, findings
from uncollapse.runs.doctor.chart import Chart, examine, train_command
from uncollapse.runs.folder import Origin
from uncollapse.training.states import save_weights

METRICS = {
    "sentences": 1000, "tokens": 10000, "distortion": 80.0, "rate": 8.0, "nll_elbo": 88.0, "nll_elbo_se": 0.5, "nll_iw": 85.0,
    "nll_iw_se": 0.5, "iw_gap_se": 0.05, "mi": 5.0, "mi_se": 0.05, "mi_cap": 6.9, "au": 16, "latent": 16, "z_use": 20.0,
    "distinct": 0.95, "aggregate_mismatch": 0.5, "rate_by_dimension": [0.5] * 16, "robust_sigma": 1.2, "dead_region": 0.02,
    "prior_distinct": 0.8,
}  # fmt: skip
LOOK = {"step": 900, "rate": 8.0, "mi": 5.0, "lag": 2.0, "log_width": -0.05, "mi_cap": 5.3, "rates": []}


def entry(epoch, valid, *, train=None, advice="improved", weight=1.0, **more):
    values = {
        "epoch": epoch,
        "step": 100 * epoch,
        "weight": weight,
        "advice": advice,
        "seconds": 1.0,
        "selection": valid,
    }
    return {**values, "valid": {"nll_elbo": valid}, "train": {"nll_elbo": train or valid}, **more}


LOG = [entry(1, 95.0), entry(2, 90.0), entry(3, 88.1), entry(4, 88.0)]
CORPUS = {"train": {"sentences": 1000, "tokens": 10000, "unknown": 10, "left_out": 0}}


def chart(metrics=(), *, settings=(), log=LOG, looks=(LOOK,), corpus=CORPUS, lm=(), remedies=("kl-controller",)):
    config = compose("grammar", remedies, nest({"train.epochs": 4, "monitor.every": 7, **dict(settings)}))
    numbers = {**METRICS, **dict(metrics)}
    return Chart("runs/x", Origin("grammar", remedies, config), log, looks, corpus, "test", numbers, dict(lm))


DEAD = {"rate": 0.01, "mi": 0.01, "z_use": 0.0, "distinct": 0.01, "dead_region": 0.9, "robust_sigma": None}
PLANTED = {
    "dead_rate": chart({"mi": 0.01}, remedies=("kl-target",), settings={"objective.target": "8"}),
    "collapse": chart(DEAD, remedies=("vanilla",)),
    "unread_code": chart({"z_use": 0.4}),
    "lagging": chart(looks=[{**LOOK, "mi": 4.0, "lag": 4.1}, {**LOOK, "lag": None}]),
    "unfinished_schedule": chart(
        settings={
            "objective.weight": "linear(0, 1, 8 epochs)",
            "objective.target_kind": "batch",
            "objective.target": "0",
        }
    ),
    "early_decay": chart(
        log=[entry(1, 90.0), entry(2, 91.0, advice="decay", weight=0.5), entry(3, 89.0), entry(4, 88.9)],
        settings={
            "objective.weight": "linear(0, 1, 4 epochs)",
            "objective.target_kind": "batch",
            "objective.target": "0",
        },
    ),
    "missed_target": chart({"rate": 5.9}),
    "one_dimension": chart({"rate_by_dimension": [7.6, *[0.02] * 15]}),
    "holes": chart({"aggregate_mismatch": 2.0}),
    "dead_region": chart({"dead_region": 0.25}),
    "fragile": chart({"robust_sigma": 0.3}),
    "wrong_width": chart(looks=[{**LOOK, "log_width": -0.6}]),
    "first_epoch": chart(log=[entry(1, 88.0), *(entry(i, 88.5, advice="wait") for i in (2, 3, 4))]),
    "overfitting": chart(
        log=[
            entry(1, 95.0),
            entry(2, 88.0, train=88.0),
            entry(3, 90.0, train=80.0, advice="wait"),
            entry(4, 93.0, train=70.0, advice="wait"),
        ]
    ),
    "no_gain": chart(lm={"nll_elbo": 84.8, "nll_elbo_se": 0.5}),
    "capped": chart({"mi": 6.5}),
    "coarse": chart({"iw_gap_se": 0.6}),
    "unknown_words": chart(corpus={"train": {**CORPUS["train"], "unknown": 900}}),
    "left_out": chart(corpus={"train": {**CORPUS["train"], "left_out": 100}}),
    "still_improving": chart(log=[entry(1, 95.0), entry(2, 91.0), entry(3, 88.0)]),
}


def test_every_check_has_a_planted_fault():
    assert [check.__name__ for check in CHECKS] == list(PLANTED)


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_what_is_found(name):
    listed = findings(PLANTED[name])
    own = next(check for check in CHECKS if check.__name__ == name)(PLANTED[name])
    assert listed == [own] and own.evidence and own.reason and own.remedy


def test_the_doctor_counts_from_the_end_of_pretraining():
    """Thirty epochs as an autoencoder, of up to a hundred, whose rate has decayed; then the VAE."""
    before = [entry(i, 60.0, advice="decay" if i == 20 else "improved") | {"pretraining": True} for i in range(1, 31)]
    settings = {"train.pretrain_epochs": 100, "train.epochs": 104}
    after = [entry(30 + i, x) for i, x in enumerate((95.0, 91.0, 88.0), 1)]
    (found,) = findings(chart(log=before + after, settings=settings))
    assert found.title == "training ended while it still helped" and "--train.epochs 106" in found.command
    assert findings(chart(log=before + [entry(30 + e["epoch"], e["selection"]) for e in LOG], settings=settings)) == []
    unfinished = settings | {
        "objective.weight": "linear(0, 1, 8 epochs)",
        "objective.target_kind": "batch",
        "objective.target": "0",
    }
    (found,) = findings(chart(log=before + after, settings=unfinished))
    assert found.title == "a schedule was never completed" and "--train.epochs 108" in found.command
    old = [{**one, "advice": "pretrain"} for one in before]
    for one in old:
        del one["pretraining"]
    assert (
        chart(log=old + after).trained
        == chart(log=before + after).trained
        == chart(log=[entry(1, 95.0), entry(2, 91.0), entry(3, 88.0)]).trained
    )


def test_a_healthy_run_is_not_found_fault_with():
    assert findings(chart()) == []
    assert findings(chart(lm={"nll_elbo": 86.0, "nll_elbo_se": 0.5})) == []
    assert findings(chart(looks=())) == []
    assert findings(chart(looks=[{**LOOK, "mi": 5.2, "lag": 5.2}])) == []  # the MI of a look is at most log 200
    assert findings(chart(log=())) == []  # an imported run
    few = {"sentences": 200, "latent": 32, "au": 32, "aggregate_mismatch": 1.5}
    assert findings(chart(few)) == []  # what the moments of so few sentences are off by
    last = {"train.select": "last"}
    assert findings(chart(settings=last, log=[entry(i, 88.0, selection=-float(i)) for i in (1, 2, 3)])) == []


def test_close_numbers_beside_a_language_model_are_too_coarse():
    titles = [finding.title for finding in findings(chart(lm={"nll_elbo": 85.05, "nll_elbo_se": 0.5}))]
    assert titles == ["the evaluation is too coarse"]


@pytest.mark.parametrize(
    "name", [name for name in PLANTED if name not in ("dead_region", "no_gain", "coarse", "capped")]
)
def test_what_to_type_is_a_command_that_is_accepted(name, capsys, monkeypatch):
    command = findings(PLANTED[name])[0].command
    if not command:
        return
    words = shlex.split(command)
    assert words[:2] == ["uncollapse", "train"] and "--monitor.every" not in words
    monkeypatch.setattr("uncollapse.cli.train.preview", lambda *given: compose(*given))
    assert main([*words[1:], "--dry-run"]) == 0, capsys.readouterr().err


def test_no_command_is_that_of_the_run_itself():
    dead = findings(chart({"mi": 0.01}))[0]  # by kl-controller, which holds the rate
    assert dead.title == "the rate carries no information" and dead.command.endswith("--train.epochs 8")
    assert chart().again(remedies=("kl-controller", "kl-controller")) == ""
    assert chart().again("--optim.lr", "1", remedies=("kl-controller",)).endswith("--remedy kl-controller --optim.lr 1")
    lags = chart(looks=[{**LOOK, "lag": 9.0}], remedies=("kl-controller", "aggressive-adaptive"))
    assert [(one.remedy, one.command) for one in findings(lags)] == [("train the encoder more", "")]


def test_the_command_keeps_the_settings_of_the_run():
    config = compose(
        "grammar", ("annealed",), nest({"model.latent": 5, "optim.clip": 1.0, "train.optimisations": False})
    )
    origin = Origin("grammar", ("annealed",), config)
    words = shlex.split(train_command(origin, "--optim.clip", "2"))
    assert words == ["uncollapse", "train", "--recipe", "grammar", "--model.latent", "5", "--train.optimisations", "false",
                     "--remedy", "annealed", "--optim.clip", "2"]  # fmt: skip
    changed = replace(origin, config=replace(config, objective=replace(config.objective, target="4")))
    other, more = train_command(changed, remedies=("bn",)), train_command(changed, remedies=("annealed", "bn"))
    assert "--remedy bn" in other and "annealed" not in other and "target" not in other
    assert "--objective.target 4" in more and "--remedy annealed --remedy bn" in more
    kind = replace(
        origin, config=replace(config, objective=replace(config.objective, target="4", target_kind="sentence"))
    )
    assert "--objective.target_kind sentence" in train_command(
        kind, "--objective.target", "9"
    )  # no prefix is taken for it
    assert train_command(replace(origin, recipe="mine")) == train_command(replace(origin, remedies=("own",))) == ""


def test_numbers_of_an_evaluation_stay_and_those_of_other_weights_go(trained, tmp_path):
    run = uc.load(shutil.copytree(trained.path, tmp_path / "run"))
    before = run.evaluate("valid", 7, 30)
    chart = examine(run, "valid")
    after = run.metrics["valid"]
    assert {key: after[key] for key in before if key != "by_protocol"} == {
        k: before[k] for k in before if k != "by_protocol"
    }
    assert {"margin", "aggregate_kl"} <= set(after["by_protocol"]) and chart.metrics == after
    save_weights(run.folder.model_file, {name: value * 0.5 for name, value in run.folder.load_weights().items()})
    again = examine(uc.load(run.path), "valid").metrics
    assert again["nll_elbo"] != before["nll_elbo"] and again["margin"] != after["margin"]


def test_a_split_of_few_sentences_is_judged_without_its_moments(tmp_path):
    text = tmp_path / "few.txt"
    text.write_text("\n".join(f"the {a} {b} {c}" for a in "abcde" for b in "fghij" for c in "klm") + "\n")
    settings = {**TINY, "model": {"latent": 32}, "data": {"path": str(text), "level": "word"}}
    run = uc.train("default", "vanilla", out=tmp_path / "run", callbacks=[], **settings)
    assert len(run.splits()[0].test) <= 32
    assert "aggregate_kl" not in examine(run).metrics and "margin" in run.metrics["test"]


def test_a_language_model_must_be_one_on_the_same_sentences(trained, tmp_path):
    run = uc.load(shutil.copytree(trained.path, tmp_path / "run"))
    with pytest.raises(uc.UserError, match="expected a language model on the same valid sentences"):
        examine(run, "valid", lm=run)


def test_a_real_run_is_measured_once_and_judged(tmp_path, capsys, monkeypatch):
    run = uc.train("grammar", "beta", out=tmp_path / "run", callbacks=[], **{**TINY, "objective": {"weight": "30"}})
    assert main(["doctor", str(run.path), "--split", "valid"]) == 0
    out = capsys.readouterr().out
    assert "collapsed" in out and "1. the posterior has collapsed" in out and "type:" in out
    monkeypatch.setattr("uncollapse.runs.doctor.chart.measure", lambda *_, **__: pytest.fail("measured again"))
    assert main(["doctor", str(run.path), "--split", "valid", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["title"] == "the posterior has collapsed"
    lm = uc.train("grammar", "lm", out=tmp_path / "lm", callbacks=[], **{**TINY, "model": {"latent": 0}})
    monkeypatch.undo()
    assert examine(uc.load(run.path), "valid", lm=lm).lm["latent"] == 0


def test_a_shipped_run_is_measured_and_left_as_it_is(capsys):
    assert main(["doctor", "model:grammar"]) == 0
    assert "alive" in capsys.readouterr().out
    assert main(["doctor", "nothing"]) == 2
