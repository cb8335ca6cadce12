"""Products: on a CPU by the faster library; of a matrix that is laid out once; in a narrow type with sums in a full one."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

ALL = slice(None)
BLOCK = 2**22
"""Entries of a product that are held at a time where it is added to a sum, or converted."""


@cache
def onednn(dtype: torch.dtype) -> bool:
    """Return whether oneDNN is there to multiply in a type, on this CPU."""
    ops = torch.ops.mkldnn
    if not (torch.backends.mkldnn.is_available() and hasattr(ops, "_reorder_linear_weight")):
        return False
    narrow = hasattr(ops, "_is_mkldnn_bf16_supported") and ops._is_mkldnn_bf16_supported()
    return dtype == torch.float32 or (dtype == torch.bfloat16 and narrow)


def linear(rows: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return rows @ matrix.T + bias, for rows `[n, k]` and a matrix `[m, k]` of one type; by oneDNN there is no gradient."""
    if rows.device.type == "cpu" and onednn(rows.dtype):
        return torch.ops.mkldnn._linear_pointwise(rows, dense(matrix), bias, "none", [], "")
    return functional.linear(rows, matrix, bias)


def dense(matrix: Tensor) -> Tensor:
    """Return a matrix without gaps between its rows (or columns, if it is transposed): oneDNN takes a thousand times longer."""
    return matrix.T.contiguous().T if matrix.stride(0) == 1 else matrix.contiguous()


def times(left: Tensor, right: Tensor) -> Tensor:
    """Return left @ right, without a gradient; in fp32 on a CPU by oneDNN, which took 0.4 to 1 of the time of torch's own.

    oneDNN wants the left one row by row. Where it stands column by column, the transposed product is formed.
    """
    if left.device.type != "cpu" or left.dtype != torch.float32 or not onednn(left.dtype):
        return left @ right
    if left.T.is_contiguous() and not left.is_contiguous():
        return linear(right.T.contiguous(), left).T
    return linear(left.contiguous(), right.T)


def product(left: Tensor, right: Tensor, dtype: torch.dtype) -> Tensor:
    """Return left @ right in a type, formed a block at a time where it is not their own."""
    if left.dtype == dtype:
        return times(left, right)
    total = left.new_empty(len(left), right.shape[1], dtype=dtype)
    for block in _blocks(total):
        total[block] = left[block] @ right
    return total


def add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add left @ right to a sum, which is kept in its own type, a block at a time."""
    for block in _blocks(total):
        total[block].add_(times(left[block], right))  # `+=` would copy the sum onto itself


def _blocks(total: Tensor) -> Iterator[slice]:
    rows = max(1, BLOCK // total.shape[1])
    return (slice(start, start + rows) for start in range(0, len(total), rows))


class Layout:
    """A matrix M `[m, k]` laid out for many products: from rows `[n, k]` of its type to rows M^T + bias `[n, m]`, no gradient.

    Args:
        matrix: which is not to change as long as this is used.
        rows: how many there will be, about.
    """

    def __init__(self, matrix: Tensor, rows: int) -> None:
        self._packs = matrix.device.type == "cpu" and onednn(matrix.dtype)
        self._matrix = torch.ops.mkldnn._reorder_linear_weight(matrix.contiguous(), rows) if self._packs else matrix

    def __call__(self, rows: Tensor, bias: Tensor | None = None) -> Tensor:
        """Multiply rows."""
        if self._packs:
            return torch.ops.mkldnn._linear_pointwise(rows, self._matrix, bias, "none", [], "")
        return functional.linear(rows, self._matrix, bias)


@dataclass(frozen=True)
class _Held:
    """Weights that do not change, and their layouts.

    Attributes:
        weights: by their identity, which none else has as long as they are here; None: all there are.
        layouts: by the identity of a weight, a type, its columns (first, end, 1), and whether it is transposed: the weight, and
            its layout.
    """

    weights: dict[int, Tensor] | None
    layouts: dict[tuple[Any, ...], tuple[Tensor, Layout]] = field(default_factory=dict)


_HELD: ContextVar[_Held | None] = ContextVar("held", default=None)


@contextmanager
def holding(weights: Iterable[Tensor] | None = None) -> Iterator[None]:
    """Within it these weights do not change (by default, none does): each is laid out once, or was before this began."""
    outer, held = _HELD.get() or _Held({}), None
    if weights is not None and outer.weights is not None:
        held = outer.weights | {id(weight): weight for weight in weights}
    token = _HELD.set(_Held(held, dict(outer.layouts)))
    try:
        yield
    finally:
        _HELD.reset(token)


def is_held(weight: Tensor) -> bool:
    """Return whether a weight does not change now (`holding`), so that its layout is kept."""
    held = _HELD.get()
    return held is not None and (held.weights is None or id(weight) in held.weights)


def layout(weight: Tensor, dtype: torch.dtype, rows: int, *, columns: slice = ALL, transposed: bool = False) -> Layout:
    """Return a weight laid out for many products; where it is held (`holding`), that made before.

    Args:
        weight: `[m, k]`.
        dtype: to multiply in.
        rows: how many there will be, about.
        columns: of the weight, by default all.
        transposed: whether its transpose is wanted.
    """
    held, key = _HELD.get(), (id(weight), dtype, columns.indices(weight.shape[1]), transposed)
    if held is None or not is_held(weight):
        return _lay_out(weight, dtype, rows, columns, transposed)
    if key not in held.layouts:
        held.layouts[key] = weight, _lay_out(weight, dtype, rows, columns, transposed)
    return held.layouts[key][1]


def _lay_out(weight: Tensor, dtype: torch.dtype, rows: int, columns: slice, transposed: bool) -> Layout:
    low = weight.detach()[:, columns].to(dtype)
    return Layout(low.T if transposed else low, rows)
