"""The output layer: -log p(token) without ever holding the logits of a whole batch.

For one hidden state h with target y, logits a = W h + b, e = exp(a - m) and S = sum_v e_v, with m = 0 unless S overflows or
vanishes, else max_v a_v:

    nll = m + log S - a_y,    d nll / d h = W^T e / S - W_y,    d nll / d W = e h^T / S - onehot(y) h^T.

The rows are taken in chunks; of the logits, only exponentials are ever written, and nothing of that size is divided: 1 / S is a
factor of the `[rows, H]` side of each product. Where a gradient will be wanted, it is formed at once from the chunk's
exponentials, for a unit gradient of every nll; the backward pass only scales it. If the rows' gradients differ (a weighted
objective), the weight's share is formed anew, chunk by chunk.

On a CPU W is laid out for the multiplication in a packed layer (`products.pack`), and for a pass without gradients.

Under bf16 autocast the products are in bf16, but the target's own logit is formed in full precision and takes its place in S.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from uncollapse.nn.products import Packs, add_product, layout, matmul_no_grad, product
from uncollapse.torch_private import linear

CHUNK_ELEMENTS = 2**22
"""Logits held at a time: 16 MiB in fp32. What a core works on then stays in its caches."""

GRADIENT_CHUNK_ELEMENTS = 2**23
"""The same where gradients are formed: each chunk writes that of the weight once, which costs more than the caches give."""

WORDS = 2048
"""Exponentials that are summed in their own type, which adds in fp32 and rounds at the end; these sums are added in fp32."""

ROWS = 16
"""Products are of a multiple of so many rows where there is a choice: 256 rows take two thirds of the time of 255."""

SAFE = (1e-15, 1e25)
"""Sums of exponentials that need no shift m: what a type with the exponents of fp32 loses is negligible."""


class OutputLayer(nn.Linear):
    """The linear map from states to logits, and the negative log likelihood of tokens.

    Attributes:
        packs: layouts of the weight in a view made by `products.pack`.
        optimised: use our own kernels where they are faster; otherwise torch's operations alone.
    """

    packs: Packs | None = None
    optimised = True

    def forward(self, hidden: Tensor) -> Tensor:
        """Return W h + b for rows `[N, H]`, `[N, V]`, in the type of the rows."""
        bias = None if self.bias is None else self.bias.to(hidden.dtype)
        if not self.optimised or torch.is_grad_enabled():
            return nn.functional.linear(hidden, self.weight.to(hidden.dtype), bias)
        if self.packs is None:
            return linear(hidden, self.weight.to(hidden.dtype), bias)
        return layout(self.packs, self.weight, hidden.dtype, rows=len(hidden))(hidden, bias)

    def nll(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Return -log softmax(W h + b)[target] for every row `[N, H]` and its target `[N]`, `[N]`, in nats."""
        weight, bias = self.weight, self.bias
        if self.optimised:
            return token_nll(hidden, weight, bias, targets=targets, packs=self.packs)
        columns = (weight @ hidden.T).to(weight.dtype)
        columns = columns if bias is None else columns + bias[:, None]
        return columns.logsumexp(0) - columns.gather(0, targets[None])[0]


def token_nll(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, *, targets: Tensor, packs: Packs | None = None
) -> Tensor:
    """Return -log softmax(W h + b)[target] for every row, in nats.

    Args:
        hidden: `[N, H]`.
        weight: `[V, H]`.
        bias: `[V]` or None.
        targets: `[N]`, ids below V.
        packs: layouts of the weight, for passes without a gradient.

    Returns:
        `[N]`, in the type of the weight.
    """
    if torch.is_grad_enabled():
        return _TokenNLL.apply(hidden, weight, bias, targets)
    nll = hidden.new_empty(len(hidden), dtype=weight.dtype)
    products = _Products.packed(weight, bias, _narrow(hidden), rows=len(hidden), packs=packs or Packs())
    for chunk in _chunks(hidden, products, targets, CHUNK_ELEMENTS):
        nll[chunk.rows] = chunk.nll
    return nll


