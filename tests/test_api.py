import errno
import json
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

import uncollapse as uc
from tests.conftest import TINY
from uncollapse.runs.config import merge
from uncollapse.runs.folder import RunFolder

TEXTS = ["the trader sold the shares .", "these pianists will sing his waltzes .", "the trader sold the shares ."]


def test_encode_decode_reconstruct_and_sample(trained):
    mu = trained.encode(TEXTS)
    assert mu.shape == (3, 4) and np.array_equal(mu[0], mu[2]) and not np.array_equal(mu[0], mu[1])
    assert trained.decode(mu) == trained.reconstruct(TEXTS) == trained.decode(torch.from_numpy(mu))
    assert trained.decode(mu[:1]) == trained.decode(mu)[:1]
    assert len(trained.sample(7)) == 7 and trained.sample(7) == trained.sample(7) != trained.sample(7, seed=1)
    assert trained.sample(3, decode="greedy", seed=2) == trained.sample(7, decode="greedy", seed=2)[:3]


def test_the_posterior_is_that_of_the_model(trained):
    from uncollapse.data.corpus import Corpus

    posterior = trained.posterior(TEXTS)
    direct = trained.model.posterior(Corpus.from_texts(TEXTS, trained.vocabulary).batch([0, 1, 2]))
    torch.testing.assert_close(posterior.mu, direct.mu.detach())
    torch.testing.assert_close(posterior.logvar, direct.logvar.detach())


def test_public_names_are_listed_before_they_are_used():
    script = "import uncollapse as uc; assert {'VAE', 'fit', 'train'} <= {*dir(uc)} and 'load' in dir(uc.data)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_run_can_be_moved_and_needs_no_corpus(trained, tmp_path):
    moved = shutil.copytree(trained.path, tmp_path / "moved")
    shutil.rmtree(moved / "state")
    again = uc.load(moved)
    assert again.sample(4) == trained.sample(4) and (again.encode(TEXTS) == trained.encode(TEXTS)).all()
    assert again.config == trained.config and "grammar" in repr(again)


def test_evaluate_writes_each_split_beside_the_others(trained, tmp_path):
    run = uc.load(shutil.copytree(trained.path, tmp_path / "run"))
    test = run.evaluate("test", 5, 20)
    valid = run.evaluate("valid", 5, 20)
    written = json.loads((run.path / "metrics.json").read_text())
    assert written == {"test": test, "valid": valid} == run.metrics
    assert test["sentences"] == 1000 and "nll_floor" not in test  # 200 training sentences leave words unknown


def test_the_plain_path_of_the_readme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = uc.train(recipe="grammar", remedy="annealed", seed=3, **TINY)
    assert run.path.as_posix() == "runs/grammar-annealed-3" and run.config.train.seed == 3


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda run: run.encode("one string"), r"write \[text\]"),
        (lambda run: run.encode([]), "at least one sentence"),
        (lambda run: run.decode(np.zeros((2, 3))), r"\[N, 4\], got \[2, 3\]"),
        (lambda run: run.decode(np.zeros(4)), r"\[N, 4\], got \[4\]"),
        (lambda run: run.decode(np.zeros((1, 4)), decode="gready"), "did you mean greedy"),
        (lambda run: run.sample(0), "at least one sentence"),
        (lambda run: run.evaluate("tset"), "did you mean test"),
    ],
)
def test_misuse_is_said_in_one_line(trained, call, said):
    with pytest.raises(uc.UserError, match=said):
        call(trained)


def test_a_language_model_has_no_codes(tmp_path):
    run = uc.train(
        "grammar",
        "lm",
        out=tmp_path / "lm",
        data={"sentences": 60},
        train={"epochs": 1},
        encoder={"hidden": 8, "emb": 8},
        decoder={"hidden": 8, "emb": 8},
    )
    assert len(run.sample(2)) == 2
    with pytest.raises(uc.UserError, match="has no latent space"):
        run.encode(TEXTS)


def test_empty_and_unknown_sentences_have_codes_too(trained):
    assert np.isfinite(trained.encode(["", "nothing of this is known"])).all()
    assert trained.inputs.unknown_words(["nothing the"]) == 1


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda p: (p / "config.yaml").unlink(), "holds no config.yaml"),
        (lambda p: (p / "vocab.json").unlink(), "vocab.json is missing"),
        (lambda p: (p / "vocab.json").write_text("{"), "broken JSON"),
        (lambda p: (p / "model.safetensors").unlink(), "model.safetensors is missing"),
        (
            lambda p: (p / "model.safetensors").write_bytes((p / "model.safetensors").read_bytes()[:999]),
            "truncated or damaged",
        ),
        (lambda p: (p / "model.safetensors").write_bytes(b""), "truncated or damaged"),
        (lambda p: rewrite(p, "version: 3", "version: 99"), "expected a version from 1 to 3, got 99"),
        (lambda p: rewrite(p, "latent: 4", "latent: 5"), "does not fit the network"),
        (lambda p: rewrite(p, "latent: 4", "latant: 4"), "unknown setting 'model.latant'"),
        (lambda p: rewrite(p, "version: 3", "version: [1"), "expected YAML"),
        (shutil.rmtree, "no such run folder"),
    ],
)
def test_a_spoiled_run_folder_gets_one_line(trained, tmp_path, spoil, said):
    path = shutil.copytree(trained.path, tmp_path / "run")
    spoil(path)
    with pytest.raises(uc.UserError, match=".") as error:
        uc.load(path)
    assert said in str(error.value) and "\n" not in str(error.value)


