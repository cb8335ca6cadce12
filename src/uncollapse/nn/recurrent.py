"""The recurrent cells, and an LSTM that computes nothing twice.

With inputs x_t, a part z that stands beside every input, and sigma the logistic function:

    a_t = W_x x_t + W_z z + b + U h_{t-1},    (i, f, o) = sigma(a_t),  g = tanh(a_t)
    c_t = f c_{t-1} + i g,                    h_t = o tanh(c_t).

W_z z + b is the same at every step, and W_x x_t for all codes of a sentence. States stand feature by row, `[H, N]`, so that a
gate is one block of memory and every product has W on its left, which is what multiplies fastest when there are few rows.

Where torch's own LSTM is as fast (measured: fp32, small widths, a GPU), it is what is used.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from uncollapse import kernels
from uncollapse.nn.products import add_product, times

Cell = Literal["lstm", "gru", "rnn"]
Memory = tuple[Tensor, ...]
"""(h, c) of an LSTM, (h,) of the others, `[N, H]` each."""

HELD = 128
"""Hidden units from which on our backward pass is faster where the weights are held; below, the number of operations counts."""
WIDE = 512
"""Hidden units from which on our backward pass in bf16 is faster than torch's (docs/performance.md)."""


def side_by_side(inputs: Tensor, beside: Tensor) -> Tensor:
    """Put a vector beside every input, for K readings of each sentence: `[B, T, E]`, `[B, K, Z]` -> `[B K, T, E + Z]`."""
    _, samples, width = beside.shape
    inputs = inputs.repeat_interleave(samples, 0) if samples > 1 else inputs
    if not width:
        return inputs
    shared = beside.flatten(0, 1)[:, None].expand(-1, inputs.shape[1], -1)
    return torch.cat([inputs, shared.to(inputs.dtype)], -1)


class Recurrent(nn.Module):
    """What the cells share: they read inputs, and beside every input of a row the same vector.

    A cell is one of torch's (one layer, the batch first), and keeps the names of its weights.
    """

    def unroll(self, inputs: Tensor, beside: Tensor, memory: Memory | None = None) -> tuple[Tensor, Memory]:
        """Read sentences from left to right.

        Args:
            inputs: of every sentence, `[B, T, E]`.
            beside: what stands beside every input, for K readings of each sentence, `[B, K, Z]`; Z may be 0.
            memory: of every reading, sentence by sentence, `[B * K, H]` each; zeros by default.

        Returns:
            the states `[B * K, T, H]`, and the memory after the last input.
        """
        return self._torch(side_by_side(inputs, beside), memory)

    def _torch(self, inputs: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]:
        states, h = self(inputs, None if memory is None else memory[0][None].contiguous())
        return states, (h[0],)


class RNN(Recurrent, nn.RNN):
    """h_t = tanh(a_t)."""


class GRU(Recurrent, nn.GRU):
    """The gated recurrent unit of Cho et al. 2014."""


class LSTM(Recurrent, nn.LSTM):
    """The LSTM of Hochreiter & Schmidhuber 1997 with forget gates, as in torch."""

    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    def unroll(self, inputs: Tensor, beside: Tensor, memory: Memory | None = None) -> tuple[Tensor, Memory]:
        """Read sentences from left to right; see `Recurrent.unroll`."""
        weights = self.weight_ih_l0, self.weight_hh_l0, self.bias_ih_l0, self.bias_hh_l0
        learns = torch.is_grad_enabled() and any(t.requires_grad for t in (inputs, beside, *weights))
        narrow = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else inputs.dtype
        if kernels.plain("lstm") or inputs.device.type != "cpu" or not self._pays(inputs, beside, learns, narrow):
            return super().unroll(inputs, beside, memory)
        with torch.autocast("cpu", enabled=False):
            of_x, of_z = self.weight_ih_l0.split([inputs.shape[2], beside.shape[2]], dim=1)
            constant = of_z @ beside.flatten(0, 1).to(of_z.dtype).T + (self.bias_ih_l0 + self.bias_hh_l0)[:, None]
            zero = constant.new_zeros(constant.shape[1], self.hidden_size)
            h, c = (part.to(zero.dtype) for part in memory or (zero, zero))  # c adds up in full precision
            unrolled = _Unrolled.apply if learns else _unrolled
            states, c = unrolled(inputs.to(narrow), constant, h.T, c.T, of_x.to(narrow), self.weight_hh_l0.to(narrow))
        return states, (states[:, -1], c.T)

    def _pays(self, inputs: Tensor, beside: Tensor, learns: bool, narrow: torch.dtype) -> bool:
        """Return whether what follows is faster than torch's own LSTM."""
        if learns:
            # torch computes the gradients of the weights all the same
            held = not self.weight_hh_l0.requires_grad and self.hidden_size >= HELD
            wide = narrow == torch.bfloat16 and self.hidden_size >= WIDE
            return beside.shape[1] == 1 and (held or wide)
        return beside.shape[1] > 1 or inputs.shape[1] == 1

    def _torch(self, inputs: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]:
        before = None if memory is None else (memory[0][None].contiguous(), memory[1][None].contiguous())
        states, (h, c) = self(inputs, before)
        return states, (h[0], c[0])


CELLS: dict[Cell, type[LSTM] | type[GRU] | type[RNN]] = {"lstm": LSTM, "gru": GRU, "rnn": RNN}