@dataclass(frozen=True)
class _Products:
    """The output layer's weight, and how it multiplies.

    Attributes:
        weight: `[V, H]`, in full precision.
        bias: `[V]` or None.
        narrow: the type to multiply in.
        logits: from states `[n, H]` in that type to W h + b, `[V, n]`, which may be written over.
    """

    weight: Tensor
    bias: Tensor | None
    narrow: torch.dtype
    logits: Callable[[Tensor], Tensor]

    @staticmethod
    def packed(weight: Tensor, bias: Tensor | None, narrow: torch.dtype, *, rows: int, packs: Packs) -> "_Products":
        """Return those of a weight that does not learn, laid out for about so many rows."""
        low = None if bias is None else bias.to(narrow)

        def forth(states: Tensor) -> Tensor:
            return layout(packs, weight, narrow, rows=rows)(states, low).T

        return _Products(weight, bias, narrow, forth)

    @staticmethod
    def learning(weight: Tensor, bias: Tensor | None, low: Tensor) -> "_Products":
        """Return those of a weight that will change before it is used again, and which is `low` in the type to multiply in.

        In fp32 oneDNN multiplies, words row by row. In a narrow type torch does, states row by row, into one buffer that is
        written again and again.
        """
        narrow, buffer = low.dtype, low.new_empty(0)
        full = narrow == torch.float32 and weight.device.type == "cpu"

        def forth(states: Tensor) -> Tensor:
            nonlocal buffer
            if full:
                columns = matmul_no_grad(low, states.T)
                return columns if bias is None else columns.add_(bias[:, None])
            if buffer.numel() < len(low) * len(states):
                buffer = low.new_empty(len(low) * len(states))
            out = torch.mm(states, low.T, out=buffer[: len(low) * len(states)].view(len(states), len(low)))
            return (out if bias is None else out.add_(bias)).T

        return _Products(weight, bias, narrow, forth)


@dataclass(frozen=True)
class _Chunk:
    """Some rows: where they are, their states `[n, H]`, exponentials `[V, n]`, 1 / S `[n]` and nll `[n]`."""

    rows: slice
    hidden: Tensor
    exponentials: Tensor
    share: Tensor
    nll: Tensor


class _WeightGradients:
    """The gradients of weight and bias, chunk by chunk."""

    def __init__(self, weight: Tensor, bias: Tensor | None, wanted: tuple[bool, bool]) -> None:
        self.like, self.wanted = (weight, bias), wanted
        self.weight: Tensor | None = None
        self.bias: Tensor | None = None

    def add(self, chunk: _Chunk, targets: Tensor, slope: Tensor | None = None) -> None:
        """Add the share of a chunk whose nll have these slopes `[n]`, 1 by default."""
        over_total, dtype = chunk.share if slope is None else chunk.share * slope, self.like[0].dtype
        if self.wanted[0]:
            scaled = chunk.hidden * over_total[:, None].to(chunk.hidden.dtype)
            if self.weight is None:
                self.weight = product(chunk.exponentials, scaled, dtype)
            else:
                add_product(self.weight, chunk.exponentials, scaled)
            own = chunk.hidden if slope is None else chunk.hidden * slope[:, None]
            self.weight.index_add_(0, targets, own.to(dtype), alpha=-1)
        if self.wanted[1]:
            share = (chunk.exponentials @ over_total.to(chunk.hidden.dtype)).to(dtype)
            self.bias = share if self.bias is None else self.bias + share
            own = torch.ones_like(over_total) if slope is None else slope
            self.bias.index_add_(0, targets, own.to(dtype), alpha=-1)

    def scaled(self, factor: float) -> tuple[Tensor | None, Tensor | None]:
        """Return both times a number, and give them away."""
        layer = (self.weight, self.bias)
        return tuple(None if total is None else total.mul_(factor) for total in layer)  # type: ignore[return-value]


