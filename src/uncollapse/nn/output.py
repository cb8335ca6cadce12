"""The output layer: -log p(token) without ever holding the logits of a whole batch.

For one hidden state h with target y, logits a = W h + b, e = exp(a - m) and S = sum_v e_v:

    nll = m + log S - a_y,    d nll / d h = W^T e / S - W_y,    d nll / d W = e h^T / S - onehot(y) h^T.

The rows are taken in chunks; of the logits, only exponentials are ever written, and nothing is divided: 1 / S is a factor of the
[rows, H] side of each product. Where a gradient will be wanted, it is formed at once from the chunk's exponentials, for a unit
gradient of every nll; the backward pass only scales it. If the rows' gradients differ (a weighted objective), the weight's
share is formed anew, chunk by chunk.

Under bf16 autocast the products are in bf16, but the target's own logit is formed in full precision and takes its place in S.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from uncollapse.nn import kernels

CHUNK_ELEMENTS = 2**22
"""Logits held at a time: 16 MiB in fp32. What a core works on then stays in its caches."""

GRADIENT_CHUNK_ELEMENTS = 2**24
"""The same where the weight's gradient is formed: each chunk writes that gradient once, which costs more than the caches give."""

SAFE = 60.0
"""Logits up to this size need no shift: neither exp(60) nor exp(-60), nor their sum over a vocabulary, leaves fp32."""


def token_nll(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    """Return -log softmax(W h + b)[target] for every row, in nats.

    Args:
        hidden: `[N, H]`.
        weight: `[V, H]`.
        bias: `[V]` or None.
        targets: `[N]`, ids below V.

    Returns:
        `[N]`, in the type of `weight`.
    """
    if kernels.plain("output"):
        return functional.cross_entropy(
            functional.linear(hidden, weight, bias).to(weight.dtype), targets, reduction="none"
        )
    return _TokenNLL.apply(hidden, weight, bias, targets)


@dataclass(frozen=True)
class _Chunk:
    """Some rows: where they are, their states, exponentials `[n, V]`, sums `[n, 1]` and nll `[n]`."""

    rows: slice
    hidden: Tensor
    exponentials: Tensor
    total: Tensor
    nll: Tensor


class _TokenNLL(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
        narrow = _narrow(hidden)
        low_weight = weight.to(narrow)
        wanted_hidden, wanted_weight, wanted_bias, _ = ctx.needs_input_grad
        nll = hidden.new_empty(len(hidden), dtype=weight.dtype)
        unit_hidden = torch.empty_like(hidden, dtype=narrow) if wanted_hidden else None
        unit_weight = torch.zeros_like(weight) if wanted_weight else None
        unit_bias = torch.zeros_like(bias) if bias is not None and wanted_bias else None
        for chunk in _chunks(hidden, weight, low_weight, bias, targets, wanted_weight):
            nll[chunk.rows] = chunk.nll
            if unit_hidden is not None:
                torch.mm(chunk.exponentials, low_weight, out=unit_hidden[chunk.rows])
                unit_hidden[chunk.rows].div_(chunk.total).sub_(low_weight[targets[chunk.rows]])
            _add_gradients(unit_weight, unit_bias, chunk, targets[chunk.rows], 1 / chunk.total)
        ctx.save_for_backward(hidden, weight, bias, targets, unit_hidden)
        ctx.units, ctx.narrow = (unit_weight, unit_bias), narrow
        return nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets, unit_hidden = ctx.saved_tensors
        grad_hidden = None if unit_hidden is None else (unit_hidden * slope[:, None]).to(hidden.dtype)
        _, wanted_weight, wanted_bias, _ = ctx.needs_input_grad
        if not (wanted_weight or wanted_bias):
            return grad_hidden, None, None, None
        units, ctx.units = ctx.units, None
        if units is not None and len(slope) and bool((slope == slope[0]).all()):
            # the units are used up: a second backward pass forms them anew
            return grad_hidden, *(None if unit is None else unit.mul_(slope[0]) for unit in units), None
        grad_weight = torch.zeros_like(weight) if wanted_weight else None
        grad_bias = torch.zeros_like(bias) if wanted_bias else None
        for chunk in _chunks(hidden, weight, weight.to(ctx.narrow), bias, targets, True):
            _add_gradients(grad_weight, grad_bias, chunk, targets[chunk.rows], slope[chunk.rows, None] / chunk.total)
        return grad_hidden, grad_weight, grad_bias, None


def _narrow(hidden: Tensor) -> torch.dtype:
    """Return the type to multiply in: autocast's where it is on, else that of the hidden states."""
    kind = hidden.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype


def _chunks(
    hidden: Tensor, weight: Tensor, low_weight: Tensor, bias: Tensor | None, targets: Tensor, large: bool
) -> Iterator[_Chunk]:
    """Yield a few rows at a time; their exponentials are in one buffer that is written again and again."""
    if not len(hidden):
        return
    size = max(1, min(len(hidden), (GRADIENT_CHUNK_ELEMENTS if large else CHUNK_ELEMENTS) // len(weight)))
    buffer = low_weight.new_empty(size, len(weight))
    safe = bool(_bound(hidden, weight, bias) < SAFE)
    for start in range(0, len(hidden), size):
        rows = slice(start, min(start + size, len(hidden)))
        chunk = hidden[rows]
        low = chunk.to(low_weight.dtype)
        logits = torch.mm(low, low_weight.T, out=buffer[: len(chunk)])
        target = targets[rows, None]
        own = (chunk.to(weight.dtype) * weight[target[:, 0]]).sum(1, keepdim=True)
        if bias is not None:
            logits.add_(bias)
            own += bias[target]
        if not safe:
            shift = logits.amax(1, keepdim=True)
            logits.sub_(shift)
            own -= shift
        exponentials = logits.exp_().scatter_(1, target, own.exp().to(logits.dtype))
        total = exponentials.sum(1, keepdim=True, dtype=weight.dtype)
        yield _Chunk(rows, low, exponentials, total, (total.log() - own).squeeze(1))


def _bound(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return a number that no logit exceeds in size: max |h| max |w| + max |b|, by Cauchy and Schwarz."""
    bound = hidden.float().norm(dim=1).max() * weight.norm(dim=1).max()
    return bound if bias is None else bound + bias.abs().max()


def _add_gradients(weight: Tensor | None, bias: Tensor | None, chunk: _Chunk, targets: Tensor, slope: Tensor) -> None:
    """Add a chunk's share of the gradients of weight and bias; slope is that of each nll, over S."""
    if weight is not None:
        scaled = chunk.hidden * slope.to(chunk.hidden.dtype)
        _add_product(weight, chunk.exponentials.T, scaled)
        weight.index_add_(0, targets, (chunk.hidden * (slope * chunk.total)).to(weight.dtype), alpha=-1)
    if bias is not None:
        bias += (slope.T.to(chunk.hidden.dtype) @ chunk.exponentials)[0].to(bias.dtype)
        bias.index_add_(0, targets, (slope * chunk.total)[:, 0].to(bias.dtype), alpha=-1)


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add left @ right to a sum that is kept in full precision."""
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right
