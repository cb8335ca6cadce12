"""Run folders: they appear whole or not at all, survive kills and full disks, and are not believed unread."""

import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml

import uncollapse as uc
from tests.conftest import TINY
from uncollapse import files
from uncollapse.cli import main
from uncollapse.errors import UserError
from uncollapse.files import append_line, expect, keep_lines, read_lines, write_json
from uncollapse.runs.config import merge
from uncollapse.runs.folder import OWN, VERSION, RunFolder
from uncollapse.runs.lock import lock, locks
from uncollapse.training.progress import Progress
from uncollapse.training.states import load_state, load_weights, migrated, save_weights

FIXTURE = Path(__file__).parent / "fixtures" / "run-v1"
ONE_EPOCH = merge(TINY, {"train": {"epochs": 1}, "data": {"sentences": 60}})


def leftovers(folder):
    return [path.name for path in folder.rglob("*") if path.name.startswith(".")]


@pytest.fixture
def copy(trained, tmp_path):
    return RunFolder(Path(shutil.copytree(trained.path, tmp_path / "copy")))


def test_a_run_of_version_1_is_migrated_and_evaluates_to_the_same_numbers(tmp_path):
    path = Path(shutil.copytree(FIXTURE, tmp_path / "old"))
    before, run = json.loads((path / "metrics.json").read_text())["test"], uc.load(path, "cpu")
    after = run.evaluate("test", iw_samples=10, iw_sentences=50)
    for name in ("distortion", "rate", "nll_elbo", "nll_iw", "mi", "au", "ppl_iw"):
        assert after[name] == pytest.approx(before[name], rel=1e-5), name
    assert run.config.train.optimisations is True and run.remedies == ("annealed", "bn")
    assert len(run.sample(2, prior="fitted")) == 2


def test_a_target_that_rose_in_version_2_is_a_schedule(tmp_path):
    path = Path(shutil.copytree(FIXTURE, tmp_path / "old"))
    content = yaml.safe_load((path / "config.yaml").read_text())
    content["version"] = 2
    del content["settings"]["train"]["compile"]
    content["settings"]["objective"] |= {"target": 5.0, "ramp": "2 epochs"}
    (path / "config.yaml").write_text(yaml.safe_dump(content))
    assert RunFolder(path).origin().config.objective.target == "linear(0, 5, 2 epochs)"


def test_weights_of_version_2_have_the_names_of_this_one(tmp_path):
    save_weights(tmp_path / "model.safetensors", {"words.weight": torch.ones(2), "decoder.words.bias": torch.zeros(2)})
    assert set(load_weights(tmp_path / "model.safetensors")) == {"bow_decoder.weight", "decoder.words.bias"}


# -- whole or not at all --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "file"), [pytest.param("replace", "corpus.json", marks=pytest.mark.slow), ("rename", "corpus.json")]
)
def test_a_run_killed_while_it_begins_leaves_nothing_in_the_way(tmp_path, method, file):
    """Killed by force while a file is prepared, or before it takes its place; the same command then begins anew."""
    script = (
        f"import os; from pathlib import Path; move = Path.{method}\n"
        f"Path.{method} = lambda self, to: os.kill(os.getpid(), 9) if Path(to).name == {file!r} else move(self, to)\n"
        "from tests.test_run import ONE_EPOCH; import uncollapse as uc\n"
        f"uc.train('grammar', out={str(tmp_path / 'run')!r}, **ONE_EPOCH)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=False, cwd=Path(__file__).parents[1]
    )
    assert (
        done.returncode == -signal.SIGKILL and not (tmp_path / "run" / "config.yaml").exists() and leftovers(tmp_path)
    )
    assert uc.train("grammar", out=tmp_path / "run", **ONE_EPOCH).sample(1)
    assert not leftovers(tmp_path)


