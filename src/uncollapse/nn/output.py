"""The output layer: -log p(token) without ever holding the logits of a whole batch.

For one hidden state h with target y, logits a = W h + b and p = softmax(a):

    nll = logsumexp(a) - a_y,    d nll / d a = p - onehot(y).

The rows are taken in chunks. Where a gradient will be wanted, it is formed at once from the chunk's logits, for a unit
gradient of every nll; the backward pass only scales it. If the rows' gradients differ (a weighted objective), the weight's
share is formed anew, chunk by chunk.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK_ELEMENTS = 2**22
"""Logits held at a time: 16 MiB in fp32."""


def token_nll(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    """Return -log softmax(W h + b)[target] for every row, in nats.

    Args:
        hidden: `[N, H]`.
        weight: `[V, H]`.
        bias: `[V]` or None.
        targets: `[N]`, ids below V.

    Returns:
        `[N]`, in fp32 under autocast, else in the type of `hidden`.
    """
    return _TokenNLL.apply(hidden, weight, bias, targets)


class _TokenNLL(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
        narrow = _narrow(hidden)
        low_hidden, low_weight = hidden.to(narrow), weight.to(narrow)
        wanted_hidden, wanted_weight, wanted_bias, _ = ctx.needs_input_grad
        nll = hidden.new_empty(len(hidden), dtype=weight.dtype)
        unit_hidden = torch.empty_like(hidden) if wanted_hidden else None
        unit_weight = torch.zeros_like(weight) if wanted_weight else None
        unit_bias = torch.zeros_like(bias) if bias is not None and wanted_bias else None
        for rows, logits in _chunked_logits(low_hidden, low_weight, bias):
            nll[rows], slope = _nll_and_slope(logits, targets[rows], any(ctx.needs_input_grad))
            slope = slope.to(narrow)
            if unit_hidden is not None:
                unit_hidden[rows] = (slope @ low_weight).to(hidden.dtype)
            if unit_weight is not None:
                _add_product(unit_weight, slope.T, low_hidden[rows])
            if unit_bias is not None:
                unit_bias += slope.sum(0)
        ctx.save_for_backward(hidden, weight, bias, targets, unit_hidden, unit_weight, unit_bias)
        ctx.narrow = narrow
        return nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope_nll: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets, unit_hidden, unit_weight, unit_bias = ctx.saved_tensors
        grad_hidden = None if unit_hidden is None else unit_hidden * slope_nll[:, None].to(unit_hidden.dtype)
        if unit_weight is None and unit_bias is None:
            return grad_hidden, None, None, None
        if len(slope_nll) and bool((slope_nll == slope_nll[0]).all()):
            grad_weight = None if unit_weight is None else unit_weight * slope_nll[0]
            grad_bias = None if unit_bias is None else unit_bias * slope_nll[0]
            return grad_hidden, grad_weight, grad_bias, None
        grad_weight = None if unit_weight is None else torch.zeros_like(weight)
        grad_bias = None if unit_bias is None else torch.zeros_like(bias)
        low_hidden, low_weight = hidden.to(ctx.narrow), weight.to(ctx.narrow)
        for rows, logits in _chunked_logits(low_hidden, low_weight, bias):
            _, slope = _nll_and_slope(logits, targets[rows], True)
            slope = (slope * slope_nll[rows, None]).to(ctx.narrow)
            if grad_weight is not None:
                _add_product(grad_weight, slope.T, low_hidden[rows])
            if grad_bias is not None:
                grad_bias += slope.sum(0)
        return grad_hidden, grad_weight, grad_bias, None


def _narrow(hidden: Tensor) -> torch.dtype:
    """Return the type to multiply in: autocast's where it is on, else that of the hidden states."""
    kind = hidden.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype


def _chunked_logits(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Iterator[tuple[slice, Tensor]]:
    """Yield a few rows at a time and their logits, in one buffer that is written again and again."""
    size = max(1, min(len(hidden), CHUNK_ELEMENTS // len(weight)))
    buffer = hidden.new_empty(size, len(weight))
    for start in range(0, len(hidden), size):
        rows = slice(start, min(start + size, len(hidden)))
        logits = torch.mm(hidden[rows], weight.T, out=buffer[: rows.stop - start])
        yield rows, logits if bias is None else logits.add_(bias)


def _nll_and_slope(logits: Tensor, targets: Tensor, wanted: bool) -> tuple[Tensor, Tensor]:
    """Return nll and (where wanted) softmax(logits) - onehot(targets), which overwrite the logits (in fp32 at least)."""
    logits = logits.float() if logits.dtype == torch.bfloat16 else logits
    logits.sub_(logits.amax(1, keepdim=True))
    picked = logits.gather(1, targets[:, None])
    total = logits.exp_().sum(1, keepdim=True)
    nll = (total.log() - picked).squeeze(1)
    if wanted:
        logits.div_(total).scatter_add_(1, targets[:, None], logits.new_full((len(logits), 1), -1.0))
    return nll, logits


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add left @ right to a sum that is kept in full precision."""
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right
