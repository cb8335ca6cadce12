"""The posterior-mean space of a scalar latent: exact on models whose posterior is known, recorded and drawn."""

import os
import signal

import numpy as np
import pytest
import torch

import uncollapse as uc
from tests.conftest import SENTENCES, TINY, tiny_vae
from uncollapse.cli import main
from uncollapse.data.corpus import Corpus
from uncollapse.data.vocabulary import build_vocabulary
from uncollapse.distributions.priors import StandardNormal
from uncollapse.errors import UserError
from uncollapse.evaluation.mean_space import Means, model_posterior_mean, posterior_means
from uncollapse.files import append_line
from uncollapse.model import VAE
from uncollapse.nn.interfaces import Decoder
from uncollapse.reporting.mean_space import who_moved
from uncollapse.runs.builders.data import build_splits
from uncollapse.runs.checks import validate
from uncollapse.runs.compose import compose
from uncollapse.runs.config import merge
from uncollapse.training.callbacks import Callback
from uncollapse.training.guards import Interrupted

CORPUS = Corpus.from_texts(SENTENCES, build_vocabulary(SENTENCES))
TOY = {
    **TINY,
    "model": {**TINY["model"], "latent": 1},
    "train": {**TINY["train"], "record_every": 5, "record_points": 20},
}


class Linear(Decoder):
    """p(x | z) ~ N(a_x; z, s^2) of a number a_x a sentence: the posterior is N(a_x / (1 + s^2), s^2 / (1 + s^2))."""

    def __init__(self, variance):
        super().__init__()
        self.variance, self.anchor = variance, torch.nn.Parameter(torch.zeros(1))

    def forward(self, batch, z, inputs=None):
        centre = batch.lengths.double()[:, None] - 4
        return ((z[..., 0].double() - centre) ** 2 / (2 * self.variance)).float()

    def start(self, z):
        raise NotImplementedError

    def step(self, token, state):
        raise NotImplementedError


@pytest.mark.parametrize("variance", [0.25, 1.0, 4.0])
def test_the_grid_gives_the_mean_of_a_known_posterior(variance):
    model = VAE(tiny_vae(len(CORPUS.vocabulary), latent=1).encoder, Linear(variance), StandardNormal(1))
    expected = (CORPUS.lengths - 4) / (1 + variance)
    assert model_posterior_mean(model, CORPUS).tolist() == pytest.approx(expected.tolist(), abs=1e-5)


def test_both_means_are_those_of_the_model_whatever_the_batches(cell, monkeypatch):
    from uncollapse.evaluation import mean_space

    model = tiny_vae(len(CORPUS.vocabulary), latent=1, cell=cell)
    result = posterior_means(model, CORPUS)
    grid = torch.linspace(-20, 20, 401, dtype=torch.double)
    for i in range(3):
        batch = CORPUS.batch([i])
        log_joint = torch.stack(
            [-model.distortion(batch, z.float().view(1, 1, 1))[0, 0].double() - z**2 / 2 for z in grid]
        )
        assert result.model[i] == pytest.approx(float(log_joint.detach().softmax(0) @ grid), abs=1e-4)
        assert result.inference[i] == pytest.approx(model.posterior(batch).mu.item(), abs=1e-5)
    monkeypatch.setattr(mean_space, "TOKENS_AT_A_TIME", 1)
    assert np.allclose(posterior_means(model, CORPUS).model, result.model, atol=1e-5)


def test_distances_from_the_diagonal_and_the_axes():
    agree, lag = Means(np.array([1.0, -2.0]), np.array([1.0, -2.0])), Means(np.array([3.0, -3.0]), np.zeros(2))
    assert agree.distances() == {"diagonal": 0, "horizontal": 1.5, "vertical": 1.5}
    assert lag.distances() == pytest.approx({"diagonal": 3 / 2**0.5, "horizontal": 0, "vertical": 3})


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return uc.train("grammar", out=tmp_path_factory.mktemp("runs") / "toy", **TOY)


