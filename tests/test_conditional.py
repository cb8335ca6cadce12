"""A conditional run from training to use: the loop, the folder, the Python face and the command line."""

import json
import math
import shutil

import numpy as np
import pytest
import torch

import uncollapse as uc
from tests.conftest import all_remedies
from uncollapse.cli import main
from uncollapse.distributions.priors import Source
from uncollapse.errors import UserError
from uncollapse.objectives import ForwardPass
from uncollapse.runs.builders.model import build_model
from uncollapse.runs.builders.objective import build_objective
from uncollapse.runs.folder import RunFolder
from uncollapse.runs.measure import measure_protocol
from uncollapse.schedules import Clock, constant, parse
from uncollapse.tasks.forms.consistency import FormConsistency
from uncollapse.training.callbacks import Callback
from uncollapse.training.guards import Interrupted
from uncollapse.training.states import load_state

SMALL = {
    "model": {"latent": 4},
    "encoder": {"emb": 8, "hidden": 24},
    "decoder": {"emb": 8, "hidden": 24},
    "data": {"sentences": 400},
    "train": {"epochs": 2, "batch_size": 16, "device": "cpu", "fit_prior": 2, "select": "transfer_bleu4"},
    "optim": {"lr": 0.01, "lr_factor": "linear(1, 0, 100%)"},
    "objective": {"teacher_forcing": "step-decay(1, 0.5, 1 epochs)"},
}


@pytest.fixture(scope="module")
def verbs(tmp_path_factory):
    return uc.train("verbs", out=tmp_path_factory.mktemp("runs") / "verbs", **SMALL)


@pytest.fixture
def run(verbs, tmp_path):
    return str(shutil.copytree(verbs.path, tmp_path / "verbs"))


def words(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_every_epoch_is_logged_with_its_schedules_and_conversions(verbs):
    first, last = verbs.log
    assert first["teacher_forcing"] == 1.0 and last["teacher_forcing"] == 0.5  # what the epoch was trained by
    assert first["lr"] == pytest.approx(0.005) and last["lr"] == pytest.approx(0.0, abs=1e-4)
    for entry in verbs.log:
        assert entry["selection"] == -entry["valid"]["transfer_bleu4"]
        assert 0 <= entry["valid"]["transfer_exact"] <= 1 and 0 <= entry["valid"]["transfer_copied"] <= 1


def test_a_run_converts_samples_reconstructs_and_encodes_under_labels(verbs):
    texts = ["walk", "sing"]
    mu = verbs.encode(texts, "sp")
    assert verbs.transfer(texts, "sp", "p") == verbs.decode(mu, labels="p")
    assert verbs.transfer(texts, "sp", "tense=sp") == verbs.reconstruct(texts, labels="sp")
    assert not np.allclose(mu, verbs.encode(texts, {"tense": ["tp", "pg"]}))
    assert verbs.sample(3, seed=5, labels="p") == verbs.sample(9, seed=5, labels="p")[:3]
    assert len(verbs.sample(4)) == 4 and len(verbs.sample(4, prior="fitted", labels="pg")) == 4
    assert not torch.equal(
        verbs.folder.load_prior(verbs.model.latent).sample(3, Source(0)), verbs.model.prior.sample(3, Source(0))
    )


def test_labels_are_drawn_as_often_as_they_occur(verbs):
    drawn = verbs._drawn_classes(4000, 0)["tense"].bincount() / 4000
    torch.testing.assert_close(drawn, torch.full((4,), 0.25), atol=0.03, rtol=0)
    assert verbs.folder.corpus()["train"]["labels"] == {"tense": {"sp": 100, "tp": 100, "pg": 100, "p": 100}}


def test_the_fitted_prior_is_a_mixture_of_what_was_asked_for(verbs):
    prior = verbs.folder.load_prior(verbs.model.latent)
    assert prior.means.shape == (2, 4) and math.isclose(float(prior.weights.sum()), 1, rel_tol=1e-5)
    with pytest.raises(UserError, match="is of the best weights, not of those of epoch 1"):
        RunFolder(verbs.path, 1).load_prior(verbs.model.latent)


def test_bad_labels_and_letters_are_one_clear_line(verbs, trained):
    for call, match in (
        (lambda: verbs.transfer(["walk"], "sp", "past"), "unknown label 'past' of tense"),
        (lambda: verbs.transfer(["walk"], "mood=sp", "p"), "unknown label field 'mood'"),
        (
            lambda: verbs.transfer(["walk", "café 7"], "sp", "p"),
            "sentence 2, 'café 7': expected letters .* got ' ' '7' 'é'",
        ),
        (lambda: verbs.encode(["walk"]), r"the run is conditional, expected labels \(tense: sp, tp, pg, p\), got none"),
        (lambda: trained.transfer(["the cat"], "0", "1"), "expected a conditional run"),
        (lambda: trained.encode(["the cat"], "0"), "unconditional and takes no labels"),
        (lambda: trained.sample(2, prior="fitted"), "no fitted prior; train with --train.fit_prior"),
        (lambda: verbs.sample(2, prior="fited"), "unknown prior 'fited'.*fitted"),
    ):
        with pytest.raises(UserError, match=match):
            call()


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"data": {"name": "grammar"}, "objective": {"translate": True}}, "expected rows of parallel forms"),
        ({"model": {"condition": ""}}, "the decoder needs the form as a condition"),
        ({"objective": {"translate": False}, "model": {"condition": ""}}, "train.select transfer_bleu4"),
        ({"model": {"latent": 0}, "train": {"select": "loss"}}, "has no codes to fit a prior to"),
    ],
)
def test_settings_that_the_data_cannot_serve_are_refused(settings, match, tmp_path):
    base = {section: {**SMALL.get(section, {}), **settings.get(section, {})} for section in {*SMALL, *settings}}
    if settings.get("data"):
        base["model"] = {**base["model"], "condition": ""}
    with pytest.raises(UserError, match=match):
        uc.train("verbs", out=tmp_path / "run", **base)


