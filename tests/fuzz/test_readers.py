"""Data from outside: texts, pictures, codes, checkpoints and schedules."""

import gzip
import io
import json
import zipfile

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.io import savemat

import uncollapse as uc
from tests.conftest import SENTENCES
from tests.fuzz import LONG, altered, damaged, kept, taken_or_refused, values, variants, wild, with_variants
from tests.test_importers import TRAIN, lagging_state
from uncollapse.cli.inputs import read_codes
from uncollapse.data.pictures import load_pictures
from uncollapse.data.settings import DataConfig
from uncollapse.interop.checkpoints import import_run
from uncollapse.schedules import Clock, parse
from uncollapse.tasks.forms.pairs import read_pairs

# -- texts ------------------------------------------------------------------------------------------------------------

LINES = [f"{sentence} {i}" for sentence in SENTENCES for i in range(10)]
OBJECT = {"text": LINES[0], "label": {"tense": "past"}, "kind": "b"}
TABLE = "text,tense\n" + "\n".join(f'"{line}",past' for line in LINES)
TEXTS = ["\n".join(LINES), TABLE, "\n".join([json.dumps(OBJECT)] * 60)]
PIECES = ["\n", "\r", "\t", "\0", "\ufeff", "\x85", "\u2028", "a b c", *', ; " { } [ ] : text label'.split()]
joined = st.lists(st.sampled_from(PIECES) | wild, max_size=30).map("".join)
pieces = joined.map(lambda text: text.encode("utf-8", "surrogatepass"))
texts = pieces | st.binary(max_size=99) | st.sampled_from(TEXTS).flatmap(lambda text: damaged(text.encode()))
suffixes = st.sampled_from([".txt", ".tsv", ".csv", ".jsonl"])
formats = st.sampled_from(["auto", "txt", "tsv", "parallel"])


@with_variants
@given(texts | texts.map(gzip.compress).flatmap(damaged), suffixes, formats, st.sampled_from([0.0, 0.1]))
def test_any_text(tmp_path, content, suffix, format, held_out):
    packed = content.startswith(gzip.compress(b"")[:2])
    path = tmp_path / f"a{suffix}{'.gz' * packed}"
    columns = "tense: a, b" if format == "parallel" else ""
    for variant in variants(content):
        path.write_bytes(variant)
        taken_or_refused(lambda: uc.data.load(path, held_out=held_out, format=format, columns=columns))


@with_variants
@given(st.lists(altered(OBJECT) | values, min_size=1, max_size=4), wild, wild)
@kept(([{LONG: "a b c", "y": "a b c"}], "", ""), ([{"a\nb": "a b c", "y": "a b c"}], "", ""), ([OBJECT], LONG, LONG))
def test_any_objects(tmp_path, records, text, label):
    for variant in variants("\n".join(json.dumps(record) for record in records * 3).encode()):
        (tmp_path / "a.jsonl").write_bytes(variant)
        for column in ({}, {"text_column": text, "label_column": label}):
            taken_or_refused(lambda column=column: uc.data.load(tmp_path / "a.jsonl", held_out=0.0, **column))


