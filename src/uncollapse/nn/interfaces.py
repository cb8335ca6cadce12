"""What every encoder and every decoder promises."""

from abc import ABC, abstractmethod
from typing import Protocol

from torch import Tensor, nn

from uncollapse.latent import Gaussian

State = tuple[Tensor, ...]
"""What a decoder remembers between steps: tensors whose first dimension is the row, so that rows can be picked."""


class Text(Protocol):
    """What a network reads of a batch of sentences (see `data.corpus.Batch`)."""

    @property
    def tokens(self) -> Tensor:
        """From BOS to EOS, then pads, `[B, T]`."""

    @property
    def lengths(self) -> Tensor:
        """Predicted tokens, which is also the position of EOS, `[B]`."""

    @property
    def inputs(self) -> Tensor:
        """What the decoder is given, `[B, T - 1]`."""

    @property
    def targets(self) -> Tensor:
        """What it predicts, `[B, T - 1]`."""

    @property
    def mask(self) -> Tensor:
        """Where there is something to predict, `[B, T - 1]`."""


class Encoder(nn.Module, ABC):
    """From a batch to the posterior of every sentence."""

    @abstractmethod
    def forward(self, batch: Text) -> Gaussian:
        """Return q(z given x): mu and logvar `[B, Z]`."""


class Decoder(nn.Module, ABC):
    """From codes to the probability of a batch, at once (`forward`) or token by token (`start`, `step`)."""

    @abstractmethod
    def forward(self, batch: Text, z: Tensor) -> Tensor:
        """Return -log p(x given z) in nats, `[B, K]`, for codes `[B, K, Z]`."""

    @abstractmethod
    def start(self, z: Tensor) -> State:
        """Return the state before BOS for codes `[N, Z]`."""

    @abstractmethod
    def step(self, token: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one token a row `[N]`; return the logits of the next `[N, V]` and the new state."""


class NoEncoder(Encoder):
    """The encoder of a language model: a posterior of no dimensions."""

    def forward(self, batch: Text) -> Gaussian:
        """Return a Gaussian of shape `[B, 0]`."""
        empty = batch.lengths.new_zeros(len(batch.lengths), 0).float()
        return Gaussian(empty, empty)
