"""The small trained runs that come with the package: what a newcomer can try before any training."""

import json

import numpy as np
import pytest

import uncollapse as uc
from uncollapse.cli import main
from uncollapse.errors import UserError
from uncollapse.runs.launch import origin_of
from uncollapse.runs.shipped import FOLDER, run_path, shipped


def test_they_are_alive_small_and_say_how_they_were_made(capsys):
    assert shipped() == ["grammar", "strokes", "verbs"]
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 6 * 2**20
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, line in zip(shipped(), lines, strict=True):
        assert (line.startswith(f"model:{name} ") and ": alive, " in line) or ": partly alive, " in line
        assert uc.load(f"model:{name}").metrics["test"]["mi"] > 1


def test_the_numbers_in_the_folder_are_those_of_the_weights(tmp_path, capsys):
    assert main(["models", "grammar", "--out", str(tmp_path / "copy")]) == 0
    run = uc.load(tmp_path / "copy")
    before = run.metrics["test"]
    now = run.evaluate(iw_samples=0)
    assert now["protocol"]["same_as_training"] and now["protocol"]["weights"] == before["protocol"]["weights"]
    for name in ("nll_elbo", "rate", "mi"):
        assert now[name] == pytest.approx(before[name], rel=1e-3)


def test_verbs_change_their_tense_before_any_training(tmp_path, capsys):
    (tmp_path / "words.txt").write_text("walk\njump\nplay\n")
    assert main(["transfer", "model:verbs", str(tmp_path / "words.txt"), "--from", "sp", "--to", "p"]) == 0
    assert capsys.readouterr().out.split() == ["walked", "jumped", "played"]


def test_sentences_and_pictures_are_written_where_the_user_is(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["sample", "model:grammar", "-n", "3", "--decode", "greedy"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert main(["sample", "model:strokes", "-n", "4"]) == 0
    assert (tmp_path / "sample.png").exists()


def test_a_reconstruction_is_of_the_mean_or_of_a_draw(tmp_path, capsys):
    sentences = uc.load("model:grammar").decode(np.zeros((1, 16), np.float32), "greedy") * 8
    (tmp_path / "one.txt").write_text("\n".join(sentences) + "\n")

    def written(*flags):
        assert main(["reconstruct", "model:grammar", str(tmp_path / "one.txt"), *flags]) == 0
        return capsys.readouterr().out.splitlines()

    assert len(set(written())) == 1  # the same mean each time
    drawn = written("--from", "sample", "--seed", "3")
    assert len(set(drawn)) > 1 and drawn == written("--from", "sample", "--seed", "3") != written("--from", "sample")
    assert main(["reconstruct", "model:grammar", "--from", "mode"]) == 2


def test_they_stay_as_they_are_and_a_copy_is_a_run(tmp_path, capsys):
    content = {path: path.read_bytes() for path in FOLDER.rglob("*") if path.is_file()}
    for arguments in (
        ["evaluate", "model:grammar"],
        ["evaluate", "model:grammar", "--protocol", "aggregate"],
        ["plot", "model:grammar", "curves"],
        ["losses", "model:grammar"],
        ["train", "--recipe", "grammar", "--out", str(FOLDER / "grammar"), "--overwrite"],
    ):
        assert main(arguments) == 2
        err = capsys.readouterr().err
        assert "copy it first: uncollapse models grammar --out DIR" in err and "protocol" not in err
    assert content == {path: path.read_bytes() for path in FOLDER.rglob("*") if path.is_file()}
    assert main(["plot", "model:grammar", "curves", "--out", str(tmp_path / "curves.png")]) == 0
    assert main(["losses", "model:grammar", "--out", str(tmp_path)]) == 0
    assert main(["compare", "model:grammar", "model:verbs"]) == 0
    by = ["--by", "encoder.emb", "--out", str(tmp_path / "by.png")]  # the network of pictures has no embeddings
    assert main(["plot", "model:grammar", "model:strokes", "curves", *by]) == 0
    assert main(["models", "grammar", "--out", str(tmp_path / "copy")]) == 0
    assert main(["models", "grammar", "--out", str(tmp_path / "copy")]) == 2
    assert "a run is already there" in capsys.readouterr().err


def test_a_training_may_begin_with_their_weights(tmp_path):
    small = {"data": {"sentences": 100}, "train": {"epochs": 1, "init_from": "model:grammar"}}
    run = uc.train("grammar", out=tmp_path / "run", callbacks=[], **small)
    assert run.config.train.init_from == str(FOLDER / "grammar") and len(run.vocabulary) == len(
        uc.load("model:grammar").vocabulary
    )


def test_a_recipe_may_name_the_weights_and_the_tokens(tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("title: mine\nsettings: {train: {init_from: 'model:grammar'}}\n")
    config, theirs = origin_of(str(recipe), (), {}).config, uc.load("model:grammar").config
    assert config.encoder == theirs.encoder and config.model == theirs.model
    tokens = origin_of("grammar", (), {"data": {"vocab_from": "model:grammar"}}).config.data.vocab_from
    assert tokens == str(FOLDER / "grammar")


def test_an_unknown_model_is_one_line(capsys):
    assert main(["sample", "model:grammer"]) == 2
    assert capsys.readouterr().err == "uncollapse: unknown model 'grammer': did you mean grammar?\n"
    assert main(["models", "verbs"]) == 2 and "expected --out DIR" in capsys.readouterr().err
    with pytest.raises(UserError, match="expected one of: grammar, strokes, verbs"):
        run_path("model:x")
    assert json.loads((FOLDER / "verbs" / "metrics.json").read_text())["test"]["heldout_exact"] > 0.6


def test_probabilities_of_pixels_multiply_to_that_of_the_picture():
    run = uc.load("model:strokes")
    z = np.random.default_rng(0).normal(size=(5, run.model.latent)).astype(np.float32)
    written = [best[0] for best in run.candidates(z, "sample", seed=1)]
    texts = [sentence.text for sentence in written]
    p, drawn = run.ink(texts, z), np.array([[[c == "#" for c in row] for row in text.split("\n")] for text in texts])
    log_p = np.log(np.where(drawn, p, 1 - p)).sum((1, 2))
    assert log_p == pytest.approx([sentence.log_prob for sentence in written], rel=1e-4)
    assert not np.array_equal(p, run.ink(texts, np.zeros_like(z)))
    with pytest.raises(UserError, match="expected a run on pictures, got one on text"):
        uc.load("model:grammar").ink(["x"], np.zeros((1, 16)))


def test_a_grid_may_be_of_probabilities_and_of_any_width(tmp_path, capsys):
    from PIL import Image

    def grid(*flags):
        path = tmp_path / "grid.png"
        assert main(["sample", "model:strokes", "-n", "12", "--png", str(path), *flags]) == 0
        return np.array(Image.open(path))

    plain, wide, grey = grid(), grid("--grid-columns", "6"), grid("--probabilities")
    assert wide.shape[1] / wide.shape[0] == pytest.approx(3, rel=0.05) and plain.shape == grey.shape
    assert set(np.unique(plain)) == {0, 200, 255} and len(np.unique(grey)) > 50
    assert main(["sample", "model:grammar", "--probabilities"]) == 2
    assert "this run writes text" in capsys.readouterr().err
