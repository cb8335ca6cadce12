"""Products in a narrow type, sums in a full one."""

from torch import Tensor


def add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add left @ right to a sum, which is kept in its own type; torch multiplies bf16 with fp32 sums, rounded at the end."""
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right
