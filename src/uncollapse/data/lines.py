"""The lines of files that are too large to be held: read anew whenever they are asked for."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
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
        states = [(path.resolve(), path.stat()) for path in self.paths]
        names = " ".join(f"{path} {state.st_size} {state.st_mtime_ns}" for path, state in states)
        return hashlib.sha256(names.encode() + np.packbits(self.chosen).tobytes()).hexdigest()
