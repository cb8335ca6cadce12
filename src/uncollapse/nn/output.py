"""The output layer: -log p(token) without ever holding the logits of a whole batch.

For one hidden state h with target y, logits a = W h + b and p = softmax(a):

    nll = logsumexp(a) - a_y,    d nll / d a = p - onehot(y).

The rows are taken in chunks. Where a gradient will be wanted, it is formed at once from the chunk's logits, for a unit
gradient of every nll; the backward pass only scales it. If the rows' gradients differ (a weighted objective), the weight's
share is formed anew, chunk by chunk.
"""

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
        wanted_hidden, wanted_weight, wanted_bias, _ = ctx.needs_input_grad
        full = torch.promote_types(hidden.dtype, weight.dtype)
        nll = hidden.new_empty(len(hidden), dtype=full)
        unit_hidden = torch.empty_like(hidden) if wanted_hidden else None
        unit_weight = torch.zeros_like(weight) if wanted_weight else None
        unit_bias = torch.zeros_like(bias) if bias is not None and wanted_bias else None
        for rows in _chunks(len(hidden), len(weight)):
            logits = torch.nn.functional.linear(hidden[rows], weight, bias).to(full)
            picked = logits.gather(1, targets[rows, None]).squeeze(1)
            normaliser = logits.logsumexp(1)
            nll[rows] = normaliser - picked
            if wanted_hidden or wanted_weight or wanted_bias:
                slope = _slope(logits, normaliser, targets[rows])
                if unit_hidden is not None:
                    unit_hidden[rows] = (slope @ weight).to(hidden.dtype)
                if unit_weight is not None:
                    unit_weight += slope.T @ hidden[rows]
                if unit_bias is not None:
                    unit_bias += slope.sum(0)
        ctx.save_for_backward(hidden, weight, bias, targets, unit_hidden, unit_weight, unit_bias)
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
        for rows in _chunks(len(hidden), len(weight)):
            logits = torch.nn.functional.linear(hidden[rows].to(weight.dtype), weight, bias)
            slope = _slope(logits, logits.logsumexp(1), targets[rows]) * slope_nll[rows, None]
            if grad_weight is not None:
                grad_weight += slope.T @ hidden[rows].to(weight.dtype)
            if grad_bias is not None:
                grad_bias += slope.sum(0)
        return grad_hidden, grad_weight, grad_bias, None


def _chunks(rows: int, columns: int) -> list[slice]:
    size = max(1, CHUNK_ELEMENTS // columns)
    return [slice(start, start + size) for start in range(0, rows, size)]


def _slope(logits: Tensor, normaliser: Tensor, targets: Tensor) -> Tensor:
    """Return softmax(logits) - onehot(targets), in place of the logits."""
    slope = logits.sub_(normaliser[:, None]).exp_()
    return slope.scatter_add_(1, targets[:, None], slope.new_full((len(slope), 1), -1.0))
