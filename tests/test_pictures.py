"""A run on pictures from training to use: through the same loop, evaluation, folder and commands as text."""

import re

import numpy as np
import pytest
from PIL import Image

import uncollapse as uc
from tests.conftest import all_remedies
from uncollapse.cli import main
from uncollapse.data.pictures import arrays_of, texts_of

SMALL = {
    "data": {"side": 8, "sentences": 120},
    "model": {"latent": 3},
    "encoder": {"channels": 6, "hidden": 8},
    "decoder": {"channels": 6, "kernel_sizes": [5, 3]},
    "train": {"epochs": 2, "batch_size": 20, "device": "cpu"},
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return uc.train("strokes", "annealed", out=tmp_path_factory.mktemp("runs") / "drawn", **SMALL)


def test_a_run_on_pictures_learns_loads_and_is_evaluated(drawn):
    first, last = drawn.log
    assert last["train"]["distortion"] < first["train"]["distortion"]
    again = uc.load(drawn.path)
    result = again.evaluate("test", iw_samples=3, iw_sentences=20)
    assert 5 < result["nll_elbo"] < 64 and result["sentences"] == 500 and result["nll_iw"] < result["nll_elbo"] + 0.1
    pictures = drawn.splits()[0].test.texts(range(4))
    assert again.encode(pictures).shape == (4, 3) and arrays_of(again.sample(3)).shape == (3, 8, 8)
    assert np.allclose(again.encode(texts_of(arrays_of(pictures))), again.encode(pictures))
    assert again.interpolate(*pictures[:2], steps=3)[0] == again.reconstruct(pictures[:1])[0]


@pytest.mark.parametrize("remedy", all_remedies("fbp"))
def test_every_remedy_works_on_pictures_or_says_in_one_line_why_not(tmp_path, remedy):
    short = {
        **SMALL,
        "train": {**SMALL["train"], "epochs": 1, "aggressive_steps": 1},
        "data": {"side": 8, "sentences": 40},
    }
    short["train"] |= {"batch_size": 40} if remedy == "aggressive" else {"batch_size": 2, "aggressive_steps": 0}
    try:
        run = uc.train("strokes", remedy, out=tmp_path / "run", **short)
    except uc.UserError as error:
        assert remedy.startswith("twr") or remedy in ("word-dropout", "skip", "bow", "pooling"), error
        assert "makes no sense for pictures" in str(error) or re.search("is for (en|de)coder.kind lstm", str(error))
        return
    assert not remedy.startswith("twr") and remedy not in ("word-dropout", "skip", "bow")
    assert np.isfinite(run.log[-1]["valid"]["nll_elbo"])


def test_autoencoder_pretraining_works_on_pictures(tmp_path):
    short = {**SMALL, "train": {**SMALL["train"], "epochs": 2, "pretrain_epochs": 1}}
    assert len(uc.train("strokes", "fbp", out=tmp_path / "run", **short).log) == 2


def test_dynamic_pixels_resume_bit_for_bit(tmp_path):
    import os
    import signal

    from uncollapse.training.callbacks import Callback

    settings = {**SMALL, "data": {**SMALL["data"], "dynamic": True}}
    whole = uc.train("strokes", out=tmp_path / "whole", **settings)

    class Stop(Callback):
        left = 8

        def on_step(self, trainer, update):
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(uc.Interrupted):
        uc.train("strokes", out=tmp_path / "run", callbacks=[Stop()], **settings)
    again = uc.train("strokes", out=tmp_path / "run", resume=True, **settings)
    for name, value in again.folder.load_weights().items():
        assert value.equal(whole.folder.load_weights()[name]), name


def test_the_verbs_write_grids(drawn, tmp_path, capsys):
    out = str(tmp_path / "grid.png")
    for arguments, size in (
        (["sample", "-n", "9"], (9, 1)),
        (["sample", "-n", "20"], (5, 4)),
        (["reconstruct"], (8, 2)),
        (["interpolate", "--steps", "5"], (5, 1)),
        (["walk", "--dimension", "1", "--steps", "4"], (4, 1)),
    ):
        assert main([arguments[0], str(drawn.path), *arguments[1:], "--png", out]) == 0
        columns, rows = size
        assert Image.open(out).size == (3 * (2 + 10 * columns), 3 * (2 + 10 * rows)), arguments
    np.save(tmp_path / "mine.npy", np.eye(8)[None].repeat(3, 0))
    assert main(["reconstruct", str(drawn.path), str(tmp_path / "mine.npy")]) == 0
    assert (drawn.path / "reconstruct.png").exists()
    codes = str(tmp_path / "codes.npz")
    assert main(["encode", str(drawn.path), str(tmp_path / "mine.npy"), "--out", codes]) == 0
    assert np.load(codes)["mu"].shape == (3, 3)
    capsys.readouterr()


def test_pictures_of_a_pixelcnn_are_drawn_where_nothing_is_asked_for(drawn, tmp_path):
    """Pixel by pixel the most probable picture is blank."""
    files = {how: tmp_path / f"{how or 'default'}.png" for how in ("", "sample", "greedy")}
    for how, file in files.items():
        flags = ["--decode", how] if how else []
        assert main(["reconstruct", str(drawn.path), "--png", str(file), *flags]) == 0
    assert files[""].read_bytes() == files["sample"].read_bytes() != files["greedy"].read_bytes()


def test_what_makes_no_sense_is_one_clear_line(drawn, trained, tmp_path, capsys):
    for arguments, said in (
        (
            ["train", "--recipe", "strokes", "--decoder.kernel_sizes", "4,3"],
            "expected odd sizes such as 7,5,3, got 4, 3",
        ),
        (
            ["train", "--recipe", "strokes", "--objective.teacher_forcing", "0.5"],
            "objective.teacher_forcing: makes no sense",
        ),
        (["train", "--recipe", "grammar", "--decoder.kind", "pixelcnn"], "are for pictures; add --data.level pixel"),
        (["train", "--data.name", "strokes"], "take --recipe strokes"),
        (["train", "--recipe", "omniglot"], "expected --data.path FILE or --data.name strokes, got neither"),
        (["sample", str(trained.path), "--png", "a.png"], "this run writes text"),
        (["sample", str(drawn.path), "--png", "a.bmp"], "expected a file named *.png"),
        (["samples", str(drawn.path)], "this run is on pictures"),
        (["sample", str(drawn.path), "--max-length", "10"], "are for text; a picture has all its pixels"),
        (["sample", str(drawn.path), "--json", "--png", "a.png"], "got both"),
        (["analogy", str(drawn.path), "a", "b", "c"], "expected pictures of 8 x 8"),
        (
            ["train", "--recipe", "strokes", "--decoder.kind", "lstm"],
            "expected encoder.kind resnet and decoder.kind pixelcnn",
        ),
        (["train", "--recipe", "strokes", "--data.test", "a.npz"], "data.test: is for text"),
        (
            ["train", "--recipe", "strokes", "--model.latent", "0", "--decoder.kind", "deconvolution"],
            "draws from the code alone",
        ),
        (["plot", str(drawn.path), "curves", "--trajectories"], "is for posterior-mean-space, not for curves"),
        (["evaluate", str(drawn.path), "--protocol", "reconstruction"], "counts words"),
    ):
        assert main([*arguments, *(["--out", str(tmp_path / "new")] if arguments[0] == "train" else [])]) == 2, (
            arguments
        )
        assert said in capsys.readouterr().err
    assert main(["evaluate", str(drawn.path), "--all", "--iw-samples", "0"]) == 0
    out = capsys.readouterr().out
    assert "z_use" in out and "labels: majority" in out


def test_many_reconstructions_stand_below_their_originals(drawn, tmp_path):
    np.save(tmp_path / "mine.npy", np.eye(8)[None].repeat(20, 0))
    out = str(tmp_path / "grid.png")
    assert main(["reconstruct", str(drawn.path), str(tmp_path / "mine.npy"), "--png", out]) == 0
    sheet = np.asarray(Image.open(out))[::3, ::3]
    assert sheet.shape == (2 + 10 * 4, 2 + 10 * 16)
    shown = [sheet[2 + 10 * row : 10 + 10 * row, 2:10] == 0 for row in (0, 2)]
    assert all((one == np.eye(8, dtype=bool)).all() for one in shown)


def test_a_model_told_labels_transfers_pictures(tmp_path, capsys):
    settings = {**SMALL, "model": {**SMALL["model"], "condition": "first"}}
    run = uc.train("strokes", out=tmp_path / "run", **settings)
    assert main(["transfer", str(run.path), "--from", "hook", "--to", "line"]) == 0
    assert "of 8 sentences of - have the label hook" in capsys.readouterr().err
    assert main(["sample", str(run.path), "-n", "2", "--label", "arc", "--json"]) == 0
    assert '"labels": {"first": "arc"}' in capsys.readouterr().out


def test_strokes_written_to_a_file_are_read_as_the_embedded_ones(tmp_path, capsys):
    from uncollapse.data.settings import DataConfig
    from uncollapse.runs.builders.data import build_splits

    assert main(["data", "strokes", "--out", str(tmp_path), "--sentences", "30", "--side", "8"]) == 0
    assert "--recipe strokes --data.name= --data.path" in capsys.readouterr().err
    settings = {"level": "pixel", "side": 8}
    read = build_splits(DataConfig(path=str(tmp_path / "strokes.npz"), **settings))
    made = build_splits(DataConfig(name="strokes", sentences=30, **settings))
    for part in ("train", "valid", "test"):
        assert (read[part].flat == made[part].flat).all()