class _TokenNLL(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
        ctx.narrow = narrow = _narrow(hidden)
        wanted_hidden, *wanted = ctx.needs_input_grad[:3]
        nll = hidden.new_empty(len(hidden), dtype=weight.dtype)
        unit_hidden = torch.empty_like(hidden, dtype=narrow) if wanted_hidden else None
        units = _WeightGradients(weight, bias, (wanted[0], wanted[1]))
        low = weight.to(narrow)
        products = _Products.learning(weight, bias, low)
        # in fp32 on a CPU written once as oneDNN likes it: column by column
        turned = low.T.contiguous().T if narrow == torch.float32 and weight.device.type == "cpu" else low
        for chunk in _chunks(hidden, products, targets, GRADIENT_CHUNK_ELEMENTS):
            rows = chunk.rows
            nll[rows] = chunk.nll
            if unit_hidden is not None:
                unit = matmul_no_grad(chunk.exponentials.T, turned).mul_(chunk.share[:, None])
                unit_hidden[rows] = unit.sub_(weight.index_select(0, targets[rows]))
            units.add(chunk, targets[rows])
        ctx.save_for_backward(hidden, weight, bias, targets, unit_hidden)
        ctx.units = units
        return nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets, unit_hidden = ctx.saved_tensors
        grad_hidden = None if unit_hidden is None else (unit_hidden * slope[:, None]).to(hidden.dtype)
        wanted = ctx.needs_input_grad[1:3]
        if not any(wanted):
            return grad_hidden, None, None, None
        if not len(slope):
            zeros = (torch.zeros_like(weight) if wanted[0] else None, torch.zeros_like(bias) if wanted[1] else None)
            return grad_hidden, *zeros, None
        units, ctx.units = ctx.units, None  # given away: a second backward pass forms them anew
        low, high = (float(end) for end in slope.aminmax())
        if units is not None and low == high:
            return grad_hidden, *units.scaled(low), None
        grads = _WeightGradients(weight, bias, (wanted[0], wanted[1]))
        products = _Products.learning(weight, bias, weight.to(ctx.narrow))
        for chunk in _chunks(hidden, products, targets, GRADIENT_CHUNK_ELEMENTS):
            grads.add(chunk, targets[chunk.rows], slope[chunk.rows])
        return grad_hidden, grads.weight, grads.bias, None


def _narrow(hidden: Tensor) -> torch.dtype:
    """Return the type to multiply in: autocast's where it is on, else that of the hidden states."""
    kind = hidden.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype


def _chunks(hidden: Tensor, products: _Products, targets: Tensor, elements: int) -> Iterator[_Chunk]:
    """Yield a few rows at a time; the exponentials of a chunk may be written over by the next.

    Args:
        hidden: `[N, H]`.
        products: what they are multiplied with.
        targets: `[N]`.
        elements: logits at a time.
    """
    if not len(hidden):
        return
    size = elements // len(products.weight)
    size = max(1, min(len(hidden), size - size % ROWS if size > ROWS else size))
    for start in range(0, len(hidden), size):
        rows = slice(start, min(start + size, len(hidden)))
        low = hidden[rows].to(products.narrow)
        for shifted in (False, True):
            low_logits = products.logits(low)
            shift = low_logits.amax(0) if shifted else None
            own, total = _exponentials(low_logits, hidden[rows], products, targets[rows], shift)
            least, most = (float(end) for end in total.aminmax())
            if SAFE[0] < least and most < SAFE[1]:
                break
        yield _Chunk(rows, low, low_logits, total.reciprocal(), total.log() - own)


def _exponentials(
    logits: Tensor, hidden: Tensor, products: _Products, target: Tensor, shift: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Turn logits `[V, n]` into e = exp(a - m) in place; return a_y - m and S, `[n]` each, in full precision."""
    weight, bias = products.weight, products.bias
    if shift is not None:
        logits.sub_(shift)
    if logits.dtype == weight.dtype:
        own = logits.gather(0, target[None])[0]
        return own, logits.exp_().sum(0)
    own = weight.index_select(0, target).mul_(hidden).sum(1)  # five times as fast as weight[target]
    own = own if bias is None else own + bias[target]
    own = own if shift is None else own - shift
    logits.exp_()[target, torch.arange(len(target), device=target.device)] = own.exp().to(logits.dtype)
    return own, torch.stack([part.sum(0).to(weight.dtype) for part in logits.split(WORDS)]).sum(0)
