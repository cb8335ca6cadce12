"""MATLAB files: what scipy reads of whole ones, and one error for others."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from scipy.io import loadmat, savemat
from scipy.sparse import csc_array

from uncollapse.data.matlab import MOST, claimed, read_matlab

TYPES = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64, np.float32, np.float64, bool]
SHAPES = [(), (1,), (3,), (2, 3), (2, 3, 4), (5, 1, 2, 2), (0, 4), (1, 1)]
DAMAGED = (ValueError, KeyError, struct.error, zlib.error)
random = np.random.default_rng(0)


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_are_what_scipy_reads(tmp_path, compressed):
    every = {
        f"{'x' * i}{np.dtype(kind).name}_{i}": (random.random(shape) * 100).astype(kind)
        for kind in TYPES
        for i, shape in enumerate(SHAPES)
    }
    savemat(tmp_path / "a.mat", every, do_compression=compressed)
    read, expected = read_matlab(tmp_path / "a.mat"), loadmat(tmp_path / "a.mat")
    assert list(read) == list(every)
    for name, array in read.items():
        assert array.dtype == expected[name].dtype and array.shape == expected[name].shape
        np.testing.assert_array_equal(array, expected[name])
    assert claimed(tmp_path / "a.mat") == sum(8 * array.size for array in every.values())


@pytest.mark.parametrize("compressed", [False, True])
def test_what_has_no_real_numbers_is_none(tmp_path, compressed):
    cell = np.empty((2, 2), object)
    cell[:] = 1.0
    others = {"a": "words", "b": {"c": 1}, "cells": cell, "complex": np.ones(3) * 1j, "sparse": csc_array(np.eye(3))}
    savemat(tmp_path / "a.mat", {**others, "last": np.eye(2)}, do_compression=compressed)
    read = read_matlab(tmp_path / "a.mat")
    np.testing.assert_array_equal(read.pop("last"), np.eye(2))
    assert read == dict.fromkeys(others)


def element(order, kind, data, small=False):
    if small:
        return struct.pack(order + "I", len(data) << 16 | kind) + data.ljust(4, b"\0")
    return struct.pack(order + "II", kind, len(data)) + data + bytes(-len(data) % 8 if kind != 15 else 0)


def file(order, *elements):
    mark = {"<": b"IM", ">": b"MI"}[order]
    return b"MATLAB".ljust(124) + struct.pack(order + "H", 0x100) + mark + b"".join(elements)


def variable(order, *, flags=6, shape=(2, 2), name=b"abc", kind=2, numbers=bytes([1, 2, 3, 200])):
    parts = element(order, 6, struct.pack(order + "II", flags, 0)) + element(
        order, 5, struct.pack(f"{order}{len(shape)}i", *shape)
    )
    return element(
        order,
        14,
        parts + element(order, 1, name, small=len(name) <= 4) + element(order, kind, numbers, small=len(numbers) <= 4),
    )


@pytest.mark.parametrize("order", ["<", ">"])
def test_doubles_that_matlab_stores_as_bytes_in_either_order(tmp_path, order):
    (tmp_path / "a.mat").write_bytes(file(order, variable(order)))
    array = read_matlab(tmp_path / "a.mat")["abc"]
    np.testing.assert_array_equal(array, [[1.0, 3.0], [2.0, 200.0]])
    assert array.dtype == np.float64
    np.testing.assert_array_equal(array, loadmat(io.BytesIO(file(order, variable(order))))["abc"])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        bytes(128),
        file("<", variable("<"))[:-3],
        file("<", variable("<", shape=(2, 3))),
        file("<", variable("<", shape=(-2, -2))),
        file("<", variable("<", shape=())),
        file("<", variable("<", shape=(2**31 - 1,) * 9)),
        file("<", variable("<", kind=99)),
        file("<", element("<", 2, b"numbers")),
        file("<", element("<", 15, b"no zlib")),
        file("<", element("<", 15, zlib.compress(element("<", 2, b"numbers")))),
        file("<", element("<", 14, b"")),
        file("<", struct.pack("<II", 9 << 16 | 14, 0)),
        file("<", *[variable("<")] * (MOST + 1)),
    ],
)
def test_what_is_damaged_is_an_error(tmp_path, content):
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(DAMAGED):
        read_matlab(tmp_path / "a.mat")


def test_what_is_compressed_is_read_no_further_than_its_shape_needs(tmp_path):
    inner = variable("<", numbers=bytes(2**26))
    (tmp_path / "a.mat").write_bytes(file("<", element("<", 15, zlib.compress(inner))))
    assert claimed(tmp_path / "a.mat") == 32
    with pytest.raises(DAMAGED):
        read_matlab(tmp_path / "a.mat")


def test_a_shape_that_claims_much_is_weighed_before_anything_is_decompressed(tmp_path):
    inner = variable("<", shape=(2**15, 2**15), numbers=bytes(2**26))
    (tmp_path / "a.mat").write_bytes(file("<", element("<", 15, zlib.compress(inner))))
    tracemalloc.start()
    assert claimed(tmp_path / "a.mat") == 8 * 2**30
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2**21
