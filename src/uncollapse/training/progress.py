"""Where training is, what it adds up to, and who is told."""

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from uncollapse.objectives import Terms


class Listener(Protocol):
    """Is told how training goes."""

    def epoch_begins(self, epoch: int, done: int, batches: int) -> None:
        """Say that an epoch (from 1) begins, `done` of its batches being trained already."""

    def step(self, epoch: int, sums: "Sums") -> None:
        """Say that a step is done."""

    def epoch_ends(self, entry: dict[str, Any]) -> None:
        """Say what the log holds of the epoch."""

    def remark(self, text: str) -> None:
        """Say something worth a line."""


@dataclass(frozen=True)
class Update:
    """The numbers of one step: means over the batch in nats, and norms of the gradient before it is clipped.

    Attributes:
        norm: of the gradient of all weights.
        weight: of the penalty.
        decoder_norm: of the gradient of all weights but the encoder's, where it was computed, scalar.
    """

    loss: float
    distortion: float
    rate: float
    divergence: float
    norm: float
    weight: float
    decoder_norm: Tensor

    @staticmethod
    @torch.no_grad()
    def read(terms: Terms, norm: Tensor, decoder_norm: Tensor) -> "Update":
        """Read the numbers from the device, all at once: this is the one wait of a step."""
        numbers = torch.stack((terms.loss, terms.distortion.mean(), terms.rate.mean(), terms.divergence, norm))
        loss, distortion, rate, divergence, length = numbers.tolist()
        return Update(loss, distortion, rate, divergence, length, terms.weight, decoder_norm)


@dataclass
class Sums:
    """What an epoch adds up to so far."""

    sentences: int = 0
    distortion: float = 0.0
    rate: float = 0.0
    divergence: float = 0.0
    loss: float = 0.0
    seconds: float = 0.0

    def add(self, update: Update, sentences: int, seconds: float) -> None:
        """Add one step."""
        self.sentences += sentences
        self.distortion += update.distortion * sentences
        self.rate += update.rate * sentences
        self.divergence += update.divergence * sentences
        self.loss += update.loss * sentences
        self.seconds += seconds

    def means(self) -> dict[str, float]:
        """Return means over sentences."""
        n = max(1, self.sentences)
        return {
            "distortion": self.distortion / n,
            "rate": self.rate / n,
            "nll_elbo": (self.distortion + self.rate) / n,
            "divergence": self.divergence / n,
            "loss": self.loss / n,
        }


@dataclass
class Progress:
    """Where training is: all of the loop's state but weights, optimizers and random numbers."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    weight: float = 0.0
    finished: bool = False
    sums: Sums = field(default_factory=Sums)
