"""A text that is not held in memory is the same corpus as one that is."""

import errno
import os
import tracemalloc

import numpy as np
import pytest

from uncollapse.data import encoding, reading
from uncollapse.data.corpus import Corpus
from uncollapse.data.lines import Lines
from uncollapse.data.reading import lines_of
from uncollapse.data.settings import DataConfig
from uncollapse.data.splits import EMBEDDED, fingerprint
from uncollapse.runs.builders.data import build_splits

TEXTS = EMBEDDED["grammar"](3, 900)["train"].texts


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("".join(f"{text}\n\n" if i % 7 == 0 else f"{text}\n" for i, text in enumerate(TEXTS)))
    return path


@pytest.fixture
def large(monkeypatch):
    """Take every file for one that is too large to be held, and encode it in several pieces."""
    monkeypatch.setattr(reading, "HELD_BYTES", 100)
    monkeypatch.setattr(encoding, "TOGETHER", 64)


def test_lines_are_those_of_the_file(file):
    lines = Lines([file], lines_of)
    assert list(lines) == list(TEXTS) and len(lines) == 900
    assert lines[3] == TEXTS[3] and lines[-1] == TEXTS[-1] and lines[10:2:-3] == list(TEXTS[10:2:-3])
    some = lines.take(np.array([2, 5, 700]))
    assert list(some) == [TEXTS[2], TEXTS[5], TEXTS[700]] and list(some.take(np.array([1]))) == [TEXTS[5]]
    with pytest.raises(IndexError):
        some[3]


@pytest.mark.parametrize("longest", [256, 9])
def test_splits_are_the_same_whether_the_text_is_held_or_not(file, tmp_path, longest, monkeypatch):
    settings = DataConfig(path=str(file), max_length=longest, max_vocab=40)
    held = build_splits(settings)
    monkeypatch.setattr(reading, "HELD_BYTES", 100)
    monkeypatch.setattr(encoding, "TOGETHER", 64)
    mapped = build_splits(settings, cache=tmp_path / "cache")
    assert isinstance(mapped.train.flat, np.memmap) and held.vocabulary == mapped.vocabulary
    for part in ("train", "valid", "test"):
        one, other = held[part], mapped[part]
        assert np.array_equal(one.flat, other.flat) and np.array_equal(one.offsets, other.offsets)
        assert one.left_out == other.left_out and one.unknown == other.unknown > 0
        assert fingerprint(one) == fingerprint(other)
    assert held.messages == mapped.messages and (held.train.left_out > 0) == (longest == 9)


def test_the_cache_is_made_once_and_again_when_the_text_or_the_words_change(file, tmp_path, large):
    cache = tmp_path / "cache"

    def train(**changes):
        return build_splits(DataConfig(path=str(file), **changes), cache=cache).train

    train()
    made = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert len(made) == 9  # ids, offsets and positions of three parts
    train()
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == made
    train(max_vocab=30)
    assert len(list(cache.iterdir())) == 18
    file.write_text(file.read_text().replace("the", "a"))
    os.utime(file, ns=(1, 1))
    changed = train()
    assert len(list(cache.iterdir())) == 27 and "the" not in changed.vocabulary.ids


def test_an_interrupted_encoding_is_begun_anew(file, tmp_path, large, monkeypatch):
    settings, cache = DataConfig(path=str(file)), tmp_path / "cache"
    whole = build_splits(settings).train
    pieces = encoding._pieces

    def interrupted(*arguments):
        yield next(pieces(*arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr(encoding, "_pieces", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_splits(settings, cache=cache)
    monkeypatch.setattr(encoding, "_pieces", pieces)
    again = build_splits(settings, cache=cache).train
    assert np.array_equal(again.flat, whole.flat)


def test_a_corpus_of_nothing_is_empty():
    corpus = Corpus.from_texts([], embedded_vocabulary())
    assert len(corpus) == 0 and corpus.flat.dtype == np.int32


def embedded_vocabulary():
    from uncollapse.data.vocabulary import build_vocabulary

    return build_vocabulary(TEXTS)


def test_positions_are_those_of_the_texts_that_fit_across_pieces(monkeypatch):
    monkeypatch.setattr(encoding, "TOGETHER", 4)
    texts = ["a b c" if i % 3 == 0 else "a" for i in range(11)]
    _, offsets, kept = encoding.encode(texts, embedded_vocabulary(), 1)
    assert kept.tolist() == [i for i in range(11) if i % 3] and np.diff(offsets).tolist() == [1] * 7


def test_few_letters_are_encoded_together_and_their_ids_are_not_held(tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "TOGETHER", 2000)
    monkeypatch.setattr(reading, "HELD_BYTES", 100)
    path, vocabulary = tmp_path / "a.txt", embedded_vocabulary()
    path.write_text(("a b " * 100 + "\n") * 2000)  # 1.6 MB of ids
    texts = reading.read_texts(path)[0].texts
    tracemalloc.start()
    flat, offsets, _ = encoding.encode(texts, vocabulary, 256, cache=tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(flat) == offsets[-1] == 400_000 and peak < 1_000_000


def test_an_encoding_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    path, whole = tmp_path / "a.txt", encoding._pieces

    def full(*arguments):
        yield next(whole(*arguments))
        raise OSError(errno.ENOSPC, "No space left on device")

    path.write_text("a b\n" * 2000)
    monkeypatch.setattr(reading, "HELD_BYTES", 100)
    texts = reading.read_texts(path)[0].texts
    monkeypatch.setattr(encoding, "_pieces", full)
    with pytest.raises(OSError, match="No space"):
        encoding.encode(texts, embedded_vocabulary(), 256, cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())
    monkeypatch.undo()
    assert len(encoding.encode(texts, embedded_vocabulary(), 256, cache=tmp_path / "cache")[1]) == 2001
    assert len(list((tmp_path / "cache").iterdir())) == 3