def test_an_interrupted_conditional_run_goes_on_bit_for_bit(verbs, tmp_path):
    import os
    import signal

    class Stop(Callback):
        left = 32  # within the second epoch

        def on_step(self, trainer, update):
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        uc.train("verbs", out=tmp_path / "run", callbacks=[Stop()], **SMALL)
    again = uc.train("verbs", out=tmp_path / "run", resume=True, **SMALL)
    for name, value in again.folder.load_weights().items():
        assert value.equal(verbs.folder.load_weights()[name]), name
    assert again.folder.load_prior(again.model.latent).means.equal(verbs.folder.load_prior(verbs.model.latent).means)


def test_translation_decodes_other_forms_of_the_row(tmp_path):
    """With `translate` off the decoder writes the sentence itself: at a weight of 0 the two losses part."""
    logs = {}
    for translate in (False, True):
        done = uc.train(
            "verbs", out=tmp_path / str(translate), **(SMALL | {"objective": {"weight": "0", "translate": translate}})
        )
        logs[translate] = done.log[0]["train"]["distortion"]
    assert logs[True] != logs[False]


def test_the_last_weights_are_kept_where_asked(tmp_path):
    settings = SMALL | {"train": SMALL["train"] | {"select": "last", "epochs": 3, "fit_prior": 0}}
    done = uc.train("verbs", out=tmp_path / "run", **settings)
    assert [entry["advice"] for entry in done.log] == ["improved"] * 3
    state = load_state(RunFolder(done.path).state_file)["model"]
    assert all(value.equal(state[name]) for name, value in done.folder.load_weights().items())


# -- the command line ---------------------------------------------------------------------------------------------------


