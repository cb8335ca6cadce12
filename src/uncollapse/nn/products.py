"""Products in a narrow type, sums in a full one."""

from collections.abc import Iterator

import torch
from torch import Tensor

BLOCK = 2**22
"""Entries of a product that are held in the narrow type at a time."""


def product(left: Tensor, right: Tensor, dtype: torch.dtype) -> Tensor:
    """Return left @ right in a type, formed a block at a time where it is not their own."""
    if left.dtype == dtype:
        return left @ right
    total = left.new_empty(len(left), right.shape[1], dtype=dtype)
    for block in _blocks(total):
        total[block] = left[block] @ right
    return total


def add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add left @ right to a sum, which is kept in its own type; torch multiplies bf16 with fp32 sums, rounded at the end."""
    if left.dtype == total.dtype:
        total.addmm_(left, right)
        return
    for block in _blocks(total):
        total[block] += left[block] @ right


def _blocks(total: Tensor) -> Iterator[slice]:
    rows = max(1, BLOCK // total.shape[1])
    return (slice(start, start + rows) for start in range(0, len(total), rows))
