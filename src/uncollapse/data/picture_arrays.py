"""Pictures in files of arrays (.npz, .npy, .mat, .pt): from a file to intensities."""

import zipfile
from collections.abc import Mapping
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch

from uncollapse.data import matlab
from uncollapse.data.splits import PARTS
from uncollapse.errors import UserError

CHARDATA = {"data": 24345, "testdata": 8070}
"""The published Omniglot file (Burda et al. 2016): arrays of 28 x 28 pixels by pictures, and how many pictures each holds."""
MOST_SIDE = 512
MOST_PIXELS = 2**28
"""Of all pictures of a part together: they are held in memory, as up to 8 bytes a pixel each while they are read."""


def validate_count(count: int, side: int, source: str) -> None:
    """Raise UserError where pictures are too large, or too many, to be held."""
    if side > MOST_SIDE:
        raise UserError(f"data.side: expected at most {MOST_SIDE} pixels, got {side}")
    if count * side**2 > MOST_PIXELS:
        raise UserError(
            f"{source}: expected at most {MOST_PIXELS // side**2:,} pictures of data.side {side}, which are held in memory, "
            f"got {count:,}; take fewer"
        )


def read_arrays(path: Path, side: int) -> dict[str, np.ndarray]:
    """Read the arrays of a file by their names, as intensities; see `_intensities`."""
    try:
        size, most = _claimed(path), 8 * MOST_PIXELS
        arrays = _loaded(path) if size <= most else {}
    except Exception as error:  # whatever a damaged file makes its reader raise
        raise UserError(f"{path}: cannot be read as {path.suffix} ({type(error).__name__})") from None
    if size > most:
        raise UserError(
            f"{path}: expected at most {most:,} bytes of arrays, which are held in memory, got {size:,}; take fewer pictures"
        )
    if not arrays:
        raise UserError(f"{path}: expected arrays of pictures, got none")
    # what is expanded takes no room in the file
    sizes = [value.size for value in arrays.values() if isinstance(value, np.ndarray)]
    if len(sizes) > 1 and sum(sizes) > MOST_PIXELS:
        raise UserError(f"{path}: expected at most {MOST_PIXELS:,} pixels in all, got more; take fewer pictures")
    return {key: _intensities(value, side, f"{path}, {key}") for key, value in arrays.items()}


def _claimed(path: Path) -> int:
    """Return how many bytes the arrays of a file take, as its directory says; of an .npy, which is mapped, its size."""
    if path.suffix == ".mat" and path.stat().st_size <= 8 * MOST_PIXELS:
        return matlab.claimed(path)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as opened:
            return sum(entry.file_size for entry in opened.infolist())
    return path.stat().st_size


def _loaded(path: Path) -> dict[str, Any]:
    if path.suffix == ".pt":
        tensors = torch.load(path, map_location="cpu", weights_only=True)
        if isinstance(tensors, list | tuple):
            tensors = dict(zip(PARTS if len(tensors) == len(PARTS) else range(len(tensors)), tensors, strict=True))
        items = tensors if isinstance(tensors, Mapping) else {"": tensors}
        return {str(key): value.numpy() for key, value in items.items() if isinstance(value, torch.Tensor)}
    if path.suffix == ".mat":
        arrays: dict[str, Any] = matlab.read_matlab(path)
        return {key: upright(arrays[key]) for key in CHARDATA} if set(CHARDATA) <= set(arrays) else arrays
    loaded = np.load(path, mmap_mode="r", allow_pickle=False)
    return dict(loaded) if isinstance(loaded, np.lib.npyio.NpzFile) else {"": loaded}


def upright(columns: np.ndarray) -> np.ndarray:
    """Return the pictures `[N, side, side]` of MATLAB's columns, `[side * side, N]`, each of which runs down a picture first."""
    side = isqrt(len(columns))
    return columns.T.reshape(-1, side, side).transpose(0, 2, 1)


def _intensities(values: np.ndarray, side: int, source: str) -> np.ndarray:
    """Return intensities `[N, side, side]` of an array of pictures.

    Raises:
        UserError: no numbers, another shape, too many pictures, or values that are neither in [0, 1] nor bytes.
    """
    if not isinstance(values, np.ndarray) or not values.ndim or values.dtype.kind not in "buif":
        raise UserError(f"{source}: expected pictures of shape [N, {side}, {side}], got no array of numbers")
    if not len(values):
        raise UserError(f"{source}: expected pictures, got none")
    if values.ndim == 4 and 1 in (values.shape[1], values.shape[3]):
        values = values.reshape(len(values), *[n for n in values.shape[1:] if n != 1])
    if values.ndim == 2 and isqrt(values.shape[1]) ** 2 == values.shape[1]:
        values = values.reshape(len(values), *[isqrt(values.shape[1])] * 2)
    if values.shape[1:] != (side, side):
        raise UserError(
            f"{source}: expected pictures of shape [N, {side}, {side}] (data.side), got {list(values.shape)}"
        )
    validate_count(len(values), side, source)
    scaled = values / 255 if values.dtype == np.uint8 and values.max(initial=0) > 1 else values.astype(np.float64)
    if not np.isfinite(scaled).all() or scaled.min(initial=0) < 0 or scaled.max(initial=0) > 1:
        raise UserError(
            f"{source}: expected intensities from 0 to 1, or bytes, got {values.min():g} to {values.max():g}"
        )
    return scaled.astype(np.float32)
