"""The LSTM unrolled step by step: nothing is computed twice, and its backward pass multiplies once over all steps.

With inputs x_t, a context z that every input is concatenated with, and sigma the logistic function:

    a_t = W_x x_t + W_z z + b + U h_{t-1},    (i, f, o) = sigma(a_t),  g = tanh(a_t)
    c_t = f c_{t-1} + i g,                    h_t = o tanh(c_t).

W_z z + b is the same at every step, and W_x x_t for all codes of a sentence. U is laid out for the multiplication once for all
steps.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from uncollapse.nn.products import Packs, layout, matmul_no_grad

TOGETHER = 2**18
"""Gates of the steps that share what can be computed for all of them at once: few operations, and the caches hold them."""
TWO, ONE = (torch.tensor(number, device="cpu") for number in (2.0, 1.0))
"""As tensors: torch makes one of every Python number, and converts it, in the time that a small operation takes."""


def _shares(packs: Packs, inputs: Tensor, context: Tensor, of_input: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Return W_x x for inputs `[n, E]`, in their type, and W_z z + b for their context, `[N, Z]`.

    Args:
        packs: the layouts of the weight.
        inputs: in the type to multiply in.
        context: in full precision.
        of_input: (W_x, W_z), `[4H, E + Z]`.
        bias: b, `[4H]`.
    """
    x, z = _columns(inputs, of_input)
    tokens = layout(packs, of_input, inputs.dtype, rows=len(inputs), columns=x)(inputs)
    if not context.shape[1]:
        return tokens, bias.repeat(len(context), 1)
    return tokens, layout(packs, of_input, context.dtype, rows=len(context), columns=z)(context, bias)


def _columns(inputs: Tensor, of_input: Tensor) -> tuple[slice, slice]:
    """Return where W_x and W_z stand in a weight."""
    width = inputs.shape[-1]
    return slice(0, width), slice(width, of_input.shape[1])