def _unrolled(
    inputs: Tensor, constant: Tensor, h: Tensor, c: Tensor, of_x: Tensor, of_h: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the states `[N, T, H]` and the last c `[H, N]`, of K readings of B sentences, N = B K; no gradient.

    Args:
        inputs: `[B, T, E]`.
        constant: W_z z + b of every reading, `[4H, N]`.
        h: `[H, N]`.
        c: `[H, N]`.
        of_x: W_x, `[4H, E]`.
        of_h: U, `[4H, H]`.
    """
    sentences, length, _ = inputs.shape
    tokens = times(of_x, inputs.flatten(0, 1).T).view(len(of_x), sentences, length)
    states = inputs.new_empty(h.shape[1], length, h.shape[0])
    shared = constant.view(len(of_x), sentences, -1)
    # feature by row: what comes in may be a transposed view
    c = c.clone(memory_format=torch.contiguous_format)
    h = h.to(inputs.dtype, memory_format=torch.contiguous_format, copy=True)
    gates, squashed = torch.empty_like(constant), torch.empty_like(c)
    for t in range(length):
        torch.add(shared, tokens[:, :, t, None], out=gates.view_as(shared))
        add_product(gates, of_h, h)
        i, f, g, o = _activate(gates)
        c.mul_(f).addcmul_(i, g)
        states[:, t] = torch.mul(o, _tanh(c, squashed), out=h).T
    return states, c


class _Unrolled(torch.autograd.Function):
    """The same, one reading a sentence, with what the gradient needs kept: the gates in the narrow type, c and h of every step.

    Going back, with d for the gradient of the loss,

        dc_t += dh_t o (1 - tanh(c_t)^2),    do = dh_t tanh(c_t),    di = dc_t g,    df = dc_t c_{t-1},    dg = dc_t i,
        da_t = (di, df, do) sigma' and dg tanh',    dh_{t-1} = U^T da_t + (what comes from above),    dc_{t-1} = dc_t f;

    the gradients of U, W_x and x are one product each, over all steps at once. da is written over the gates, so that autograd
    refuses a second backward pass through the same graph.
    """

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, constant: Tensor, h: Tensor, c: Tensor, of_x: Tensor, of_h: Tensor
    ) -> tuple[Tensor, Tensor]:
        rows, length, _ = inputs.shape
        steps = inputs.transpose(0, 1)  # [T, B, E]
        # [4H, T, B]: the shares of the tokens, each replaced by the gates of its step
        gates = times(of_x, steps.flatten(0, 1).T).view(len(of_x), length, rows)
        cells, states = c.new_empty(length + 1, *c.shape), inputs.new_empty(length + 1, *h.shape)
        cells[0], states[0] = c, h
        now, squashed = torch.empty_like(constant), torch.empty_like(cells[0])
        for t in range(length):
            torch.add(constant, gates[:, t], out=now)
            add_product(now, of_h, states[t])
            i, f, g, o = _activate(now)
            torch.mul(f, cells[t], out=cells[t + 1]).addcmul_(i, g)
            torch.mul(o, _tanh(cells[t + 1], squashed), out=states[t + 1])
            gates[:, t] = now
        ctx.save_for_backward(steps, of_x, of_h, gates, cells, states)
        return states[1:].permute(2, 0, 1).contiguous(), cells[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor, d_c: Tensor) -> tuple[Tensor | None, ...]:
        steps, of_x, of_h, gates, cells, states = ctx.saved_tensors
        width, length, _ = gates.shape
        above, back, d_c = above.permute(1, 2, 0).contiguous(), of_h.T.contiguous(), d_c.clone()
        slopes = d_c.new_empty(width, d_c.shape[1])
        squashed, one, d_h = torch.empty_like(d_c), d_c.new_ones(()), torch.zeros_like(d_c)
        for t in range(length - 1, -1, -1):
            now, tanh = gates[:, t].to(d_c.dtype), _tanh(cells[t + 1], squashed)
            i, f, g, o = now.chunk(4)
            d_h += above[t]
            torch.addcmul(now, now, now, value=-1, out=slopes)  # sigma' = sigma (1 - sigma)
            d_i, d_f, d_g, d_o = slopes.chunk(4)
            torch.addcmul(one, g, g, value=-1, out=d_g)
            d_o.mul_(d_h * tanh)
            through = d_h.mul_(o)
            d_c.add_(through).addcmul_(through.mul_(tanh), tanh, value=-1)
            d_i.mul_(d_c * g)
            d_f.mul_(d_c * cells[t])
            d_g.mul_(d_c * i)
            d_c.mul_(f)
            low = slopes.to(of_h.dtype)
            gates[:, t] = low
            d_h = (back @ low).to(d_c.dtype)
        needs, flat = ctx.needs_input_grad, gates.flatten(1)
        return (
            (flat.T @ of_x).view_as(steps).transpose(0, 1) if needs[0] else None,
            gates.sum(1, dtype=d_c.dtype) if needs[1] else None,
            d_h,
            d_c,
            flat @ steps.flatten(0, 1) if needs[4] else None,
            flat @ states[:-1].transpose(1, 2).flatten(0, 1) if needs[5] else None,
        )


def _activate(gates: Tensor) -> tuple[Tensor, ...]:
    """Turn preactivations `[4H, N]` into the gates i, f, g, o, in place.

    One logistic function for all: tanh(x) = 2 sigma(2x) - 1, and torch's sigma is several times as fast as its tanh.
    """
    _, _, g, _ = parts = gates.chunk(4)
    g.mul_(2)
    gates.sigmoid_()
    g.mul_(2).sub_(1)
    return parts


def _tanh(values: Tensor, out: Tensor) -> Tensor:
    """Write tanh(x) = 2 sigma(2x) - 1."""
    return torch.mul(values, 2, out=out).sigmoid_().mul_(2).sub_(1)
