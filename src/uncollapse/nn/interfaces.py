"""What every encoder and every decoder promises."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from uncollapse.latent import Diagonal, Gaussian

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

    def __len__(self) -> int:
        """Return the number of sentences B."""


@dataclass(frozen=True)
class Inference:
    """What an encoder says of a batch.

    Attributes:
        posterior: q(z given x) of the code that is decoded, `[B, Z]`.
        steps: the posterior at every timestep, `[B, T, Z]`, or None where only the last is computed.
        mask: which timesteps there are (pads are none), `[B, T]`, or None.
    """

    posterior: Diagonal
    steps: Diagonal | None = None
    mask: Tensor | None = None


class Encoder(nn.Module, ABC):
    """From a batch to the posterior of every sentence."""

    @abstractmethod
    def forward(self, batch: Text) -> Inference:
        """Return q(z given x), and the posteriors of the timesteps where they are wanted."""


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

    def forward(self, batch: Text) -> Inference:
        """Return a Gaussian of shape `[B, 0]`."""
        empty = batch.lengths.new_zeros(len(batch), 0).float()
        return Inference(Gaussian(empty, empty))
