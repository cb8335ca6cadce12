"""Every operator of torch that is not public, each with its public fallback.

oneDNN multiplies matrices of fp32 faster than torch's own product on the processors that were measured, and keeps a matrix in a
layout of its own for many products (docs/performance.md). Where the operators are absent (another platform, another version of
torch) the public ones do the same.
"""

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional


@cache
def onednn(dtype: torch.dtype) -> bool:
    """Return whether oneDNN multiplies matrices of a type on this CPU, and its operators are there."""
    ops = torch.ops.mkldnn
    names = ("_reorder_linear_weight", "_linear_pointwise", "_is_mkldnn_bf16_supported")
    if not torch.backends.mkldnn.is_available() or not all(hasattr(ops, name) for name in names):
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and ops._is_mkldnn_bf16_supported())


def linear(rows: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return rows @ matrix.T + bias for rows `[n, k]` and a matrix `[m, k]` of one type; on a CPU there is no gradient."""
    if rows.device.type == "cpu" and onednn(rows.dtype):
        return torch.ops.mkldnn._linear_pointwise(rows, dense(matrix), bias, "none", [], "")
    return functional.linear(rows, matrix, bias)


def dense(matrix: Tensor) -> Tensor:
    """Return a matrix without gaps between its rows (or columns, if it is transposed): oneDNN takes a thousand times longer."""
    return matrix.T.contiguous().T if matrix.stride(0) == 1 else matrix.contiguous()


class Layout:
    """A matrix M `[m, k]` in oneDNN's own layout: maps rows `[n, k]` of its type to rows M^T + bias `[n, m]`, no gradient.

    Args:
        matrix: it must not change while the layout is used.
        rows: the expected number of rows n.
    """

    def __init__(self, matrix: Tensor, rows: int) -> None:
        self._packed = matrix.device.type == "cpu" and onednn(matrix.dtype)
        self._matrix = torch.ops.mkldnn._reorder_linear_weight(matrix.contiguous(), rows) if self._packed else matrix

    def __call__(self, rows: Tensor, bias: Tensor | None = None) -> Tensor:
        """Multiply rows."""
        if self._packed:
            return torch.ops.mkldnn._linear_pointwise(rows, self._matrix, bias, "none", [], "")
        return functional.linear(rows, self._matrix, bias)


def standard_gamma(concentration: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw from Gamma(concentration, 1), of the same shape, by a generator or by torch's own random state."""
    if hasattr(torch, "_standard_gamma"):
        return torch._standard_gamma(concentration, generator=generator)
    gamma = torch.distributions.Gamma(concentration, torch.ones_like(concentration))
    if generator is None:
        return gamma.sample()
    with torch.random.fork_rng():
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        return gamma.sample()
