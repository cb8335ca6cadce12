"""Arrays of numbers in MATLAB files of level 5 (MATLAB 5 to 7.2). scipy's reader, written in C, crashes on damaged files.

Source: The MathWorks, MAT-File Format, chapter 1, "Level 5 MAT-File Format".
"""

import struct
import zlib
from collections.abc import Iterator
from itertools import islice
from math import prod
from pathlib import Path

import numpy as np

TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""How numbers are stored."""
CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
"""What they are in MATLAB, which stores them in as few bytes as they need."""
MATRIX, COMPRESSED, COMPLEX = 14, 15, 0x800
ORDERS = {b"IM": "<", b"MI": ">"}
"""Of bytes: the mark of the format, as the writer's machine wrote it."""
MOST = 1000
"""Variables of a file."""
HEADER = 2**16
"""Bytes of a variable that are enough for its name and shape."""


def claimed(path: Path) -> int:
    """Return how many bytes the variables of a file take at most, as their shapes say; raises as `read_matlab` does."""
    return sum(_size(*variable) for variable in _variables(path))


def read_matlab(path: Path) -> dict[str, np.ndarray | None]:
    """Return the arrays of a file by name, of the shapes that they have in MATLAB; None for what has no real numbers.

    Raises:
        ValueError, KeyError, struct.error, zlib.error: another format, or a damaged file.
    """
    return dict(
        _array(_opened(kind, data, order, HEADER + _size(kind, data, order)), order)
        for kind, data, order in _variables(path)
    )


def _variables(path: Path) -> Iterator[tuple[int, memoryview, str]]:
    """Yield the type of each variable (compressed or not), its bytes, and their order."""
    content = memoryview(path.read_bytes())
    order = ORDERS[bytes(content[126:128])]
    for count, (kind, data) in enumerate(_elements(content[128:], order)):
        if kind not in (MATRIX, COMPRESSED) or count == MOST:
            raise ValueError(f"expected at most {MOST:,} variables and nothing else")
        yield kind, data, order


def _size(kind: int, data: memoryview, order: str) -> int:
    """Return how many bytes a variable takes at most, as its shape says; no more than its header is decompressed."""
    return 8 * prod(_header(_opened(kind, data, order, HEADER), order)[1])


def _opened(kind: int, data: memoryview, order: str, most: int) -> memoryview:
    """Return the bytes of a variable; of a compressed one at most so many."""
    if kind != COMPRESSED:
        return data
    inflated = memoryview(zlib.decompressobj().decompress(data, most))
    if struct.unpack_from(order + "I", inflated) != (MATRIX,):
        raise ValueError("what is compressed is no variable")
    return inflated[8:]


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Yield the type and the bytes of each element: a tag of two numbers, and what follows up to a multiple of eight bytes."""
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from(order + "II", data, at)
        begin, end = at + 8, at + 8 + size
        at = end if kind == COMPRESSED else end + -size % 8
        if kind >> 16:  # at most four bytes, which stand in the tag itself
            kind, size = kind & 0xFFFF, kind >> 16
            begin, end, at = begin - 4, begin - 4 + size, begin
        if end > min(len(data), at):
            raise ValueError("an element is cut short")
        yield kind, data[begin:end]


def _header(data: memoryview, order: str) -> tuple[str, list[int], str]:
    """Return the name and shape of a variable, and the type of its numbers; empty where they are not real."""
    flags, dimensions, name = (part for _, part in islice(_elements(data, order), 3))
    (word,) = struct.unpack_from(order + "I", flags)
    shape = np.frombuffer(dimensions, order + "i4").tolist()
    if min(shape) < 0:
        raise ValueError(f"an array of shape {shape}")
    return bytes(name).decode("ascii", "replace"), shape, "" if word & COMPLEX else CLASSES.get(word & 0xFF, "")


def _array(data: memoryview, order: str) -> tuple[str, np.ndarray | None]:
    """Return a variable by name; None where it has no real numbers."""
    name, shape, real = _header(data, order)
    if not real:
        return name, None
    kind, numbers = next(islice(_elements(data, order), 3, None))
    return name, np.frombuffer(numbers, order + TYPES[kind]).astype(real).reshape(shape, order="F")
