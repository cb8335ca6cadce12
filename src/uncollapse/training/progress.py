"""Where a training is, and what its steps add up to."""

from collections import Counter
from dataclasses import dataclass, field

import torch
from torch import Tensor

from uncollapse.objectives import Terms

QUANTITIES = ("loss", "distortion", "rate", "divergence")


@dataclass(frozen=True)
class Update:
    """The numbers of one step.

    Attributes:
        means: of the `QUANTITIES` over the batch, nats.
        norm: of the gradient of all weights before it is clipped.
        weight: of the penalty.
    """

    means: dict[str, float]
    norm: float
    weight: float

    @staticmethod
    @torch.no_grad()
    def read(terms: Terms, norm: Tensor) -> "Update":
        """Read the numbers from the device, all at once: this is the one wait of a step."""
        divergence = terms.rate.mean() if terms.divergence is None else terms.divergence
        means = (terms.loss, terms.distortion.mean(), terms.rate.mean(), divergence)
        *numbers, length = torch.stack((*means, norm)).tolist()
        return Update(dict(zip(QUANTITIES, numbers, strict=True)), length, terms.weight)


@dataclass
class Progress:
    """Where training is: all of the loop's state but weights, optimizers and random numbers.

    Attributes:
        epoch: finished epochs.
        batch: finished batches of the present one.
        step: finished steps in all.
        weight: of the penalty at the last step.
        finished: whether the plateau rule has ended training.
        pretrained: epochs that pretraining took; 0 before its end.
        sentences: of the present epoch so far.
        seconds: likewise.
        totals: sums of the `QUANTITIES` over these sentences, nats.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    weight: float = 0.0
    finished: bool = False
    pretrained: int = 0
    sentences: int = 0
    seconds: float = 0.0
    totals: dict[str, float] = field(default_factory=dict)

    def add(self, update: Update, sentences: int, seconds: float) -> None:
        """Count one step."""
        self.step += 1
        self.batch += 1
        self.weight = update.weight
        self.sentences += sentences
        self.seconds += seconds
        sums = Counter(self.totals)
        sums.update({name: value * sentences for name, value in update.means.items()})
        self.totals = dict(sums)

    def means(self) -> dict[str, float]:
        """Return means over the sentences of the epoch so far."""
        means = {name: self.totals.get(name, 0.0) / max(1, self.sentences) for name in QUANTITIES}
        return {**means, "nll_elbo": means["distortion"] + means["rate"]}

    def end_epoch(self) -> None:
        """Begin the next epoch."""
        self.epoch, self.batch, self.sentences, self.seconds, self.totals = self.epoch + 1, 0, 0, 0.0, {}
