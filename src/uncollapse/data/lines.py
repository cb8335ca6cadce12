"""The lines of files that are too large to be held: read anew whenever they are asked for."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import compress, islice
from pathlib import Path
from typing import overload

import numpy as np

Read = Callable[[Path], Iterator[tuple[int, str]]]
"""From a file to the number and text of its lines."""


class Lines(Sequence[str]):
    """Lines of files, one after another, or some of them; only a byte a line is in memory.

    Args:
        paths: the files.
        read: how the lines of one are read.
        chosen: which of the lines that `read` gives, `[lines]`, or None for all, which are counted now.
    """

    def __init__(self, paths: Sequence[Path], read: Read, chosen: np.ndarray | None = None) -> None:
        self.paths, self.read = paths, read
        self.chosen = np.ones(sum(1 for path in paths for _ in read(path)), bool) if chosen is None else chosen
        self._number = int(self.chosen.sum())

    def __len__(self) -> int:
        """Return how many there are."""
        return self._number

    def __iter__(self) -> Iterator[str]:
        """Read the files from the beginning."""
        return compress((text for path in self.paths for _, text in self.read(path)), self.chosen)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        """Read the files as far as what is asked for."""
        places = range(len(self))[index]
        if isinstance(places, int):
            return next(islice(self, places, None))
        wanted = set(places)
        lines = {place: line for place, line in enumerate(self) if place in wanted}
        return [lines[place] for place in places]

    def take(self, indices: np.ndarray) -> "Lines":
        """Return some of these lines, in the order of the files."""
        chosen = np.zeros_like(self.chosen)
        chosen[np.flatnonzero(self.chosen)[indices]] = True
        return Lines(self.paths, self.read, chosen)

    def fingerprint(self) -> str:
        """Return what tells these lines from others: the files, their sizes and times, and which they are."""
        return hashlib.sha256(states_of(self.paths).encode() + np.packbits(self.chosen).tobytes()).hexdigest()


def states_of(paths: Sequence[Path]) -> str:
    """Return paths, sizes and times of files, which tell whether they have changed."""
    states = [(path.resolve(), path.stat()) for path in paths]
    return " ".join(f"{path} {state.st_size} {state.st_mtime_ns}" for path, state in states)


def sampled(lines: Iterable[str], count: int, seed: int) -> tuple[int, dict[int, str]]:
    """Return how many lines there are, and some of them by their position, drawn uniformly in one pass.

    Source: Li 1994, Reservoir-Sampling Algorithms of Time Complexity O(n (1 + log(N / n))), algorithm L.
    """
    random = np.random.default_rng(seed)
    held: list[tuple[int, str]] = []
    weight, number = random.random() ** (1 / count), 0
    following = count - 1 + _gap(random, weight)
    for number, line in enumerate(lines, 1):
        if len(held) < count:
            held.append((number - 1, line))
        elif number - 1 == following:
            held[random.integers(count)] = (number - 1, line)
            weight *= random.random() ** (1 / count)
            following += _gap(random, weight)
    return number, dict(sorted(held))


def _gap(random: np.random.Generator, weight: float) -> int:
    """Return the distance to the next line that is drawn."""
    return int(np.log(random.random()) // np.log1p(-weight)) + 1