def test_records_are_made_at_the_steps_asked_for(toy):
    records = toy.folder.mean_space()
    assert records.steps.tolist() == list(range(0, 26, 5)) and records.model.shape == records.inference.shape == (6, 20)
    few = toy.splits()[0].valid.subset(np.arange(20))
    assert np.abs(records.inference[0]).max() < np.abs(records.inference[-1]).max()
    last = TOY["train"]["epochs"] * 13
    assert records.steps[-1] == last - last % 5
    assert posterior_means(toy.model, few).inference.shape == (20,)


def test_recording_changes_nothing_else_and_resumes_without_a_double(toy, tmp_path):
    plain = uc.train("grammar", out=tmp_path / "plain", **{**TOY, "train": {**TOY["train"], "record_every": 0}})
    assert [e["valid"] for e in plain.log] == [e["valid"] for e in toy.log]

    class Stop(Callback):
        left = 18

        def on_step(self, trainer, update):
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        uc.train("grammar", out=tmp_path / "stopped", callbacks=[Stop()], **TOY)
    folder = uc.load(tmp_path / "stopped").folder  # a record that was made after the last save
    append_line(folder.mean_space_file, {"step": 20, "model": [1.0] * 20, "inference": [1.0] * 20})
    again = uc.train("grammar", out=tmp_path / "stopped", resume=True, **TOY)
    one, other = toy.folder.mean_space(), again.folder.mean_space()
    assert one.steps.tolist() == other.steps.tolist() and np.array_equal(one.model, other.model)


@pytest.mark.parametrize("name", ["a.png", "a.svg", "a.pdf", "a.gif"])
def test_figures_are_drawn(toy, tmp_path, capsys, name):
    assert main(["plot", str(toy.path), "posterior-mean-space", "--out", str(tmp_path / name)]) == 0
    assert (tmp_path / name).stat().st_size > 2000
    assert main(["plot", str(toy.path), "posterior-mean-space", "--out", f"/proc/{name}"]) == 2
    assert f"/proc/{name}: cannot be written" in capsys.readouterr().err
    assert main(["plot", str(toy.path), "posterior-mean-space", "--out", str(tmp_path / name)]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["step", "diagonal", "horizontal", "vertical"] and [r[0] for r in rows[1:]] == [
        "0",
        "5",
        "10",
        "15",
        "20",
        "25",
    ]


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """An aggressive training whose half steps are recorded, on its twenty plotted sentences alone."""
    train = {"record_every": 1, "record_halves": True, "aggressive_steps": 2, "epochs": 2}
    changes = merge(TOY, {"data": {"sentences": 20}, "train": train})
    return uc.train("grammar", "aggressive", out=tmp_path_factory.mktemp("runs") / "halves", **changes)


def test_the_encoders_half_of_a_step_moves_the_encoder_alone(halves):
    records = halves.folder.mean_space()
    assert records.half.tolist() == [False, True, False, True, False, False, False]
    assert records.steps.tolist()[:5] == [0, 1, 1, 2, 2]
    for number in np.flatnonzero(records.half):
        assert np.array_equal(records.model[number], records.model[number - 1])  # the decoder has not moved
        assert np.array_equal(records.inference[number], records.inference[number + 1])  # the encoder does not any more
        assert not np.array_equal(records.inference[number], records.inference[number - 1])
        assert not np.array_equal(records.model[number], records.model[number + 1])
    assert not records.whole().half.any() and records.whole().steps.tolist()[:3] == [0, 1, 2]


def test_a_way_may_begin_and_end_at_a_step(halves):
    records = halves.folder.mean_space()
    part = records.between(1, 2)
    assert part.steps.tolist() == [1, 2, 2] and part.half.tolist() == [False, True, False]
    assert np.array_equal(part.model, records.model[2:5]) and np.array_equal(part.inference, records.inference[2:5])


def test_arrows_say_who_moved(halves):
    """A plain step after the phase moves both."""
    assert who_moved(halves.folder.mean_space().half) == ["encoder", "decoder", "encoder", "decoder", "both", "both"]


@pytest.mark.slow
def test_steps_trajectories_and_one_point_may_be_chosen(halves, tmp_path, capsys):
    from PIL import Image

    drawn = {}
    for name, options in {
        "at": ["--at", "0,1"],
        "ways": ["--trajectories"],
        "point": ["--point", "3"],
        "both": ["--point", "3", "--trajectories"],
        "part": ["--point", "3", "--at", "1,2"],
    }.items():
        for suffix in (".png", ".pdf", ".gif") if name != "at" else (".png",):
            path = tmp_path / f"{name}{suffix}"
            assert main(["plot", str(halves.path), "posterior-mean-space", "--out", str(path), *options]) == 0
            drawn[path.name] = path.read_bytes()
    assert len(set(drawn.values())) == len(drawn)  # no option is left out in silence
    with Image.open(tmp_path / "point.gif") as animation:
        assert animation.n_frames == len(halves.folder.mean_space().steps)
    part = ["--at", "1,2", "--out", str(tmp_path / "part-of-all.gif")]
    assert main(["plot", str(halves.path), "posterior-mean-space", *part]) == 0
    with Image.open(tmp_path / "part-of-all.gif") as animation:
        assert animation.n_frames == 3
    capsys.readouterr()
    for options, words in (
        (["--point", "999"], "expected one of the"),
        (["--at", "0", "--point", "1"], "expected its first and its last step, got '0'"),
    ):
        assert main(["plot", str(halves.path), "posterior-mean-space", "--out", str(tmp_path / "x.png"), *options]) == 2
        assert words in capsys.readouterr().err
    assert main(["plot", str(halves.path), "curves", "--point", "1"]) == 2


def test_the_first_sentences_of_a_file_may_be_taken(tmp_path):
    texts = [f"word{i} a b" for i in range(40)]
    (tmp_path / "train.txt").write_text("\n".join(texts) + "\n")
    settings = compose(
        "grammar", [], {"data": {"name": "", "path": str(tmp_path), "sentences": 10, "held_out": 0.0}}
    ).data
    splits = build_splits(settings)
    for part in (splits.train, splits.valid):
        assert part.texts() == texts[:10]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--at", "3"], "step 3 was not recorded; recorded: 0, 5"),
        (["--at", "soon"], "expected steps such as 0,500,1000, got 'soon'"),
        (["--out", "a.bmp"], "*.gif, got 'a.bmp'"),
    ],
)
def test_a_wrong_figure_is_one_clear_line(toy, capsys, options, said):
    assert main(["plot", str(toy.path), "posterior-mean-space", *options]) == 2
    assert said in capsys.readouterr().err


