"""Decay of the learning rate when validation stops improving, with a reload of the best weights (He et al. 2019)."""

import math
from dataclasses import dataclass, replace
from typing import Literal

Advice = Literal["improved", "wait", "decay", "stop"]


@dataclass
class Plateau:
    """The memory of the rule, and the rule.

    After `patience` epochs in a row whose validation loss is not below the lowest since the last decay (not acted upon before
    epoch `decay_after`) the learning rate decays and the best weights return. The loss that led to a decay is the first that
    counts after it, so that the best weights have time at their new rate. After `max_decays` decays training ends.

    Attributes:
        patience: epochs without improvement before a decay; by default the rate never decays.
        decay_after: no decay before this epoch.
        max_decays: training ends at this many; 0 at the first lack of patience.
        decay: factor on the learning rate.
        best: lowest validation loss so far.
        bar: lowest since the last decay, whose own loss it begins with.
        waited: epochs in a row that were not below it.
        decays: how many there have been.
    """

    patience: float = math.inf
    decay_after: int = 0
    max_decays: int = 1
    decay: float = 0.5
    best: float = math.inf
    bar: float = math.inf
    waited: int = 0
    decays: int = 0

    def anew(self) -> "Plateau":
        """Return the rule without its memory."""
        return replace(self, best=math.inf, bar=math.inf, waited=0, decays=0)

    def advise(self, loss: float, epoch: int, settled: bool = True) -> Advice:
        """Take note of the validation loss of an epoch (counted from 1) and say what follows.

        While schedules still move (not `settled`) a worse loss is no sign of a plateau: nothing decays, and no epoch counts.
        """
        loss = math.inf if math.isnan(loss) else loss
        improved = loss < self.best
        if loss < self.bar:
            self.best, self.bar, self.waited = min(loss, self.best), loss, 0
            return "improved" if improved else "wait"
        self.waited += settled
        if not settled or self.waited < self.patience or epoch < self.decay_after:
            return "wait"
        self.bar, self.waited = loss, 0
        self.decays += 1
        return "stop" if self.decays >= max(1, self.max_decays) else "decay"
