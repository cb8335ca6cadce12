"""Aggressive training of the encoder (He et al. 2019, section 4): when to stop an inner loop, and when the whole phase."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from uncollapse.evaluation.bounds import Scores
from uncollapse.evaluation.posterior import batch_mutual_information, sentence_mutual_information

CHECK_EVERY = 15
LEAST_INNER_STEPS = 2 * CHECK_EVERY
MOST_INNER_STEPS = 100
MI_SENTENCES = 2000
"""Validation sentences over which mutual information is pooled."""
SIGNIFICANT = 2.0
"""Standard errors by which the mutual information must fall before the phase ends."""

Rule = Literal["off", "pooled", "paper"]


@dataclass
class InnerLoop:
    """Encoder-only steps before one decoder step: until the loss per word of the last 15 steps rises, fewer than 100 in all.

    The first 15 steps have nothing to be compared with, so that there are at least 30.
    """

    steps: int = 0
    loss: float = 0.0
    words: int = 0
    before: float = math.inf

    def goes_on(self, loss: float, words: int) -> bool:
        """Take note of one step: its loss, summed over the sentences of the batch, and the words it predicts."""
        self.steps += 1
        self.loss += loss
        self.words += words
        if self.steps % CHECK_EVERY == 0:
            now = self.loss / self.words
            if now > self.before:
                return False
            self.before, self.loss, self.words = now, 0.0, 0
        return self.steps < MOST_INNER_STEPS - 1


@dataclass
class Phase:
    """The phase of aggressive training: it ends for good when validation MI falls, or at its limit of outer steps.

    Attributes:
        rule: `pooled`: the pooled MI of each sentence, with the same noise in both epochs, must fall by more than two standard
            errors of the mean difference; `paper`: any fall of the batch-averaged estimate ends the phase; `off`: no such phase.
        limit: most outer steps; 0 for none.
        on: whether the phase lasts.
        outer: outer steps so far.
        inner: inner steps of the present epoch.
        before: MI at the last check: of every sentence (pooled) or one number (paper).
        batch_size: of the paper's estimate.
    """

    rule: Rule = "off"
    limit: int = 0
    on: bool = False
    outer: int = 0
    inner: int = 0
    before: list[float] = field(default_factory=list)
    batch_size: int = 32

    def count(self, inner: int) -> None:
        """Take note of one outer step; end the phase at its limit."""
        self.outer += 1
        self.inner += inner
        self.on = not self.limit or self.outer < self.limit

    def end_epoch(self, scores: Scores, batches: int) -> dict[str, Any]:
        """Decide by validation MI whether the phase goes on; return what the log says of it.

        Args:
            scores: of the validation split.
            batches: outer steps of the epoch, aggressive or not.
        """
        few = slice(0, MI_SENTENCES)
        mi = (
            [batch_mutual_information(scores.posterior, scores.z, self.batch_size)]
            if self.rule == "paper"
            else sentence_mutual_information(scores.posterior[few], scores.z[few]).tolist()
        )
        before, steps = sum(self.before) / max(1, len(self.before)), self.inner / max(1, batches)
        goes_on, self.inner = self.on and self.check(mi), 0
        return {"inner_steps": steps, "mi_before": before, "mi_after": sum(mi) / len(mi), "goes_on": goes_on}

    def check(self, mi: Sequence[float]) -> bool:
        """Compare MI with that of the last check, end the phase if it fell, and return whether it goes on."""
        if falls(self.before, mi):
            self.on = False
        self.before = list(mi)
        return self.on


def falls(before: Sequence[float], now: Sequence[float]) -> bool:
    """Return whether the mean of paired values fell by more than two standard errors (one value: fell at all).

    Nothing before counts as 0, as in the reference implementation.
    """
    change = torch.tensor(list(now), dtype=torch.float64) - torch.tensor(
        list(before) or [0.0] * len(now), dtype=torch.float64
    )
    error = float(change.std()) / math.sqrt(len(change)) if len(change) > 1 else 0.0
    return float(change.mean()) < -SIGNIFICANT * error