def rewrite(path, before, after):
    file = path / "config.yaml"
    assert before in file.read_text()
    file.write_text(file.read_text().replace(before, after))


def test_an_existing_run_is_refused_unless_said_otherwise(tmp_path):
    uc.train("grammar", out=tmp_path / "run", **TINY)
    with pytest.raises(uc.UserError, match="already there; add --resume"):
        uc.train("grammar", out=tmp_path / "run", **TINY)
    (tmp_path / "run" / "notes.txt").write_text("mine")
    uc.train("grammar", out=tmp_path / "run", overwrite=True, **TINY)
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "wrong",
    [{"data": {"path": "no such file"}}, {"objective": {"weight": "linear(0, 1)"}}, {"train": {"device": "abacus"}}],
)
def test_overwrite_deletes_nothing_before_all_is_checked(tmp_path, wrong):
    run = uc.train("grammar", out=tmp_path / "run", **TINY)
    with pytest.raises(uc.UserError):
        uc.train("grammar", out=tmp_path / "run", overwrite=True, **merge(TINY, wrong))
    assert uc.load(tmp_path / "run").sample(2) == run.sample(2)


def test_mistakes_of_python_users_are_said_in_one_line():
    for call, said in (
        (lambda: uc.train("grammar", epochs=3), "unknown section 'epochs'"),
        (lambda: uc.train("grammar", train=3), "settings of 'train': expected names and values"),
        (lambda: uc.train("default", data="f.txt"), "settings of 'data'"),
    ):
        with pytest.raises(uc.UserError, match=said):
            call()


def test_other_data_can_be_evaluated_and_are_marked(trained, tmp_path, sentences_file):
    run = uc.load(shutil.copytree(trained.path, tmp_path / "run"))
    assert run.evaluate("test", 2, 10)["protocol"]["same_as_training"]
    other = run.evaluate("test", 2, 5, data={"path": str(sentences_file)})
    assert not other["protocol"]["same_as_training"] and other["sentences"] == 5
    with pytest.raises(uc.UserError, match="go with --data.path"):
        run.evaluate("test", data={"test": str(sentences_file)})


def test_resume_names_the_settings_that_differ(tmp_path):
    uc.train("grammar", out=tmp_path / "run", **TINY)
    with pytest.raises(uc.UserError, match=r"train.seed was 1, now 2") as error:
        uc.train("grammar", "beta", seed=2, out=tmp_path / "run", resume=True, **TINY)
    assert "objective.weight was '1', now '0.4'" in str(error.value)
    with pytest.raises(uc.UserError, match="nothing to resume"):
        uc.train("grammar", out=tmp_path / "other", resume=True, **TINY)


def test_resume_of_a_finished_run_changes_nothing(tmp_path):
    one = uc.train("grammar", out=tmp_path / "run", **TINY)
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    again = uc.train("grammar", out=tmp_path / "run", resume=True, **TINY)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before and again.log == one.log


def test_resume_notices_changed_data(tmp_path, sentences_file):
    changes = {**TINY, "data": {"path": str(sentences_file)}}
    uc.train("default", out=tmp_path / "run", **changes)
    sentences_file.write_text(sentences_file.read_text().replace("cat", "dog"))
    with pytest.raises(uc.UserError, match="the data have changed"):
        uc.train("default", out=tmp_path / "run", resume=True, **changes)
    _, messages = uc.load(tmp_path / "run").splits()
    assert any("differs from that of the training" in r for r in messages)


def test_a_second_training_in_one_folder_is_refused(tmp_path):
    (tmp_path / "run").mkdir()
    with RunFolder(tmp_path / "run").lock(), pytest.raises(uc.UserError, match="another process is training"):
        uc.train("grammar", out=tmp_path / "run", **TINY)


def test_training_works_outside_the_main_thread(tmp_path):
    thread = threading.Thread(target=uc.train, args=("grammar",), kwargs={"out": tmp_path / "run", **TINY})
    thread.start()
    thread.join()
    assert uc.load(tmp_path / "run").sample(1)


def test_writes_are_whole_or_not_at_all(tmp_path, monkeypatch):
    from pathlib import Path

    from uncollapse.files import write_atomically

    path = tmp_path / "file"
    write_atomically(path, b"old")
    monkeypatch.setattr(Path, "replace", lambda *a: (_ for _ in ()).throw(OSError(errno.ENOSPC, "power cut")))
    with pytest.raises(uc.UserError, match=r"file: cannot be written .*MiB are needed"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_generation_needs_a_length(trained):
    with pytest.raises(uc.UserError, match="max_length: expected at least 1, got 0"):
        uc.generate(trained.model, 2, vocabulary=trained.vocabulary, max_length=0)
