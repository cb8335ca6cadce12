"""From texts to token ids, a few thousand sentences at a time: in memory, or in a file that is mapped into it."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import chain, groupby
from pathlib import Path

import numpy as np

from uncollapse.data.lines import Lines
from uncollapse.data.vocabulary import Vocabulary
from uncollapse.files import unfinished

TOGETHER = 2**20
"""Letters, ends of lines among them, that are encoded at a time."""


def encode(
    texts: Iterable[str], vocabulary: Vocabulary, max_length: int, *, cache: Path | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the token ids of all texts one after another, where each begins, and which texts these are.

    Args:
        texts: the sentences.
        vocabulary: what numbers their tokens.
        max_length: longer texts (in tokens) are left out.
        cache: a folder for the ids of texts that are not held in memory (`Lines`); they are read from there the next time.

    Returns:
        ids `[tokens]`, int32, perhaps mapped from a file; offsets `[sentences + 1]`; positions among the texts, `[sentences]`.
    """
    if cache is not None and isinstance(texts, Lines):
        return _cached(texts, vocabulary, max_length, cache)
    pieces = list(_pieces(texts, vocabulary, max_length))
    flat = np.concatenate([ids for ids, _, _ in pieces]) if pieces else np.zeros(0, np.int32)
    return flat, *_places(pieces)


def _pieces(
    texts: Iterable[str], vocabulary: Vocabulary, max_length: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield ids, lengths and positions of some sentences after others."""
    letters = first = 0

    def piece(text: str) -> int:
        nonlocal letters
        letters += len(text) + 1
        return letters // TOGETHER

    for _, group in groupby(texts, piece):
        together = list(group)
        ids = vocabulary.encode_all(together)
        short = np.fromiter((len(each) <= max_length for each in ids), bool, len(ids))
        kept = ids if short.all() else [each for each, fits in zip(ids, short, strict=True) if fits]
        lengths = np.fromiter(map(len, kept), np.int32, len(kept))
        flat = np.fromiter(chain.from_iterable(kept), np.int32, int(lengths.sum()))
        yield flat, lengths, first + np.flatnonzero(short)
        first += len(together)


def _places(pieces: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.concatenate([lengths for _, lengths, _ in pieces]) if pieces else np.zeros(0, np.int32)
    positions = np.concatenate([positions for _, _, positions in pieces]) if pieces else np.zeros(0, np.int64)
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]), positions


def _cached(
    texts: Lines, vocabulary: Vocabulary, max_length: int, cache: Path
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Encode into a file, once, and map it."""
    about = f"{texts.fingerprint()} {vocabulary.level} {vocabulary.lowercase} {max_length}"
    key = hashlib.sha256("\n".join((about, vocabulary.subwords, *vocabulary.tokens)).encode()).hexdigest()[:16]
    names = [cache / f"{key}.{what}" for what in ("ids", "offsets", "kept")]
    if not names[-1].exists():
        cache.mkdir(parents=True, exist_ok=True)
        parts = [unfinished(name) for name in names]
        with ExitStack() as stack:
            for part in parts:
                stack.callback(part.unlink, missing_ok=True)
            files = [stack.enter_context(part.open("wb")) for part in parts]
            end = np.zeros(1, np.int64)
            end.tofile(files[1])
            for flat, lengths, positions in _pieces(texts, vocabulary, max_length):
                offsets = end[-1] + np.cumsum(lengths, dtype=np.int64)
                for file, values in zip(files, (flat, offsets, positions), strict=True):
                    values.tofile(file)
                end = offsets if len(offsets) else end
            for file, part, whole in zip(files, parts, names, strict=True):
                file.close()
                part.replace(whole)  # the last stands for all
    if names[0].stat().st_size % 4 or any(name.stat().st_size % 8 for name in names[1:]):  # cut short
        names[-1].unlink()
        return _cached(texts, vocabulary, max_length, cache)
    ids, offsets, kept = (_mapped(name, kind) for name, kind in zip(names, (np.int32, np.int64, np.int64), strict=True))
    return ids, offsets, kept


def _mapped(path: Path, kind: type) -> np.ndarray:
    """Map a file of numbers."""
    return np.memmap(path, kind, "r") if path.stat().st_size else np.zeros(0, kind)
