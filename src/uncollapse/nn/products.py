"""Matrix products: weights laid out once for many of them, and sums kept in a wider type than their factors.

    packed = pack(decoder)

is a view of a module that shares its weights; each weight is laid out for multiplication when it is first used, once. Whoever
decodes or bounds makes such a view, and drops it before the weights change.
"""

from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from uncollapse.torch_private import Layout, linear, onednn

M = TypeVar("M", bound=nn.Module)

ALL = slice(None)
BLOCK = 2**22
"""Entries of a product that are held at a time where it is added to a sum, or converted."""


class Packs:
    """Layouts of weights that do not change, each made when it is first asked for."""

    def __init__(self) -> None:
        self._layouts: dict[
            tuple[Any, ...], tuple[Tensor, Layout]
        ] = {}  # the weight is kept, so that its id stays its own

    def layout(self, weight: Tensor, dtype: torch.dtype, rows: int, *, columns: slice, transposed: bool) -> Layout:
        """Return the layout of a weight; arguments as in the function `layout`."""
        key = id(weight), dtype, columns.indices(weight.shape[1]), transposed
        if key not in self._layouts:
            self._layouts[key] = weight, layout(None, weight, dtype, rows=rows, columns=columns, transposed=transposed)
        return self._layouts[key][1]


def pack(module: M) -> M:
    """Return a view of a module that shares its weights and keeps their layouts; they must not change while it is used.

    Parts of it that multiply by `layout` have an attribute `packs`.
    """
    view: Any = object.__new__(type(module))
    children = {name: child and pack(child) for name, child in module._modules.items()}
    view.__dict__ = {**module.__dict__, "_modules": children}
    if hasattr(view, "packs"):
        view.packs = view.packs or Packs()  # a view of a view keeps the layouts there are
    return view


def layout(
    packs: Packs | None,
    weight: Tensor,
    dtype: torch.dtype,
    *,
    rows: int,
    columns: slice = ALL,
    transposed: bool = False,
) -> Layout:
    """Return a weight laid out for many products, without a gradient.

    Args:
        packs: keeps the layout; None makes it anew.
        weight: `[m, k]`.
        dtype: to multiply in.
        rows: the expected number of rows.
        columns: of the weight, by default all.
        transposed: lay out the transpose.
    """
    if packs is not None:
        return packs.layout(weight, dtype, rows, columns=columns, transposed=transposed)
    low = weight.detach()[:, columns].to(dtype)
    return Layout(low.T if transposed else low, rows)


def matmul_no_grad(left: Tensor, right: Tensor) -> Tensor:
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
        return matmul_no_grad(left, right)
    total = left.new_empty(len(left), right.shape[1], dtype=dtype)
    for block in _blocks(total):
        total[block] = left[block] @ right
    return total


def add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add left @ right to a sum, which is kept in its own type, a block at a time."""
    for block in _blocks(total):
        total[block].add_(matmul_no_grad(left[block], right))  # `+=` would copy the sum onto itself


def _blocks(total: Tensor) -> Iterator[slice]:
    rows = max(1, BLOCK // total.shape[1])
    return (slice(start, start + rows) for start in range(0, len(total), rows))