def test_transfer_on_the_command_line(run, tmp_path, capsys):
    file = words(tmp_path / "words.txt", "walk", "sing", "bake")
    assert main(["transfer", run, file, "--from", "sp", "--to", "pg"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out == uc.load(run).transfer(["walk", "sing", "bake"], "sp", "pg")
    labelled = tmp_path / "words.jsonl"
    labelled.write_text(
        "".join(json.dumps({"text": t, "label": {"tense": "sp"}}) + "\n" for t in ("walk", "sing", "bake"))
    )
    assert main(["transfer", run, str(labelled), "--to", "tense=pg"]) == 0
    assert capsys.readouterr().out.splitlines() == out


def test_sampling_encoding_and_reconstructing_take_labels(run, tmp_path, capsys):
    assert main(["sample", run, "-n", "3", "--label", "p", "--prior", "fitted"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    file = words(tmp_path / "words.txt", "walk")
    assert main(["reconstruct", run, file, "--label", "sp"]) == 0 and main(["encode", run, file, "--label", "sp"]) == 0
    capsys.readouterr()
    assert main(["reconstruct", run, file]) == 2 and "expected labels" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--from", "sp"], "expected --to LABEL"),
        (["--from", "sp", "--to", "future"], "unknown label 'future' of tense"),
        (["--to", "p"], "expected labels of tense: the sentences carry none; add --from LABEL"),
    ],
)
def test_wrong_transfers_are_one_line(run, tmp_path, capsys, arguments, match):
    assert main(["transfer", run, words(tmp_path / "w.txt", "walk"), *arguments]) == 2
    err = capsys.readouterr().err.strip().splitlines()[-1]
    assert match in err


def test_the_tense_protocol_writes_its_numbers(run, capsys):
    assert main(["evaluate", run, "--protocol", "tense", "--iw-samples", "0"]) == 0
    out = capsys.readouterr().out
    metrics = uc.load(run).metrics["test"]
    for key in (
        "gaussian_score",
        "gaussian_distinct",
        "fitted_score",
        "heldout_exact",
        "heldout_exact_regular",
        "leak_accuracy",
    ):
        assert key in out and 0 <= metrics[key] <= 100
    assert "sp>tp" in out and len(metrics["heldout_directions"]) == 12 and len(metrics["gaussian_rows"]) == 100


def test_the_lab_pairs_are_scored_by_their_directions(tmp_path, capsys):
    from uncollapse.tasks.forms.morphology import base_verbs, conjugate

    folder = tmp_path / "lab"
    folder.mkdir()
    words(folder / "train.txt", *(" ".join(conjugate(base)) for base in base_verbs()[:60]))
    words(folder / "test.txt", "abandon abandoned", "abating abate")
    settings = SMALL | {
        "data": {"path": str(folder), "directions": "sp>p, pg>sp"},
        "train": {"epochs": 1, "fit_prior": 0, "select": "last", "batch_size": 16},
    }
    done = uc.train("tense", out=tmp_path / "run", **settings)
    assert main(["evaluate", str(done.path), "--protocol", "tense", "--iw-samples", "0"]) == 0
    assert "abandon" in capsys.readouterr().out
    result = uc.load(done.path).metrics["test"]
    pairs = result["tense_pairs"]
    assert [(p["word"], p["reference"]) for p in pairs] == [("abandon", "abandoned"), ("abating", "abate")]
    assert result["tense_bleu4"] == pytest.approx(np.mean([p["bleu4"] for p in pairs]))
    assert pairs[0]["written"] == done.transfer(["abandon"], "sp", "p")[0]


def test_the_transfer_protocol_needs_labels_and_says_what_it_measured(tmp_path, trained, capsys):
    random = np.random.default_rng(0)
    good, bad, other = ["good", "great"], ["bad", "awful"], ["food", "place", "the"]
    lines = []
    for i in range(300):
        label = i % 2
        lines.append(f"{label}\t{random.choice(other)} {random.choice(good if label else bad)} {random.choice(other)}")
    file = words(tmp_path / "reviews.tsv", *lines)
    done = uc.train(
        "default", out=tmp_path / "run", data={"path": file},
        model={"latent": 4, "condition": "label"}, encoder={"emb": 8, "hidden": 16}, decoder={"emb": 8, "hidden": 16}, train={"epochs": 1},
    )  # fmt: skip
    assert main(["evaluate", str(done.path), "--protocol", "transfer", "--iw-samples", "0"]) == 0
    assert "transfer_accuracy" in capsys.readouterr().out
    result = uc.load(done.path).metrics["test"]
    assert result["classifier_accuracy"] == 1 and 0 <= result["transfer_accuracy"] <= 1
    assert main(["evaluate", str(trained.path), "--protocol", "transfer", "--iw-samples", "0"]) == 2
    assert main(["evaluate", str(done.path), "--protocol", "tenses"]) == 2
    assert "unknown protocol 'tenses': " in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_curves_are_drawn(run, tmp_path, suffix):
    path = tmp_path / f"curves.{suffix}"
    assert main(["plot", run, "curves", "--out", str(path)]) == 0
    assert path.stat().st_size > 5000


def test_curves_of_several_runs_by_a_setting_and_bad_plots(run, trained, tmp_path, capsys):
    out = ["--out", str(tmp_path / "both.png")]
    assert main(["plot", run, str(trained.path), "curves", "--by", "objective.weight", *out]) == 0
    capsys.readouterr()
    for arguments, match in (
        ([run, "curvs"], "did you mean curves"),
        ([run, "curves", "--out", "x.jpg"], "*.png, *.svg or *.pdf"),
        ([run, "curves", "--by", "objective.weigth"], "objective.weight"),
        ([str(tmp_path), "curves"], "holds no config.yaml"),
    ):
        assert main(["plot", *arguments]) == 2
        assert match in capsys.readouterr().err


def test_the_shown_panels_are_those_that_say_something(verbs, trained):
    from uncollapse.reporting.curves import series, shown

    panels = shown({"verbs": verbs.log})
    assert "teacher-forcing" in panels and "transfer-bleu4" in panels and not {"inner-steps", "loss"} & set(panels)
    assert "teacher-forcing" not in shown({"trained": trained.log})
    assert series(verbs.log, "valid.rate") == ([1, 2], [entry["valid"]["rate"] for entry in verbs.log])


@pytest.mark.parametrize("remedy", all_remedies())
def test_every_remedy_goes_with_a_conditional_model(remedy, tmp_path):
    settings = {
        "model": {"latent": 4},
        "encoder": {"emb": 8, "hidden": 12},
        "decoder": {"emb": 8, "hidden": 12},
        "data": {"sentences": 80},
        "train": {
            "epochs": 2,
            "pretrain_epochs": int(remedy == "fbp"),
            "batch_size": 16,
            "device": "cpu",
            "aggressive_steps": 3 * remedy.startswith("aggressive"),
        },
        "objective": {"form_consistency": "0.1"},
    }
    if remedy == "lm":
        settings |= {"objective": {"translate": False}, "model": settings["model"] | {"latent": 0}}
    done = uc.train("verbs", remedy, out=tmp_path / "run", **settings)
    assert math.isfinite(done.log[-1]["train"]["loss"]) and len(uc.load(done.path).sample(2, labels="p")) == 2


def test_a_prior_of_labels_is_learned_saved_and_used(tmp_path):
    settings = SMALL | {"model": SMALL["model"] | {"prior": "label"}, "objective": {"translate": False, "weight": "1"}}
    done = uc.train("verbs", out=tmp_path / "run", **settings)
    table = done.model.prior.tables[0].weight
    assert table.abs().sum() > 0 and not torch.allclose(table[0], table[1])
    assert done.evaluate(iw_samples=3)["rate"] > 0 and len(done.sample(3, labels="p")) == 3


def test_data_without_the_labels_that_a_run_is_told_are_refused(verbs, tmp_path):
    file = words(tmp_path / "plain.txt", *["walk"] * 40)
    with pytest.raises(UserError, match="the model is conditioned on tense, but the data have no such labels"):
        verbs.evaluate(data={"path": file, "format": "txt"})


def test_a_missing_file_of_pairs_is_one_line(tmp_path):
    words(tmp_path / "train.txt", *["walk walks walking walked"] * 40)
    with pytest.raises(
        UserError, match=r"test.txt: no such file of pairs \(data.pairs\); without one, add --data.pairs="
    ):
        uc.train("tense", out=tmp_path / "run", data={"path": str(tmp_path)})


# -- mended after a review ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    """Return a folder of labelled sentences in .txt files, as short Yelp has them, and a run on it."""
    folder = tmp_path_factory.mktemp("reviews")
    random = np.random.default_rng(0)
    for part, count in (("train", 200), ("valid", 40), ("test", 40)):
        said = (f"{random.choice(['food', 'place'])} {random.choice(['bad', 'good'])}" for _ in range(count))
        words(folder / f"{part}.txt", *(f"{i % 2}\t{text}" for i, text in enumerate(said)))
    done = uc.train(
        "sentiment", out=folder / "run", data={"path": str(folder)},
        model={"latent": 4}, encoder={"emb": 8, "hidden": 12}, decoder={"emb": 8, "hidden": 12}, train={"epochs": 1},
    )  # fmt: skip
    return folder, done


def test_changed_labels_are_noticed(reviews, tmp_path):
    folder, done = reviews
    for part in ("train", "valid", "test"):
        lines = (folder / f"{part}.txt").read_text()
        (tmp_path / f"{part}.txt").write_text(
            "".join(f"{'10'[int(line[0])]}{line[1:]}\n" for line in lines.splitlines())
        )
    assert done.splits()[1] == []
    assert "the train, valid, test split differs" in done.splits({"path": str(tmp_path)})[1][-1]


def test_a_labelled_file_with_from_gives_the_sentences_of_that_label(reviews, tmp_path, capsys):
    folder, done = reviews
    run = str(done.path)
    assert main(["transfer", run, str(folder / "test.txt"), "--from", "0", "--to", "1"]) == 0
    out, err = capsys.readouterr()
    texts = [line.split("\t")[1] for line in (folder / "test.txt").read_text().splitlines() if line[0] == "0"]
    assert (
        out.splitlines() == done.transfer(texts, "0", "1") and "20 of 40 sentences of test.txt have the label 0" in err
    )
    plain = words(tmp_path / "plain.txt", *texts)
    assert main(["transfer", run, plain, "--from", "0", "--to", "1"]) == 0
    assert capsys.readouterr().out == out
    assert main(["transfer", run, str(folder / "test.txt"), "--to", "1"]) == 0  # each under its own label
    assert len(capsys.readouterr().out.splitlines()) == 40


def test_an_unconditional_run_evaluates_data_with_other_labels(reviews, tmp_path):
    folder, _ = reviews
    done = uc.train(
        "sentiment", out=tmp_path / "run", data={"path": str(folder)},
        model={"latent": 4, "condition": ""}, encoder={"emb": 8, "hidden": 12}, decoder={"emb": 8, "hidden": 12}, train={"epochs": 1},
    )  # fmt: skip
    other = words(tmp_path / "other.txt", *["2\tfood good"] * 40)
    assert done.evaluate(iw_samples=2, data={"path": other})["sentences"] > 0


def test_a_conditional_run_has_no_floor_and_says_what_it_was_given(tmp_path):
    small = {
        "model": {"latent": 4},
        "encoder": {"emb": 8, "hidden": 12},
        "decoder": {"emb": 8, "hidden": 12},
        "data": {"sentences": 4000},
        "train": {"epochs": 1},
    }
    plain = uc.train("grammar", out=tmp_path / "plain", **small)
    field = next(iter(plain.folder.label_space().names))
    conditional = uc.train(
        "grammar", out=tmp_path / "conditional", **(small | {"model": small["model"] | {"condition": field}})
    )
    assert "nll_floor" in plain.evaluate(iw_samples=2) and "nll_floor" not in conditional.evaluate(iw_samples=2)
    assert conditional.metrics["test"]["protocol"]["given"] == [field]


def test_a_plain_evaluation_keeps_what_a_protocol_measured(run):
    assert main(["evaluate", run, "--protocol", "tense", "--iw-samples", "0"]) == 0
    measured = uc.load(run).metrics["test"]
    assert main(["evaluate", run, "--iw-samples", "2", "--iw-sentences", "20"]) == 0
    after = uc.load(run).metrics["test"]
    assert after["gaussian_score"] == measured["gaussian_score"] and "nll_iw" in after and "nll_iw" not in measured


def test_moved_data_bring_their_pairs_and_an_embedded_corpus_has_none(tmp_path):
    from uncollapse.runs.compose import compose
    from uncollapse.tasks.forms.morphology import base_verbs, conjugate

    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        words(tmp_path / name / "train.txt", *(" ".join(conjugate(base)) for base in base_verbs()[:60]))
    words(tmp_path / "old" / "test.txt", "abandon abandoned")
    words(tmp_path / "new" / "test.txt", "abate abated")
    settings = SMALL | {"data": {"path": str(tmp_path / "old"), "directions": "sp>p"}}
    done = uc.train("tense", out=tmp_path / "run", **(settings | {"train": {"epochs": 1, "fit_prior": 0}}))
    data = {"path": str(tmp_path / "new")}
    result = measure_protocol("tense", done.subject(done.splits(data)[0], data=data))
    assert result["tense_pairs"][0]["word"] == "abate"
    assert compose("tense", (), {"data": {"name": "verbs"}}).data.pairs == ""


@pytest.mark.parametrize(
    ("data", "pairs", "match"),
    [
        ({"directions": "sp>past"}, ["abandon abandoned"], "unknown label 'past' of tense"),
        ({"directions": "sp>p, sp>p"}, ["abandon abandoned"], "expected 2 pairs"),
        ({"directions": "sp>p"}, ["caf\u00e9 abandoned"], "has letters that no training word has"),
        (
            {"directions": "sp>p", "max_length": 7},
            ["abandon abandoned"],
            "expected complete rows in the validation split",
        ),
        ({"directions": "sp>p", "format": "txt"}, ["abandon abandoned"], "data.columns: expected data.format parallel"),
    ],
)
def test_pairs_and_rows_are_checked_before_training(data, pairs, match, tmp_path):
    from uncollapse.tasks.forms.morphology import base_verbs, conjugate

    words(tmp_path / "train.txt", *(" ".join(conjugate(base)) for base in base_verbs()[:60]))
    words(tmp_path / "test.txt", *pairs)
    with pytest.raises(UserError, match=match):
        uc.train("tense", out=tmp_path / "run", **(SMALL | {"data": {"path": str(tmp_path), **data}}))


@pytest.mark.parametrize(
    ("section", "name", "value", "match"),
    [
        ("objective", "teacher_forcing", "2", "teacher_forcing: expected values from 0 to 1, got 2 to 2"),
        ("objective", "form_consistency", "-1", "form_consistency: expected values of at least 0"),
        ("optim", "lr_factor", "linear(1, -1, 100%)", "lr_factor: expected values of at least 0, got -1 to 1"),
    ],
)
def test_schedules_out_of_range_are_refused(section, name, value, match, tmp_path):
    with pytest.raises(UserError, match=match):
        uc.train("verbs", out=tmp_path / "run", **(SMALL | {section: SMALL[section] | {name: value}}))


def test_a_run_is_settled_when_no_schedule_moves(verbs):
    from uncollapse.runs.config import Config

    settings = {"objective": {"teacher_forcing": "linear(1, 0, 7 steps)"}}
    assert build_objective(Config.from_settings(settings), 10).settles == 7
    assert FormConsistency(verbs.splits()[0].train, 9, parse("linear(0, 1, 9 steps)", Clock(10, 100))).settles == 9


def test_the_factor_on_the_learning_rate_reaches_the_optimizer(tmp_path):
    """At a factor of 0 nothing is learned; at 1 everything moves."""
    first = {}
    for factor in ("0", "1"):
        settings = SMALL | {
            "optim": SMALL["optim"] | {"lr_factor": factor},
            "train": SMALL["train"] | {"select": "last"},
        }
        done = uc.train("verbs", out=tmp_path / factor, **settings)
        fresh = build_model(done.config, len(done.vocabulary), space=done.folder.label_space())
        first[factor] = [torch.equal(a, b) for a, b in zip(done.model.parameters(), fresh.parameters(), strict=True)]
    assert all(first["0"]) and not any(first["1"])


def test_consistency_adds_its_weighted_distortion_to_the_loss(verbs, monkeypatch):
    corpus = verbs.splits()[0].train
    extra = FormConsistency(corpus, 9, constant(0.3))
    z, forms = torch.randn(4, 4, generator=torch.Generator().manual_seed(0)), corpus.batch([1, 5, 9, 30])
    monkeypatch.setattr(extra, "draw", lambda model, count: (z, forms))  # 12 of the 16 codes were not recognised
    expected = 0.3 * verbs.model.distortion(forms, z[:, None]).sum() / 16
    batch = corpus.batch(range(16))
    torch.testing.assert_close(extra(ForwardPass(verbs.model, batch, batch, None, z), 0), expected)
    assert float(expected.detach()) > 0


def test_a_model_that_copies_keeps_every_label_and_transfers_none(reviews, monkeypatch):
    from uncollapse.evaluation import style

    _, done = reviews
    splits, _ = done.splits()
    for part in ("train", "test"):  # the label is what the words say, so that the classifier can be right
        corpus = splits[part]
        corpus.labels["label"][:] = [int("good" in text) for text in corpus.texts()]
    originals = [splits.test.ids(i).tolist() for i in range(len(splits.test))]
    monkeypatch.setattr(style, "generate_ids", lambda *_, **__: originals)
    result = style.transfer_protocol(done.model, splits, "test")
    assert result["classifier_accuracy"] == 1 == result["reconstruction_accuracy"] and result["transfer_accuracy"] == 0


def test_labels_that_a_model_is_not_told_can_still_be_probed(tmp_path):
    small = {**SMALL, "model": {**SMALL["model"], "condition": "tense"}, "optim": {}, "objective": {}}
    small["train"] = {"epochs": 1, "batch_size": 50, "device": "cpu"}
    run = uc.train("grammar", out=tmp_path / "run", **small)
    splits, _ = run.splits()
    assert {"tense", "number", "mood"} <= set(splits.test.labels) and set(run.label_space.names) == {"tense"}
    rows = {row["field"]: row for row in measure_protocol("probe", run.subject(splits))["probes"]}
    assert "scoring" in rows["number"] and "scoring" not in rows["tense"]
