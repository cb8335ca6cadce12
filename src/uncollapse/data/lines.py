"""The lines of a file that is too large to be held: read anew whenever they are asked for."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from itertools import compress, islice
from pathlib import Path
from typing import overload

import numpy as np

Read = Callable[[Path], Iterator[tuple[int, str]]]
"""From a file to the number and text of its lines."""


class Lines(Sequence[str]):
    """Lines of a file, or some of them; only a bit a line is in memory.

    Args:
        path: the file.
        read: how its lines are read.
        chosen: which of the lines that `read` gives, `[lines]`, or None for all, which are counted now.
    """

    def __init__(self, path: Path, read: Read, chosen: np.ndarray | None = None) -> None:
        self.path, self.read = path, read
        self.chosen = np.ones(sum(1 for _ in read(path)), dtype=bool) if chosen is None else chosen
        self._number = int(self.chosen.sum())

    def __len__(self) -> int:
        """Return how many there are."""
        return self._number

    def __iter__(self) -> Iterator[str]:
        """Read the file from the beginning."""
        return compress((text for _, text in self.read(self.path)), self.chosen)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        """Read the file as far as what is asked for."""
        places = range(len(self))[index]
        if isinstance(places, int):
            return next(islice(self, places, None))
        wanted = set(places)
        lines = {place: line for place, line in enumerate(self) if place in wanted}
        return [lines[place] for place in places]

    def take(self, indices: np.ndarray) -> "Lines":
        """Return some of these lines, in the order of the file."""
        chosen = np.zeros_like(self.chosen)
        chosen[np.flatnonzero(self.chosen)[indices]] = True
        return Lines(self.path, self.read, chosen)

    def fingerprint(self) -> str:
        """Return what tells these lines from others: the file, its size and time, and which they are."""
        about = self.path.stat()
        name = f"{self.path.resolve()} {about.st_size} {about.st_mtime_ns}".encode()
        return hashlib.sha256(name + np.packbits(self.chosen).tobytes()).hexdigest()