def unrolled(
    packs: Packs, inputs: Tensor, context: Tensor, h: Tensor, c: Tensor, of_input: Tensor, of_h: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the states `[N, T, H]` and the last c `[N, H]`, of K readings of B sentences, N = B K; no gradient.

    Args:
        packs: the layouts of the weights.
        inputs: x, `[B, T, E]`, in the type to multiply in.
        context: z of every reading, `[N, Z]`.
        h: `[N, H]`.
        c: `[N, H]`.
        of_input: (W_x, W_z), `[4H, E + Z]`.
        of_h: U, `[4H, H]`, which is laid out for all steps.
        bias: b, `[4H]`.
    """
    sentences, length, _ = inputs.shape
    tokens, constant = _shares(packs, inputs.flatten(0, 1), context, of_input, bias)
    tokens = tokens.view(sentences, length, len(bias))
    shared = constant.view(sentences, len(h) // max(1, sentences), len(bias))
    recurrent = layout(packs, of_h, inputs.dtype, rows=len(h))
    states, h, c = inputs.new_empty(len(h), length, h.shape[1]), h.to(inputs.dtype, copy=True), c.clone()
    gates, squashed = torch.empty_like(constant), torch.empty_like(c)
    for t in range(length):
        torch.add(shared, tokens[:, t, None], out=gates.view_as(shared))
        i, f, g, o = _activate(gates.add_(recurrent(h)))
        c.mul_(f).addcmul_(i, g)
        states[:, t] = torch.mul(o, _tanh(c, squashed), out=h)
    return states, c


class Unrolled(torch.autograd.Function):
    """The same for one reading a sentence, with what the gradient needs kept.

    Kept are the gates in the narrow type, and c and h of every step.

    Going back, with d for the gradient of the loss,

        dc_t += dh_t o (1 - tanh(c_t)^2),    do = dh_t tanh(c_t),    di = dc_t g,    df = dc_t c_{t-1},    dg = dc_t i,
        da_t = (di, df, do) sigma' and dg tanh',    dh_{t-1} = U^T da_t + (what comes from above),    dc_{t-1} = dc_t f.

    All factors of dh_t and dc_t are formed for several steps together (`_factors`); the gradients of U, W_x and x are one
    product each, over all steps at once, and those of W_z, z and b see the sum of da over them. da is written over the gates, so
    that autograd refuses a second backward pass through the same graph.
    """

    @staticmethod
    def forward(
        ctx: Any,
        packs: Packs,
        inputs: Tensor,
        context: Tensor,
        h: Tensor,
        c: Tensor,
        of_input: Tensor,
        of_h: Tensor,
        bias: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return what `unrolled` does."""
        rows, length, _ = inputs.shape
        steps = inputs.transpose(0, 1).flatten(0, 1)  # [T B, E]
        tokens, constant = _shares(packs, steps, context, of_input, bias)
        gates = tokens.view(length, rows, len(bias))  # the shares of the tokens, each replaced by the gates of its step
        cells, states = c.new_empty(length + 1, *c.shape), inputs.new_empty(length + 1, *h.shape)
        cells[0], states[0] = c, h
        h, c = states[0], cells[0]
        recurrent, squashed = layout(packs, of_h, inputs.dtype, rows=rows), torch.empty_like(c)
        for those in _blocks(gates):
            now = gates[those] + constant
            for each, next_h, next_c in zip(now, states[1:][those], cells[1:][those], strict=True):
                i, f, g, o = _activate(each.add_(recurrent(h)))
                c = torch.mul(f, c, out=next_c).addcmul_(i, g)
                h = torch.mul(o, _tanh(c, squashed), out=next_h)
            gates[those] = now
        ctx.packs = packs
        ctx.save_for_backward(steps, context, of_input, of_h, gates, cells, states)
        return states[1:].transpose(0, 1), cells[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor, d_c: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of what was given, from those of the states and of the last c."""
        steps, context, of_input, of_h, gates, cells, states = ctx.saved_tensors
        (length, rows, _), packs, needs = gates.shape, ctx.packs, ctx.needs_input_grad[1:]
        back = layout(packs, of_h, states.dtype, rows=rows, transposed=True)
        d_h, d_c = torch.zeros_like(d_c), d_c.clone()
        above, d_c_of_gates, in_all = above.transpose(0, 1), d_c[:, None], d_c.new_zeros(gates.shape[1:])
        for those in reversed(_blocks(gates)):
            through, forget, d_a = _factors(gates[those].to(d_c.dtype), cells[those.start : those.stop + 1])
            flat, given = d_a.flatten(2), above[those].to(d_c.dtype)
            of_steps = zip(given, through, forget, d_a[:, :, :3], d_a[:, :, 3], flat, strict=True)
            for from_above, dh_in_dc, f, d_ifg, d_o, d_gates in reversed([*of_steps]):
                d_h = from_above + d_h
                d_c.addcmul_(d_h, dh_in_dc)
                d_ifg.mul_(d_c_of_gates)
                d_o.mul_(d_h)
                d_c.mul_(f)
                d_h = back(d_gates.to(states.dtype))
            gates[those] = flat
            in_all += flat.sum(0)
        every = gates.flatten(0, 1)
        x, z = _columns(steps, of_input)
        d_x = d_z = d_of_input = None
        if needs[0]:
            d_x = matmul_no_grad(every, of_input[:, x].to(every.dtype)).view(length, rows, x.stop).transpose(0, 1)
        if needs[1] and context.shape[1]:
            d_z = layout(packs, of_input, in_all.dtype, rows=rows, columns=z, transposed=True)(in_all)
        if needs[4]:
            d_of_input = torch.empty_like(of_input)
            d_of_input[:, x], d_of_input[:, z] = matmul_no_grad(every.T, steps), in_all.T @ context
        d_of_h = matmul_no_grad(every.T, states[:-1].flatten(0, 1)).to(of_h.dtype) if needs[5] else None
        return None, d_x, d_z, d_h.to(d_c.dtype), d_c, d_of_input, d_of_h, in_all.sum(0) if needs[6] else None


def _blocks(gates: Tensor) -> list[slice]:
    """Divide the steps of gates `[T, N, 4H]` into blocks, in their order."""
    length, steps = len(gates), max(1, TOGETHER // max(1, gates[0].numel()))
    return [slice(start, min(start + steps, length)) for start in range(0, length, steps)]


def _factors(gates: Tensor, cells: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return what gradients are multiplied with at S steps, in the order of their use.

    Args:
        gates: i, f, g and o, `[S, N, 4H]`.
        cells: c before the first step and after each, `[S + 1, N, H]`.

    Returns:
        dh's in dc, `[S, N, H]`; dc's in dc of the step before, `[S, N, H]`; and in da: dc's in those of i, f and g, dh's in that
        of o, `[S, N, 4, H]`.
    """
    gates, tanh = gates.unflatten(2, (4, -1)), _tanh(cells[1:])
    slopes = torch.addcmul(gates, gates, gates, value=-1)  # sigma' = sigma (1 - sigma)
    i, f, g, o = gates.unbind(2)
    d_i, d_f, d_g, d_o = slopes.unbind(2)
    d_i *= g
    d_f *= cells[:-1]
    torch.addcmul(i, i * g, g, value=-1, out=d_g)  # i tanh' = i (1 - tanh^2)
    d_o *= tanh
    return torch.addcmul(o, o * tanh, tanh, value=-1), f, slopes


def _activate(gates: Tensor) -> tuple[Tensor, ...]:
    """Turn preactivations `[N, 4H]` into the gates i, f, g, o, in place.

    One logistic function for all: tanh(x) = 2 sigma(2x) - 1, and torch's sigma is several times as fast as its tanh.
    """
    _, _, g, _ = parts = gates.chunk(4, 1)
    g.mul_(TWO)
    gates.sigmoid_()
    g.mul_(TWO).sub_(ONE)
    return parts


def _tanh(values: Tensor, out: Tensor | None = None) -> Tensor:
    """Return tanh(x) = 2 sigma(2x) - 1, in `out` where it is given."""
    return torch.mul(values, TWO, out=out).sigmoid_().mul_(TWO).sub_(ONE)
