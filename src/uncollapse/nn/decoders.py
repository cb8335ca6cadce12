"""Decoders of text: recurrent (He et al. 2019) and convolutional (Dauphin et al. 2017; Prokhorov et al. 2019)."""

import warnings
from abc import abstractmethod
from typing import Literal, TypedDict, Unpack

import torch
from torch import Tensor, nn

from uncollapse.data.corpus import Batch
from uncollapse.data.vocabulary import BOS, UNK
from uncollapse.errors import UserError
from uncollapse.nn.interfaces import Decoder, State
from uncollapse.nn.output import OutputLayer
from uncollapse.nn.padding import Places
from uncollapse.nn.recurrent import CELLS, At, Cell, side_by_side

FirstState = Literal["tanh", "hidden", "copy"]
Bias = Literal["none", "output", "all"]
"""Linear maps with a bias: none (He et al. 2019), the output layer (Li et al. 2020), the map to the first state too."""


class Shared(TypedDict, total=False):
    """What every decoder of text may be given by name; see `TextDecoder`."""

    dropout_in: float
    dropout_out: float
    word_dropout: float
    skip: bool
    bias: Bias
    tied: bool


class TextDecoder(Decoder):
    """What decoders of text share: embeddings, dropout, z at every input, the output layer.

    A subclass says how inputs become states (`run`) and where it begins (`memory`).

    Args:
        vocabulary: tokens V.
        emb: width of the embeddings.
        hidden: width of the states.
        latent: dimensions Z; 0 for a language model.
        dropout_in: on embeddings.
        dropout_out: on states.
        word_dropout: share of the input words that are read as unknown in training (Bowman et al. 2016, section 3.1).
        skip: whether z also reaches every state directly, before the output layer (Dieng et al. 2019, section 3).
        bias: linear maps with a bias.
        tied: whether the embeddings are the weight of the output layer (Press & Wolf 2017); `emb` is `hidden` then.

    Raises:
        UserError: tied, and `emb` is not `hidden`.
    """

    def __init__(
        self,
        vocabulary: int,
        emb: int,
        hidden: int,
        latent: int,
        dropout_in: float = 0.0,
        dropout_out: float = 0.0,
        word_dropout: float = 0.0,
        skip: bool = False,
        bias: Bias = "none",
        tied: bool = False,
    ) -> None:
        super().__init__()
        if tied and emb != hidden:
            raise UserError(f"decoder.tied: expected decoder.emb equal to decoder.hidden, got {emb} and {hidden}")
        self.embedding = nn.Embedding(vocabulary, emb)
        self.dropout_in, self.dropout_out = nn.Dropout(dropout_in), nn.Dropout(dropout_out)
        self.word_dropout = word_dropout
        self.skip = linear(latent, hidden) if skip else None
        self.output = OutputLayer(hidden, vocabulary, bias=bias != "none")
        if tied:
            self.embedding.weight = self.output.weight

    @abstractmethod
    def memory(self, z: Tensor) -> State:
        """Return what is remembered before BOS, for codes `[N, Z]`."""

    @abstractmethod
    def run(self, embedded: Tensor, z: Tensor, memory: State) -> tuple[Tensor, State]:
        """Read sentences `[B, T, emb]` under K codes each, `[B, K, Z]`: states `[B K, T, hidden]`, and the new memory."""

    def forward(self, batch: Batch, z: Tensor, inputs: Tensor | None = None) -> Tensor:
        """Return -log p(x | z), `[B, K]`."""
        sentences, samples, _ = z.shape
        read = self._drop_words(batch.inputs if inputs is None else inputs)
        states, _ = self._states(self.dropout_in(self.embedding(read)), z, self.memory(z.flatten(0, 1)))
        places = Places.of(batch, samples)
        targets = places.pack(batch.targets.repeat_interleave(samples, 0) if samples > 1 else batch.targets)
        nll = self.output.nll(self.dropout_out(places.pack(states)), targets)
        return places.sum_rows(nll).view(sentences, samples)

    def start(self, z: Tensor) -> State:
        """Return the state before BOS: the memory, and z."""
        return (*self.memory(z), z)

    def step(self, token: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one token a row; return the logits of the next, `[N, V]`, and the new state."""
        *memory, z = state
        states, after = self._states(self.embedding(token)[:, None], z[:, None], tuple(memory))
        return self.output(states[:, 0]), (*after, z)

    def _states(self, embedded: Tensor, z: Tensor, memory: State) -> tuple[Tensor, State]:
        states, after = self.run(embedded, z, memory)
        return (states if self.skip is None else states + self.skip(z.flatten(0, 1))[:, None]), after

    def _drop_words(self, tokens: Tensor) -> Tensor:
        if not (self.training and self.word_dropout):
            return tokens
        dropped = torch.rand(tokens.shape, device=tokens.device) < self.word_dropout
        return tokens.masked_fill(dropped & (tokens != BOS), UNK)


class RecurrentDecoder(TextDecoder):
    """A recurrent network that sees z in its first state, at every input, or in both (`z_at`).

    The first state comes from a = W z, with `bias` all a = W z + b (`first_state`; gru and rnn have h_0 alone):

        tanh: h_0 = tanh(a), c_0 = a (He et al. 2019);  hidden: h_0 = a, c_0 = 0;  copy: h_0 = c_0 = a (Li et al. 2020).
    """

    def __init__(
        self,
        vocabulary: int,
        emb: int,
        hidden: int,
        latent: int,
        cell: Cell = "lstm",
        z_at: At = "both",
        first_state: FirstState = "tanh",
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(vocabulary, emb, hidden, latent, **shared)
        self.first = first_state
        self.first_state = linear(
            latent if z_at != "every" else 0, hidden, bias=z_at != "every" and shared.get("bias") == "all"
        )
        self.cell = CELLS[cell](emb + (latent if z_at != "first" else 0), hidden, batch_first=True)

    def memory(self, z: Tensor) -> State:
        """Return (h_0, c_0) of an LSTM, (h_0,) of the others."""
        a = self.first_state(z[:, : self.first_state.in_features])
        h = a.tanh() if self.first == "tanh" else a
        c = torch.zeros_like(a) if self.first == "hidden" else a
        return (h, c) if isinstance(self.cell, nn.LSTM) else (h,)

    def run(self, embedded: Tensor, z: Tensor, memory: State) -> tuple[Tensor, State]:
        """Run the cell."""
        return self.cell.unroll(embedded, z[..., : self.cell.input_size - embedded.shape[-1]], memory)


class ConvolutionalDecoder(TextDecoder):
    """Two blocks of gated causal convolutions, each of which sees the last `context` inputs.

    Block: `x -> x' + a * sigmoid(b)`, (a, b) the convolution of the inputs so far and x' the input, projected where widths differ
    (Dauphin et al. 2017; Prokhorov et al. 2019, section 3).
    """

    def __init__(
        self,
        vocabulary: int,
        emb: int,
        hidden: int,
        latent: int,
        context: int = 20,
        blocks: int = 2,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(vocabulary, emb, hidden, latent, **shared)
        self.widths = [emb + latent] + [hidden] * (blocks - 1)
        self.context = context
        self.convolutions = nn.ModuleList(nn.Conv1d(width, 2 * hidden, context) for width in self.widths)
        self.project = nn.Linear(emb + latent, hidden)

    def memory(self, z: Tensor) -> State:
        """Return the inputs that each block has seen: zeros before BOS, `[N, context - 1, width]`."""
        return tuple(z.new_zeros(len(z), self.context - 1, width) for width in self.widths)

    def run(self, embedded: Tensor, z: Tensor, memory: State) -> tuple[Tensor, State]:
        """Run the blocks over the inputs and those before them."""
        inputs, after = side_by_side(embedded, z), []
        for number, (convolution, seen) in enumerate(zip(self.convolutions, memory, strict=True)):
            window = torch.cat([seen.to(inputs.dtype), inputs], 1)
            after.append(window[:, -(self.context - 1) :] if self.context > 1 else window[:, :0])
            value, gate = convolution(window.transpose(1, 2)).transpose(1, 2).chunk(2, dim=-1)
            inputs = (inputs if number else self.project(inputs)) + value * gate.sigmoid()
        return inputs, tuple(after)


class BottleneckDecoder(TextDecoder):
    """Two blocks of gated causal convolutions, value and gate each through a bottleneck of a quarter of the channels.

    Block: `x -> x' + a * sigmoid(b)`, x' the input projected, a and b each made of x' by a convolution of width 1 to hidden / 4
    channels, a causal one of `context` inputs and one of width 1 back to `hidden`, with dropout after each, and nothing else.

    Source: Prokhorov et al. 2019, LSTM-CONV, as implemented there.
    """

    def __init__(
        self,
        vocabulary: int,
        emb: int,
        hidden: int,
        latent: int,
        context: int = 20,
        dropout_block: float = 0.1,
        blocks: int = 2,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(vocabulary, emb, hidden, latent, **shared)
        self.context, self.narrow, self.dropout_block = context, max(1, hidden // 4), nn.Dropout(dropout_block)
        widths = [emb + latent] + [hidden] * (blocks - 1)
        self.project = nn.ModuleList(nn.Linear(width, hidden) for width in widths)
        # value and gate side by side: groups keep them apart
        self.into = nn.ModuleList(nn.Conv1d(hidden, 2 * self.narrow, 1) for _ in widths)
        self.across = nn.ModuleList(nn.Conv1d(2 * self.narrow, 2 * self.narrow, context, groups=2) for _ in widths)
        self.out_of = nn.ModuleList(nn.Conv1d(2 * self.narrow, 2 * hidden, 1, groups=2) for _ in widths)

    def memory(self, z: Tensor) -> State:
        """Return the bottleneck of the inputs that each block has seen: zeros before BOS, `[N, context - 1, 2 hidden / 4]`."""
        return tuple(z.new_zeros(len(z), self.context - 1, 2 * self.narrow) for _ in self.into)

    def run(self, embedded: Tensor, z: Tensor, memory: State) -> tuple[Tensor, State]:
        """Run the blocks over the inputs and those before them."""
        inputs, after, drop = side_by_side(embedded, z), [], self.dropout_block
        for block, seen in enumerate(memory):
            inputs = self.project[block](inputs)
            narrow = drop(self.into[block](inputs.transpose(1, 2)))
            window = torch.cat([seen.to(narrow.dtype).transpose(1, 2), narrow], 2)
            after.append(window.transpose(1, 2)[:, window.shape[2] - self.context + 1 :])
            wide = drop(self.out_of[block](drop(self.across[block](window))))
            value, gate = wide.transpose(1, 2).chunk(2, dim=-1)
            inputs = inputs + value * gate.sigmoid()
        return inputs, tuple(after)


class BagOfWords(nn.Module):
    """An auxiliary decoder that predicts the words of a sentence from z alone, in no order (Zhao et al. 2017, section 3.3)."""

    def __init__(self, vocabulary: int, hidden: int, latent: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(latent, hidden)
        self.output = OutputLayer(hidden, vocabulary)

    def forward(self, batch: Batch, z: Tensor) -> Tensor:
        """Return -sum_t log p(x_t | z) for codes `[B, Z]`, `[B]`."""
        places = Places.of(batch)
        rows = places.pack(self.hidden(z).tanh()[:, None].expand(-1, batch.targets.shape[1], -1))
        return places.sum_rows(self.output.nll(rows, places.pack(batch.targets)))


def linear(latent: int, hidden: int, bias: bool = False) -> nn.Linear:
    """Return a linear map from a code, which may have no dimensions (a language model)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Initializing zero-element tensors")
        return nn.Linear(latent, hidden, bias=bias)