def test_what_a_killed_process_left_of_a_file_goes_with_the_next_writing(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left, alive = (tmp_path / f".metrics.json.{process}.part" for process in (gone.pid, os.getppid()))
    left.touch(), alive.touch()
    write_json(tmp_path / "metrics.json", {})
    assert sorted(path.name for path in tmp_path.iterdir()) == [alive.name, "metrics.json"]


@pytest.mark.parametrize("settings", [{"data": {"path": "/no/such/file"}}, {"model": {"condition": "none"}}])
def test_a_refused_training_leaves_no_folder_behind(tmp_path, settings):
    with pytest.raises(UserError):
        uc.train("grammar", out=tmp_path / "run", **merge(ONE_EPOCH, settings))
    assert not list(tmp_path.iterdir())


def full_disk(monkeypatch, after):
    """Have writing fail as on a full disk, after so many files."""
    count = iter(range(10**6))
    original = os.fsync

    def fsync(descriptor):
        if next(count) >= after:
            raise OSError(28, "No space left on device")
        original(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("after", range(5))
def test_a_full_disk_is_one_line_and_an_overwritten_run_stays_until_the_new_one_has_begun(
    copy, tmp_path, monkeypatch, capsys, after
):
    (copy.path / "notes.txt").write_text("mine")
    weights = copy.fingerprint()
    full_disk(monkeypatch, after)
    command = "train --recipe grammar --data.sentences 60 --encoder.hidden 8 --decoder.hidden 8 --encoder.emb 8 --decoder.emb 8 --train.epochs 1 --overwrite --out"
    assert main([*command.split(), str(copy.path)]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "cannot be written (No space left on device)" in last and str(tmp_path) in last
    begun = after >= 4  # settings, vocabulary, corpus and state
    assert begun or copy.fingerprint() == weights
    assert (copy.path / "notes.txt").read_text() == "mine" and not leftovers(tmp_path)
    monkeypatch.undo()
    assert main([*command.split(), str(copy.path)]) == 0 and (copy.path / "notes.txt").exists()


def test_what_killed_trainings_left_is_removed_and_nothing_of_the_user(copy):
    ours = (
        ".config.yaml.123.part",
        "state/.last.456",
        "state/.autoencoder.safetensors.4.part",
        ".beginning/vocab.json",
    )
    ours += ("cache/.0123456789abcdef.ids.7.part", "kept/.0001-mi-4.safetensors.9.part")
    theirs = ("notes.txt", ".mine.5.part", "state/.ipynb_checkpoints/a", "cache/precious.bin")
    for name in (*ours, *theirs):
        (copy.path / name).parent.mkdir(exist_ok=True)
        (copy.path / name).write_bytes(b"half")
    with copy.lock():
        assert not any((copy.path / name).exists() for name in ours)
    uc.train("grammar", out=copy.path, overwrite=True, **ONE_EPOCH)
    kept = [name for name in theirs if (copy.path / name).exists()]
    assert kept == ["notes.txt", ".mine.5.part", "cache/precious.bin"]  # `state` is of the run


def test_a_folder_in_use_is_refused_from_the_first_moment_and_given_back(tmp_path):
    one, other = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "run")
    with one.lock():
        with pytest.raises(UserError, match="another process is training"), other.lock():
            pass
        assert (tmp_path / "run" / ".lock").exists()
    assert not (tmp_path / "run").exists()
    with other.lock():
        pass


def test_a_lock_on_a_file_that_is_not_there_any_more_is_none(tmp_path):
    """The first training removes its file; a second may have opened it just before."""
    pytest.importorskip("fcntl")
    file = tmp_path / ".lock"
    with file.open("w") as held:
        assert locks(held.fileno(), file)
        file.unlink()
        assert not locks(held.fileno(), file)
        file.touch()
        assert not locks(held.fileno(), file)


def test_a_prior_that_was_fitted_to_other_weights_goes(tmp_path):
    from tests.training.test_fit import StopAt

    settings = merge(ONE_EPOCH, {"train": {"fit_prior": 1}, "optim": {"lr": 0.01}})
    run = uc.train("grammar", out=tmp_path / "run", callbacks=[], **settings)
    assert run.folder.prior_file.exists()
    before, longer = run.folder.fingerprint(), merge(settings, {"train": {"epochs": 3}})
    with pytest.raises(uc.Interrupted):
        uc.train("grammar", out=run.path, resume=True, callbacks=[StopAt(6)], **longer)
    assert run.folder.fingerprint() != before and not run.folder.prior_file.exists()
    assert uc.train("grammar", out=run.path, resume=True, callbacks=[], **longer).sample(1, prior="fitted")


def test_a_file_system_without_locks_refuses_nothing(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with lock(tmp_path / "run"):
        pass


@pytest.mark.parametrize("how", ["link", "."])
def test_a_run_goes_wherever_a_folder_is(tmp_path, monkeypatch, how):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.chdir(tmp_path / "real")
    uc.train("grammar", out=how if how == "." else tmp_path / how, **ONE_EPOCH)
    assert (tmp_path / "real" / "config.yaml").exists() and (tmp_path / "link").is_symlink()


def test_a_run_of_version_1_goes_on(tmp_path):
    path = Path(shutil.copytree(FIXTURE, tmp_path / "old"))
    settings = {
        "model": {"latent": 4, "init": "torch"},
        "encoder": {"emb": 8, "hidden": 12},
        "decoder": {"emb": 8, "hidden": 12},
        "data": {"sentences": 200},
    }
    settings |= {"optim": {"optimizer": "adam", "lr": 0.01}}
    settings["train"] = {"epochs": 2, "batch_size": 16, "device": "cpu", "threads": 1, "fit_prior": 1}
    before = RunFolder(path).fingerprint()
    sums = {"sentences": 3, "distortion": 6.0, "rate": 1.0, "divergence": 1.0, "loss": 7.0, "seconds": 0.5}
    progress = Progress(**migrated({"progress": {"epoch": 1, "sums": sums}})["progress"])
    assert progress.means()["distortion"] == 2 and (progress.sentences, progress.seconds, progress.epoch) == (3, 0.5, 1)
    run = uc.train("grammar", ["annealed", "bn"], 1, out=path, resume=True, **settings)
    assert run.folder.fingerprint() == before and [entry["epoch"] for entry in run.log] == [1, 2]


def test_the_log_is_appended_to_and_a_line_cut_by_a_kill_is_left_out(copy):
    before = copy.log()
    with copy.log_file.open("a") as file:
        file.write('{"epoch": 3, "st')
    assert copy.log() == before
    keep_lines(copy.log_file, "epoch", 2)  # drops the cut line alone
    append_line(copy.log_file, before[-1])
    assert copy.log() == [*before, before[-1]]
    keep_lines(copy.log_file, "epoch", 1)
    assert [entry["epoch"] for entry in copy.log()] == [1]


# -- read with a check ----------------------------------------------------------------------------------------------


def spoil(folder, name, change):
    path = folder.path / name
    content = yaml.safe_load(path.read_text()) if name.endswith("yaml") else json.loads(path.read_text())
    changed = change(content)
    path.write_text(yaml.safe_dump(changed) if name.endswith("yaml") else json.dumps(changed))


def without(key):
    return lambda content: {name: value for name, value in content.items() if name != key}


def having(**values):
    return lambda content: {**content, **values}


SPOILED = [
    *[("config.yaml", having(version=v)) for v in (True, "2", 0, VERSION + 1, None, 1.0)],
    *[("config.yaml", having(**{k: v})) for k in ("settings", "remedies", "recipe") for v in ([1], 3, None, {"a": 1})],
    ("config.yaml", having(settings={"data": [1]})),
    ("config.yaml", having(settings={"model": {"latent": 10**7}})),
    ("config.yaml", lambda content: [content]),
    *[("vocab.json", lambda content, v=v: v) for v in (None, [1, 2], 7, "text", {})],
    *[("vocab.json", without(key)) for key in ("tokens", "level", "lowercase")],
    ("vocab.json", having(tokens=[1, 2, 3, 4, 5])),
    ("vocab.json", having(level="letters")),
    ("vocab.json", having(level="pixel")),
    ("vocab.json", having(level="bpe", subwords="{}")),
    ("vocab.json", lambda content: {**content, "tokens": content["tokens"][4:]}),
    ("vocab.json", lambda content: {**content, "tokens": [*content["tokens"][:-1], content["tokens"][5]]}),
    ("vocab.json", having(labels=[1])),
    ("vocab.json", having(labels={"a": "b"})),
]


@pytest.mark.parametrize(("name", "change"), SPOILED)
def test_a_spoiled_file_is_one_line_that_names_it(copy, name, change):
    spoil(copy, name, change)
    with pytest.raises(UserError) as error:
        uc.load(copy.path)
    assert name.split(".")[0] in str(error.value) or ("model." in str(error.value) and "\n" not in str(error.value))


@pytest.mark.parametrize(
    "change",
    [
        lambda content: [content],
        without("train"),
        having(train=3),
        *[
            lambda content, n=n: {**content, "train": {**content["train"], "longest": n}}
            for n in (-1, 0, 10**9, "9", True)
        ],
    ],
)
def test_a_corpus_that_cannot_be_is_not_believed(copy, change):
    spoil(copy, "corpus.json", change)
    with pytest.raises(UserError, match=r"corpus.json"):
        uc.load(copy.path).sample(1)


@pytest.mark.parametrize("content", [[1], {"test": 3}, {"test": {"nll_elbo": "low"}}, {"test": {}}, None])
def test_metrics_that_are_none_are_not_compared(copy, content, capsys):
    write_json(copy.path / "metrics.json", content)
    assert main(["compare", str(copy.path)]) == 2
    assert "metrics.json" in capsys.readouterr().err


def resaved(folder, change):
    weights = folder.load_weights()
    changed = {name: change(name, value) for name, value in weights.items()}
    folder.model_file.write_bytes(safetensors.torch.save({n: v for n, v in changed.items() if v is not None}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda name, value: torch.full_like(value, torch.nan), "finite weights"),
        (lambda name, value: torch.full_like(value, torch.inf), "finite weights"),
        (lambda name, value: value.round().long(), "expected .* of float32, got .* of int64"),
        (lambda name, value: value[:1].clone(), "does not fit"),
        (lambda name, value: None if "cell" in name else value, "does not fit"),
    ],
)
def test_weights_that_are_none_are_refused(copy, change, said):
    resaved(copy, change)
    with pytest.raises(UserError, match=f"model.safetensors: .*{said}"):
        uc.load(copy.path)


def test_a_prior_of_another_space_is_refused(copy):
    for shape in ((2, 3), (2, 4, 4)):
        copy.prior_file.write_bytes(
            safetensors.torch.save(
                {"weights": torch.ones(2), "means": torch.ones(shape), "factors": torch.ones(2, 4, 4)}
            )
        )
        with pytest.raises(UserError, match=r"prior.safetensors: expected a mixture of codes of 4 dimensions"):
            uc.load(copy.path).sample(1, prior="fitted")


def test_a_state_that_is_no_state_is_one_line(copy):
    for content in (b"", b"PK\x03\x04", b"x" * 1000):
        copy.state_file.write_bytes(content)
        with pytest.raises(UserError, match=r"last.pt: damaged"):
            load_state(copy.state_file)
    held = io.BytesIO()
    torch.save([1], held)
    copy.state_file.write_bytes(held.getvalue())
    with pytest.raises(UserError, match=r"last.pt: damaged"):
        load_state(copy.state_file)


def test_records_of_the_posterior_mean_space_are_appended_and_read_back(copy):
    assert not len(copy.mean_space().steps)
    for step in (0, 100, 200):
        append_line(copy.mean_space_file, {"step": step, "model": [step / 7] * 3, "inference": [0.0] * 3})
    records = copy.mean_space()
    assert records.steps.tolist() == [0, 100, 200]
    np.testing.assert_allclose(records.model[:, 0], [0, 100 / 7, 200 / 7], atol=1e-5)
    keep_lines(copy.mean_space_file, "step", 150)
    assert copy.mean_space().steps.tolist() == [0, 100]
    copy.mean_space_file.write_text('{"step": 1, "model": "none", "inference": []}\n')
    with pytest.raises(UserError, match=r"posterior-mean-space.jsonl"):
        copy.mean_space()


@pytest.mark.parametrize(
    ("value", "schema", "fits"),
    [
        (True, int, False), (1, int, True), (1, float, False), (1, (int, float), True), (True, (int, float), False),
        ([1, 2], [int], True), ([1, "a"], [int], False), ({"a": 1}, {str: int}, True), ({"a": "b"}, {str: int}, False),
        ({1: 1}, {str: int}, False), ({"a": {"b": [1]}}, {"a": {"b": [int]}}, True), ({}, {"a": int}, False),
    ],
)  # fmt: skip
def test_forms_are_checked(value, schema, fits):
    if fits:
        assert expect(value, schema, "here") is value
    else:
        with pytest.raises(UserError, match=r"^here"):
            expect(value, schema, "here")


def test_lines_of_json_are_objects(tmp_path):
    path = tmp_path / "log.jsonl"
    for text in ("[1]\n", "{\n", "[" * 100_000 + "\n", '{"a": 1' + "0" * 5000 + "}\n"):
        path.write_text(text)
        with pytest.raises(UserError, match=r"log.jsonl, line 1"):
            read_lines(path)


def test_every_file_of_a_run_is_known_to_be_its_own(copy):
    assert {path.name for path in copy.path.iterdir()} <= {*OWN, "state"}
    assert 2 * len(copy.config_file.read_text()) < files.MOST_YAML