def test_objects_whose_names_all_differ(tmp_path):
    lines = [json.dumps({"text": "a b", **{f"{i}-{j}": 1 for j in range(300)}}) for i in range(400)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    taken_or_refused(lambda: uc.data.load(tmp_path / "a.jsonl"))


@with_variants
@given(pieces, wild | st.sampled_from(["a>b", "a>b, b>a"]))
def test_any_pairs(tmp_path, content, directions):
    for variant in variants(content):
        (tmp_path / "pairs.txt").write_bytes(variant)
        taken_or_refused(lambda: read_pairs(tmp_path / "pairs.txt", directions))


# -- pictures and codes -----------------------------------------------------------------------------------------------


def saved(write, *arguments, **named) -> bytes:
    """Return what a function writes into a file."""
    write(file := io.BytesIO(), *arguments, **named)
    return file.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    """Return a zip of files."""
    with zipfile.ZipFile(file := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in files.items():
            opened.writestr(name.encode("utf-8", "replace").decode().replace("\0", ""), content)
    return file.getvalue()


INK = np.random.default_rng(0).random((60, 8, 8)).astype(np.float32)
THREE = {"train": INK, "valid": INK[:5], "test": INK[:5]}
PNG = saved(Image.fromarray(np.eye(8, dtype=np.uint8)).save, "PNG")
PICTURES = [
    (".npy", saved(np.save, INK)), (".npz", saved(np.savez, **THREE)), (".npz", saved(np.savez_compressed, mu=INK[0])),
    (".mat", saved(savemat, THREE)), (".mat", saved(savemat, {"a": INK}, do_compression=True)),
    (".pt", saved(lambda file: torch.save(torch.from_numpy(INK), file))),
    (".zip", zipped({f"group{i % 3}/{i:04d}_{i % 6:02d}.png": PNG + bytes([i]) for i in range(20)})),
]  # fmt: skip


def look(path, content: bytes, valid: bytes | None = None) -> None:
    """Read a file as pictures and as codes, and variants of it, or of a valid one."""
    for variant in variants(content, valid):
        path.write_bytes(variant)
        taken_or_refused(lambda: load_pictures(DataConfig(path=str(path), level="pixel", side=8, held_out=0.2)))
        taken_or_refused(lambda: read_codes(path))


@with_variants
@given(st.sampled_from(PICTURES).flatmap(lambda file: st.tuples(st.just(file), damaged(file[1]))))
def test_damaged_pictures(tmp_path, file):
    (suffix, valid), content = file
    look(tmp_path / f"a{suffix}", content, valid)


shapes = st.lists(st.sampled_from([0, 1, 8, 64, 784, 2**31, 2**40, 2**62, -1]), max_size=4).map(tuple)
kinds = st.sampled_from(["<f4", "<f8", "|u1", "|b1", "<c8", "<M8[s]", "|O", "|V7", "<U9", "<f2", "<f16"])


@with_variants
@given(shapes, kinds, st.binary(max_size=600))
@kept(((2**40, 8), "<f4", b""), ((64, 0), "<f4", b""), ((2**31, 1, 0), "<f4", b""))
def test_arrays_that_lie_about_their_shape(tmp_path, shape, kind, rest):
    header = {"descr": kind, "fortran_order": False, "shape": shape}
    array = saved(np.lib.format.write_array_header_1_0, header) + rest
    look(tmp_path / "a.npy", array)
    look(tmp_path / "a.npz", zipped({"mu.npy": array}))


zero, ones = torch.zeros(1), torch.ones(2, 8, 8)
TENSORS = [ones, zero[0], ones.bfloat16(), ones.cfloat(), ones.to_sparse(), ones.to("meta"), ones * torch.nan]
TENSORS += [zero.expand(2**12, 8, 8), zero.expand(2**40, 8, 8), zero.expand(7, 2**40), ones.int()]
tensors = st.sampled_from(TENSORS) | values


@with_variants
@given(tensors | st.lists(tensors, max_size=4) | st.dictionaries(wild | st.integers(), tensors, max_size=3))
@kept({str(i): zero.expand(2**21, 8, 8) for i in range(10)}, {"a\nb": zero.expand(9, 9), "b": zero}, {LONG: ones[0]})
def test_any_tensors_as_pictures(tmp_path, content):
    look(tmp_path / "a.pt", saved(lambda file: torch.save(content, file)))


@with_variants
@given(st.dictionaries(wild.map(lambda text: f"{text}.png"), st.sampled_from([b"", PNG, b"%!PS-Adobe-3.0 EPSF-3.0\n"])))
@kept({"a\nb.png": b""}, {f"{LONG}.png": b""})
def test_any_names_in_a_zip(tmp_path, files):
    look(tmp_path / "a.zip", zipped(files))


# -- checkpoints ------------------------------------------------------------------------------------------------------

STATE = lagging_state()
states = altered(STATE, tensors).map(lambda state: saved(lambda file: torch.save(state, file)))
old_states = damaged(saved(lambda file: torch.save(STATE, file, _use_new_zipfile_serialization=False)))
more = [{"a\nb": zero}, {f"encoder.embed.{LONG}": zero}, {"decoder.trans_linear.weight": zero.expand(7, 2**40)}]


@with_variants
@given(states | states.flatmap(damaged) | old_states)
@kept(*(saved(lambda file, new=new: torch.save(STATE | new, file)) for new in more))
def test_any_checkpoint(tmp_path, content):
    (tmp_path / "train.txt").write_text(TRAIN)
    where = {"out": tmp_path / "run", "overwrite": True}
    for variant in variants(content):
        (tmp_path / "old.pt").write_bytes(variant)
        taken_or_refused(lambda: import_run("lagging", tmp_path / "old.pt", tmp_path / "train.txt", **where))


# -- schedules --------------------------------------------------------------------------------------------------------

TERMS = ["0", "1", "-1", "0.5", "1e9", "1e308", "-1e308", "1e-320", "nan", "٣", "1_0", "\n", "", "9" * 400]
terms = st.sampled_from(TERMS) | st.floats().map(str)
lengths = st.builds("{} {}".format, terms, st.sampled_from(["steps", "epochs", "%", ""]))
options = st.builds(", {}={}".format, st.sampled_from(["cycles", "ratio", "shape", "x"]), terms | st.just("sigmoid"))
names = st.sampled_from(["linear", "sigmoid", "cyclical", "step-decay"])
shapes_of = st.builds("{}({}, {}, {}{})".format, names, terms, terms, lengths, st.just("") | options)
joins = "join({} for {}, {})".format
schedules = st.recursive(terms | shapes_of, lambda inner: st.builds(joins, inner, lengths, inner))
FOUND = ["linear(0, 1, 1e308 epochs)", "step-decay(1, 1e9, 1 steps)", "join(" * 2000 + ")" * 2000, "join(0, 1\n)"]
FOUND += [f"linear(0, 1, {LONG})", "cyclical(0, 1, 9 steps, ratio=\n2)"]


@with_variants
@given(schedules | wild, st.sampled_from([Clock(10, 100), Clock(2**40, 2**50)]))
@kept(*((text, Clock(10, 100)) for text in FOUND))
def test_any_schedule(text, clock):
    for variant in variants(text.encode("utf-8", "surrogatepass")):
        schedule = taken_or_refused(lambda variant=variant: parse(variant.decode("utf-8", "replace"), clock))
        for step in (0, 1, 50, clock.run) if schedule else ():
            taken_or_refused(lambda step=step, schedule=schedule: schedule(step))
