"""The recurrent cells.

An LSTM is unrolled here (`nn.unrolled`) where that is faster than torch's own: in decoding and bounds, which share z and tokens
between readings, and for large cells that learn in bf16. Elsewhere, and on a GPU (nothing was measured there), torch's is used.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from uncollapse.nn.casts import multiplies_in_bf16
from uncollapse.nn.products import Packs
from uncollapse.nn.unrolled import Unrolled, unrolled

Cell = Literal["lstm", "gru", "rnn"]
At = Literal["first", "every", "both"]
"""Where a vector is read: in the first state, next to every input, or in both."""
Memory = tuple[Tensor, ...]
"""(h, c) of an LSTM, (h,) of the others, `[N, H]` each."""

PAYS = {torch.bfloat16: 4_000_000}
"""Weights of a cell from which on our backward pass is faster than torch's, by type; in fp32 torch's is always as fast."""


def side_by_side(inputs: Tensor, context: Tensor) -> Tensor:
    """Concatenate every input with a vector, for K readings of each sentence: `[B, T, E]`, `[B, K, Z]` -> `[B K, T, E + Z]`."""
    _, samples, width = context.shape
    inputs = inputs.repeat_interleave(samples, 0) if samples > 1 else inputs
    if not width:
        return inputs
    shared = context.flatten(0, 1)[:, None].expand(-1, inputs.shape[1], -1)
    return torch.cat([inputs, shared.to(inputs.dtype)], -1)


class Recurrent(nn.Module):
    """What the cells share: they read inputs, each concatenated with the context of its row.

    A cell is one of torch's (one layer, the batch first), and keeps the names of its weights.
    """

    def unroll(self, inputs: Tensor, context: Tensor, memory: Memory | None = None) -> tuple[Tensor, Memory]:
        """Read sentences from left to right.

        Args:
            inputs: of every sentence, `[B, T, E]`.
            context: concatenated with every input, for K readings of each sentence, `[B, K, Z]`; Z may be 0.
            memory: of every reading, sentence by sentence, `[B * K, H]` each; zeros by default.

        Returns:
            the states `[B * K, T, H]`, and the memory after the last input.
        """
        return self._torch(side_by_side(inputs, context), memory)

    def _torch(self, inputs: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]:
        states, h = self(inputs, None if memory is None else memory[0][None].contiguous())
        return states, (h[0],)


class RNN(Recurrent, nn.RNN):
    """h_t = tanh(a_t)."""


class GRU(Recurrent, nn.GRU):
    """The gated recurrent unit of Cho et al. 2014."""


class LSTM(Recurrent, nn.LSTM):
    """The LSTM of Hochreiter & Schmidhuber 1997 with forget gates, as in torch.

    Attributes:
        packs: layouts of the weights in a view made by `products.pack`.
        optimised: use our own kernels where they are faster; otherwise torch's operations alone.
    """

    packs: Packs | None = None
    optimised = True
    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    def unroll(self, inputs: Tensor, context: Tensor, memory: Memory | None = None) -> tuple[Tensor, Memory]:
        """Read sentences from left to right; see `Recurrent.unroll`."""
        weights = self.weight_ih_l0, self.weight_hh_l0, self.bias_ih_l0, self.bias_hh_l0
        learns = torch.is_grad_enabled() and any(t.requires_grad for t in (inputs, context, *(memory or ()), *weights))
        narrow = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else inputs.dtype
        if not self.optimised or inputs.device.type != "cpu" or not self._pays(inputs, context, learns, narrow):
            return super().unroll(inputs, context, memory)
        with torch.autocast("cpu", enabled=False):
            bias = self.bias_ih_l0 + self.bias_hh_l0
            context = context.flatten(0, 1).to(bias.dtype)
            zero = context.new_zeros(len(context), self.hidden_size)
            h, c = (part.to(bias.dtype) for part in memory or (zero, zero))  # c adds up in full precision
            unroll = Unrolled.apply if learns else unrolled
            packs = self.packs or Packs()
            states, c = unroll(packs, inputs.to(narrow), context, h, c, self.weight_ih_l0, self.weight_hh_l0, bias)
        return states, (states[:, -1], c)

    def _pays(self, inputs: Tensor, context: Tensor, learns: bool, narrow: torch.dtype) -> bool:
        """Return whether what follows is faster than torch's own LSTM."""
        if learns:
            size = self.weight_ih_l0.numel() + self.weight_hh_l0.numel()
            return context.shape[1] == 1 and size >= PAYS.get(narrow, math.inf)
        return context.shape[1] > 1 or inputs.shape[1] == 1

    def _torch(self, inputs: Tensor, memory: Memory | None) -> tuple[Tensor, Memory]:
        before = None if memory is None else (memory[0][None].contiguous(), memory[1][None].contiguous())
        narrow = torch.is_autocast_enabled(inputs.device.type)
        if narrow and not multiplies_in_bf16(inputs.device):  # torch has no LSTM in bf16 there
            with torch.autocast(inputs.device.type, enabled=False):
                states, (h, c) = self(
                    inputs.float(), None if before is None else (before[0].float(), before[1].float())
                )
        else:
            states, (h, c) = self(inputs, before)
        return states, (h[0], c[0])


CELLS: dict[Cell, type[LSTM] | type[GRU] | type[RNN]] = {"lstm": LSTM, "gru": GRU, "rnn": RNN}
