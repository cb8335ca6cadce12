"""A weight in closed loop: the rate settles at a target, whatever weight that takes."""

import math
from dataclasses import dataclass

GAIN = 0.01
MEMORY = 0.95
LEAST, MOST = 1e-4, 1e3


@dataclass
class Controller:
    """Multiplies the weight by exp(gain (rate / target - 1)) at every step, the rate averaged over the last steps.

    Source: Rezende & Viola 2018 (GECO), algorithm 1, with the rate in place of the distortion; Shao et al. 2020 (ControlVAE).

    Attributes:
        factor: of the objective's weight.
        rate: the moving average of the rate; negative before the first step.
    """

    factor: float = 1.0
    rate: float = -1.0

    def update(self, rate: float, target: float) -> None:
        """Take note of the mean rate of a batch, nats, and move the factor."""
        self.rate = rate if self.rate < 0 else MEMORY * self.rate + (1 - MEMORY) * rate
        # beyond twice the target it moves no faster, so that one bad batch cannot throw it
        error = min(self.rate / max(target, 1e-6) - 1, 1.0)
        self.factor = min(max(self.factor * math.exp(GAIN * error), LEAST), MOST)
