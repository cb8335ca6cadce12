"""Recurrent encoder and decoder, wired as in He et al. 2019 (and Bowman et al. 2016 before them)."""

import warnings
from typing import Literal

import torch
from torch import Tensor, nn

from uncollapse.latent import Gaussian
from uncollapse.nn.interfaces import Decoder, Encoder, State, Text
from uncollapse.nn.output import token_nll

Cell = Literal["lstm", "gru"]
CELLS: dict[Cell, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}


class RecurrentEncoder(Encoder):
    """A recurrent network over the tokens from BOS to EOS; its state at EOS gives mu and log sigma^2."""

    def __init__(self, vocabulary: int, emb: int, hidden: int, latent: int, cell: Cell = "lstm") -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, emb)
        self.cell = CELLS[cell](emb, hidden, batch_first=True)
        self.posterior = nn.Linear(hidden, 2 * latent, bias=False)

    def forward(self, batch: Text) -> Gaussian:
        """Return q(z given x) for every sentence."""
        states, _ = self.cell(self.embedding(batch.tokens))
        # The network only looks back, so pads behind EOS change nothing.
        last = states[torch.arange(len(states), device=states.device), batch.lengths]
        mu, logvar = self.posterior(last).to(self.posterior.weight.dtype).chunk(2, dim=-1)
        return Gaussian(mu, logvar)


class RecurrentDecoder(Decoder):
    """A recurrent network that sees z in its first state and beside every input.

    `c_0 = W z, h_0 = tanh(c_0)` (a GRU: h_0); inputs `[embedding(x_t), z]`; dropout on embeddings and on outputs.
    """

    def __init__(
        self,
        vocabulary: int,
        emb: int,
        hidden: int,
        latent: int,
        cell: Cell = "lstm",
        dropout_in: float = 0.0,
        dropout_out: float = 0.0,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, emb)
        self.dropout_in, self.dropout_out = nn.Dropout(dropout_in), nn.Dropout(dropout_out)
        with warnings.catch_warnings():  # a language model has latent 0, and torch warns of the empty matrix
            warnings.filterwarnings("ignore", message="Initializing zero-element tensors")
            self.first_state = nn.Linear(latent, hidden, bias=False)
        self.cell = CELLS[cell](emb + latent, hidden, batch_first=True)
        self.output = nn.Linear(hidden, vocabulary, bias=False)

    def forward(self, batch: Text, z: Tensor) -> Tensor:
        """Return -log p(x given z), `[B, K]`."""
        sentences, samples, _ = z.shape
        rows = z.flatten(0, 1)
        inputs = self.dropout_in(self.embedding(batch.inputs)).repeat_interleave(samples, 0)
        states, _ = self._run(inputs, rows, self.start(rows))
        mask = batch.mask.repeat_interleave(samples, 0)
        nll = token_nll(
            self.dropout_out(states)[mask],
            self.output.weight,
            self.output.bias,
            batch.targets.repeat_interleave(samples, 0)[mask],
        )
        return nll.new_zeros(mask.shape).masked_scatter(mask, nll).sum(1).view(sentences, samples)

    def start(self, z: Tensor) -> State:
        """Return the state before BOS."""
        first = self.first_state(z)
        return (first.tanh(), first, z) if isinstance(self.cell, nn.LSTM) else (first.tanh(), z)

    def step(self, token: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one token a row; return the logits of the next, `[N, V]`, and the new state."""
        z = state[-1]
        states, memory = self._run(self.embedding(token)[:, None], z, state)
        return self.output(states[:, 0]), (*memory, z)

    def _run(self, embedded: Tensor, z: Tensor, state: State) -> tuple[Tensor, State]:
        """Run the cell over `[N, T, emb]` with z beside every input; return all outputs and the last memory."""
        inputs = torch.cat([embedded, z[:, None].expand(-1, embedded.shape[1], -1).to(embedded.dtype)], -1)
        memory = tuple(part[None].contiguous() for part in state[:-1])
        if isinstance(self.cell, nn.LSTM):
            states, (h, c) = self.cell(inputs, memory)
            return states, (h[0], c[0])
        states, h = self.cell(inputs, memory[0])
        return states, (h[0],)


def initialise_lagging(module: nn.Module) -> None:
    """Draw every weight from U(-0.01, 0.01) and every embedding from U(-0.1, 0.1), as He et al. 2019 do."""
    for parameter in module.parameters():
        nn.init.uniform_(parameter, -0.01, 0.01)
    for part in module.modules():
        if isinstance(part, nn.Embedding):
            nn.init.uniform_(part.weight, -0.1, 0.1)