def test_a_run_that_recorded_nothing_or_cannot_is_said(trained, toy, tmp_path, capsys):
    assert main(["plot", str(trained.path), "posterior-mean-space"]) == 2
    assert "nothing was recorded; train with --model.latent 1" in capsys.readouterr().err
    assert main(["plot", str(trained.path), str(toy.path), "posterior-mean-space"]) == 2
    assert "expected one run" in capsys.readouterr().err
    assert main(["plot", str(tmp_path / "none"), "posterior-mean-space"]) == 2
    with pytest.raises(UserError, match="expected model.latent 1, got 4"):
        uc.train("grammar", out=tmp_path / "wide", **{**TINY, "train": {**TOY["train"]}})


@pytest.mark.slow
@pytest.mark.parametrize("remedy", ["vanilla", "aggressive"])
def test_the_toy_lags_by_basic_training_and_follows_the_diagonal_by_aggressive(tmp_path, remedy):
    settings = {"data": {"sentences": 3200}, "train": {"epochs": 1, "record_every": 100, "record_points": 200}}
    run = uc.train("toy", remedy, seed=1, out=tmp_path / "toy", **settings)
    records = run.folder.mean_space()
    assert records.steps.tolist() == [0, 100, 200]
    far = Means(records.model[-1], records.inference[-1]).distances()
    if remedy == "vanilla":  # on the horizontal axis: the model moves, the encoder does not
        assert np.ptp(records.inference[-1]) < 0.05 and far["vertical"] > 0.05
    else:  # nearer to the diagonal than to either axis
        assert far["diagonal"] < 0.5 * min(far["horizontal"], far["vertical"]) and far["horizontal"] > 0.2


@pytest.mark.parametrize("train", [{"record_every": 0, "aggressive": "always"}, {"record_every": 1}])
def test_half_steps_want_records_and_aggressive_steps(train):
    with pytest.raises(uc.UserError, match=r"train.record_halves: .* add --train.record_every and --train.aggressive"):
        validate(compose("toy", (), {"train": {"record_halves": True, **train}}))
