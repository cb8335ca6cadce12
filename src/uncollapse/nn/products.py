"""Products in a narrow type, sums in a full one."""

from torch import Tensor

BLOCK = 2**22
"""Entries of a product that are held in the narrow type at a time."""


def add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add left @ right to a sum, which is kept in its own type; torch multiplies bf16 with fp32 sums, rounded at the end."""
    if left.dtype == total.dtype:
        total.addmm_(left, right)
        return
    rows = max(1, BLOCK // total.shape[1])
    for start in range(0, len(total), rows):
        block = slice(start, start + rows)
        total[block] += left[block] @ right
