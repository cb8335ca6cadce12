"""Run folders of which a file is damaged or altered."""

import io
import json
import shutil
import struct
from pathlib import Path

import pytest
import safetensors.torch
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

import uncollapse as uc
from tests.conftest import TINY
from tests.fuzz import HUGE, altered, damaged, kept, rarely, taken_or_refused, values, variants, with_variants
from uncollapse.cli import main
from uncollapse.errors import UserError
from uncollapse.runs.folder import RunFolder
from uncollapse.training.states import load_state

TYPES = ["F8_E4M3", "F8_E8M0", "F4", "I64", "BOOL", "C64", "U64", "F16", "BF16", [0, 0], [2**40], [0, 2**62], [-1]]
VERBS = {"metrics.json": ["compare", "doctor"], "metrics.jsonl": ["losses", "doctor"], "monitor.jsonl": ["doctor"]}
READ = {
    "metrics.json": (RunFolder.metrics,), "metrics.jsonl": (RunFolder.log,), "monitor.jsonl": (RunFolder.looks,),
    "config.yaml": (RunFolder.origin,), "vocab.json": (RunFolder.vocabulary, RunFolder.label_space),
    "corpus.json": (RunFolder.corpus,), "model.safetensors": (RunFolder.load_weights,),
    "prior.safetensors": (lambda folder: folder.load_prior(1),), "posterior-mean-space.jsonl": (RunFolder.mean_space,),
}  # fmt: skip
"""The readers of each file."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    """Return a run of version 1, and a new conditional one that has every file."""
    folder = tmp_path_factory.mktemp("fuzzed")
    changes = {"model": {**TINY["model"], "latent": 1, "condition": "tense"}, "monitor": {"every": 5}}
    changes["train"] = {**TINY["train"], "record_every": 10, "record_points": 3, "fit_prior": 2}
    made = uc.train("grammar", out=folder / "new", callbacks=[], **{**TINY, **changes})
    made.evaluate(iw_samples=2, iw_sentences=5)
    shutil.copytree(Path(__file__).parents[1] / "fixtures" / "run-v1", folder / "old")
    return {"old": folder / "old", "new": made.path}


def change(path: Path, content: bytes) -> None:
    """Use a run folder with another content of a file, and put the old one back."""
    before, folder = path.read_bytes(), path.parent
    path.write_bytes(content)
    try:
        for verb in VERBS.get(path.name, ()):
            taken_or_refused(lambda verb=verb: main([verb, str(folder)]))
        if run := taken_or_refused(lambda: uc.load(folder, "cpu")):
            label = "past" if run.label_space.names else None
            uses = [run.folder.looks, run.folder.mean_space, run.folder.corpus, run.folder.log, run.folder.metrics]
            uses += [lambda: run.sample(1), lambda: run.sample(1, prior="fitted"), lambda: run.encode(["a"], label)]
            for use in uses:
                taken_or_refused(use)
    finally:
        path.write_bytes(before)


def altered_file(path: Path):
    """Return a strategy for other contents of a file, of its own kind."""
    content = path.read_bytes()
    if path.suffix == ".yaml":
        return altered(yaml.safe_load(content)).map(lambda new: yaml.safe_dump(new).encode())
    if path.suffix == ".safetensors":
        end = 8 + struct.unpack("<Q", content[:8])[0]
        kinds = values | st.sampled_from(TYPES)
        headers = altered(json.loads(content[8:end]), kinds).map(lambda new: json.dumps(new).encode())
        return headers.map(lambda header: struct.pack("<Q", len(header)) + header + content[end:])
    first, *rest = content.splitlines() if path.suffix == ".jsonl" else [content]
    return altered(json.loads(first)).map(lambda new: b"\n".join([json.dumps(new).encode(), *rest, b""]))


@pytest.mark.parametrize("name", READ)
@with_variants
@given(st.data(), st.sampled_from(["old", "new"]), st.booleans())
def test_any_file_is_read_or_refused(runs, name, data, run, broken):
    path = runs["new" if name.startswith(("monitor", "p")) else run] / name
    before = path.read_bytes()
    content = data.draw(damaged(before) if broken else altered_file(path))
    try:
        for variant in variants(content, before if broken else content):
            path.write_bytes(variant)
            for read in READ[name]:
                taken_or_refused(lambda read=read: read(RunFolder(path.parent)))
    finally:
        path.write_bytes(before)


@pytest.mark.parametrize("name", READ)
@rarely
@given(st.data(), st.sampled_from(["old", "new"]), st.booleans())
def test_a_run_with_any_file_is_used_or_refused(runs, name, data, run, broken):
    if (path := runs[run] / name).exists():
        change(path, data.draw(damaged(path.read_bytes()) if broken else altered_file(path)))


def with_value(content, path: str, value):
    """Return nested values with another value at a path such as `a.b`; None leaves it out."""
    name, dot, rest = path.partition(".")
    if not dot and value is None:
        return {key: each for key, each in content.items() if key != name}
    return {**content, name: with_value(content[name], rest, value) if dot else value}


FOUND = [("corpus.json", "train.labels", {}), ("corpus.json", "train.labels.tense", {"past": 1})]
FOUND += [("corpus.json", "train.labels.tense", dict.fromkeys(("past", "present", "future"), n)) for n in (0, -1, HUGE)]
FOUND += [("metrics.jsonl", "train.loss", wrong) for wrong in (None, "x", HUGE)]
FOUND += [("metrics.jsonl", "epoch", HUGE), ("metrics.jsonl", "step", HUGE)]
FOUND += [("posterior-mean-space.jsonl", "model", wrong) for wrong in ([], [HUGE] * 3)]
FOUND += [
    ("metrics.json", f"test.{name}", wrong)
    for name in "mi_se au ppl_iw iw_gap_se mi_cap protocol".split()
    for wrong in (None, "x", HUGE)
]
FOUND += [("metrics.json", f"test.{name}", HUGE) for name in ("rate", "latent", "distortion")]


@pytest.mark.parametrize("name", sorted({name for name, _, _ in FOUND}))
def test_found_in_files(runs, name):
    """Every value is tried; what fails is said together."""
    path, failed = runs["new"] / name, []
    first, *rest = path.read_text().splitlines() if name.endswith("l") else [path.read_text()]
    for _, where, value in (case for case in FOUND if case[0] == name):
        try:
            content = "\n".join([json.dumps(with_value(json.loads(first), where, value)), *rest, ""])
            change(path, content.encode())
        except Exception as error:
            failed.append(f"{where} = {str(value)[:20]}: {type(error).__name__}")
    assert not failed, "; ".join(failed)


VERSION_1 = [("model.encoder", "x"), ("model.encoder", []), ("objective", {"ramp": "9 epochs", "target": "x"})]


@pytest.mark.parametrize(("where", "value"), VERSION_1)
def test_found_in_settings_of_version_1(runs, where, value):
    path = runs["old"] / "config.yaml"
    content = with_value(yaml.safe_load(path.read_text()), f"settings.{where}", value)
    change(path, yaml.safe_dump(content).encode())


@rarely
@given(st.sampled_from(["weights", "means", "factors"]), st.sampled_from([-1.0, 0.0, 1e30, 1, False]))
@kept(("weights", 0.0), ("weights", -1.0), ("means", 1), ("factors", False))
def test_any_prior(runs, name, number):
    path = runs["new"] / "prior.safetensors"
    weights = safetensors.torch.load_file(path)
    change(path, safetensors.torch.save({**weights, name: torch.full(weights[name].shape, number)}))


@with_variants
@given(st.data(), st.booleans())
def test_any_state(tmp_path, runs, data, broken):
    content = before = (runs["new"] / "state" / "last.pt").read_bytes()
    if broken:
        content = data.draw(damaged(before))
    else:
        torch.save(data.draw(altered(torch.load(io.BytesIO(before)))), saved := io.BytesIO())
        content = saved.getvalue()
    for variant in variants(content, before if broken else content):
        (tmp_path / "last.pt").write_bytes(variant)
        taken_or_refused(lambda: load_state(tmp_path / "last.pt"))


@rarely
@given(st.data())
def test_training_goes_on_from_any_state(runs, tmp_path_factory, data):
    """The training has ended, so that its state is taken up and no more."""
    folder = Path(shutil.copytree(runs["new"], tmp_path_factory.mktemp("resumed") / "run"))
    state, asked = folder / "state" / "last.pt", uc.load(folder, "cpu").config.settings()
    torch.save(data.draw(altered(torch.load(state))), state)
    taken_or_refused(lambda: uc.train("grammar", out=folder, resume=True, callbacks=[], **asked))


STATES = [
    ("progress.epoch", "x"),
    ("progress.epoch", True),
    ("progress.finished", 1),
    ("progress.totals", {"loss": "x"}),
    ("plateau.best", "x"),
]
STATES += [
    ("phase.before", [None]),
    ("phase.rule", 1),
    ("callbacks.Monitor.dead", []),
    ("callbacks.Monitor.earned", []),
]
STATES += [("objective.controllers", [{"factor": "x", "rate": 1.0}]), ("random.cpu", torch.zeros(3))]
STATES += [("optimizer.param_groups", [{"lr": "x"}]), ("model", {"a": torch.zeros(1)})]


@pytest.mark.parametrize(("where", "value"), STATES)
def test_found_in_states(runs, tmp_path, where, value):
    folder = Path(shutil.copytree(runs["new"], tmp_path / "run"))
    state, asked = folder / "state" / "last.pt", uc.load(folder, "cpu").config.settings()
    torch.save(with_value(torch.load(state), where, value), state)
    with pytest.raises(UserError, match=r"last\.pt: not the state of this training"):
        uc.train("grammar", out=folder, resume=True, callbacks=[], **asked)


def test_weights_kept_under_another_name(runs):
    (runs["new"] / "kept").mkdir(exist_ok=True)
    (runs["new"] / "kept" / "1a-mi-4.safetensors").write_bytes(b"")
    taken_or_refused(lambda: uc.load(runs["new"], "cpu", epoch=1))
