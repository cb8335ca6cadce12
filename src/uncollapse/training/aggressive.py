"""Aggressive training of the encoder (He et al. 2019, section 4): when to stop an inner loop, and when the whole phase.

The paper's rules read noisy numbers: a loss over different sentences each time, and an MI of one draw. `PairedLoop` is ours: the
loss of the same validation sentences before and after some encoder steps says whether these steps pay.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from uncollapse.data.order import shuffled_batches
from uncollapse.evaluation.posterior import batch_mutual_information, sentence_mutual_information
from uncollapse.evaluation.scores import Scores

CHECK_EVERY, CHECK_EVERY_IN_PAPER_BEST = 15, 10
LEAST_INNER_STEPS = 2 * CHECK_EVERY
MOST_INNER_STEPS = 100
MI_SENTENCES = 2000
"""Validation sentences over which mutual information is pooled."""
SIGNIFICANT = 2.0
"""Standard errors by which the mutual information must fall before the phase ends."""

HELD_BATCHES, HELD_SENTENCES = 8, 8
"""Validation batches whose losses are compared, and the sentences of each."""
LOOKS = (0, 2, 4, 8, 16, 32, 64)
"""Inner steps after which the paired losses are looked at."""
PAYS = 1.0
"""Standard errors by which the paired losses must fall for the steps to go on."""
SETTINGS = ("rule", "limit", "batch_size", "budget")
"""What a phase is given, not what it has come to."""
LONGEST_WAIT = 4
"""Most steps without inner ones, after some that did not pay."""
MOST_BELOW_BEST = 5
"""`paper-best` ends the phase after this many epochs with an MI below its best."""

Rule = Literal["off", "adaptive", "always", "pooled", "paper", "paper-best"]


@dataclass
class InnerLoop:
    """Encoder-only steps before one decoder step: until the loss per word of the last 15 steps rises, fewer than 100 in all.

    The first 15 steps have nothing to be compared with, so that there are at least 30.

    Attributes:
        every: steps whose losses are compared with those of as many before.
        steps: taken so far.
        loss: of the last of them.
        words: of the last of them.
        before: the loss per word of those before.
    """

    every: int = CHECK_EVERY
    steps: int = 0
    loss: float = 0.0
    words: int = 0
    before: float = math.inf

    def add(self, loss: float, words: int) -> None:
        """Take note of one step: its loss, summed over the sentences of the batch, and the words it predicts."""
        self.steps += 1
        self.loss += loss
        self.words += words

    def goes_on(self) -> bool:
        """Return whether another step is due."""
        if self.steps and self.steps % self.every == 0:
            now = self.loss / self.words
            if now > self.before:
                return False
            self.before, self.loss, self.words = now, 0.0, 0
        return self.steps < MOST_INNER_STEPS - 1


@dataclass
class PairedLoop:
    """Encoder-only steps before one decoder step: as long as they lower the loss of held-out sentences.

    That loss is measured before them and after 2, 4, 8, … steps, on the same sentences with the same noise. Two doublings that do
    not lower it by a standard error end the loop.

    Attributes:
        losses: returns the loss of each held-out batch.
        steps: taken so far.
        looks: times that the losses were measured.
        useful: steps until the last significant fall.
        misses: looks since then.
        before: the losses then.
    """

    losses: Callable[[], Tensor]
    steps: int = 0
    looks: int = 0
    useful: int = 0
    misses: int = 0
    before: Sequence[float] = ()

    def add(self, loss: float, words: int) -> None:
        """Take note of one step."""
        self.steps += 1

    def goes_on(self) -> bool:
        """Return whether another step is due."""
        if self.steps in LOOKS:
            now = self.losses().tolist()
            self.looks += 1
            if not self.steps or falls(self.before, now, PAYS):
                self.before, self.useful, self.misses = now, self.steps, 0
            else:
                self.misses += 1
        return self.misses < 2 and self.steps < LOOKS[-1]


@dataclass
class Phase:
    """The phase of aggressive training: it ends for good by its rule, or at its limit of outer steps.

    Attributes:
        rule: `pooled`: the pooled MI of each sentence, with the same noise in both epochs, must fall by more than two standard
            errors of the mean difference; `paper`: any fall of the batch-averaged estimate, whose noise is new in every
            epoch, ends the phase; `paper-best`: the fifth epoch whose estimate is below the best before it does, and inner
            losses are compared every ten steps, as in the reference; `adaptive`: inner steps are taken while they pay by paired
            losses, and the phase ends when `budget` is spent; `always`: the whole training; `off`: no such phase.
        limit: most outer steps; 0 for none.
        on: whether the phase lasts.
        outer: outer steps so far.
        inner: inner steps of the present epoch.
        before: MI at the last check: of every sentence (pooled) or one number (paper).
        best: MI so far, of `paper-best`.
        below: epochs with less than that.
        batch_size: of the training, and of the paper's estimate.
        budget: of `adaptive`: most inner steps of the whole training, looks counted as steps of equal cost.
        spent: of it.
        wait: of `adaptive`: steps without inner ones, after some that did not pay.
        left: of these.
    """

    rule: Rule = "off"
    limit: int = 0
    on: bool = False
    outer: int = 0
    inner: int = 0
    before: list[float] = field(default_factory=list)
    best: float = 0.0
    below: int = 0
    batch_size: int = 32
    budget: float = math.inf
    spent: float = 0.0
    wait: int = 0
    left: int = 0

    def continued(self, state: Mapping[str, Any]) -> "Phase":
        """Return the phase where a saved one stopped, under its own settings: a longer training has a larger budget.

        Raises:
            TypeError: a name in the state is none of a phase.
        """
        phase = replace(self, **{name: value for name, value in state.items() if name not in SETTINGS})
        if self.rule == "adaptive":
            phase.on = phase.below_limit and phase.spent < self.budget
        return phase

    @property
    def below_limit(self) -> bool:
        """Return whether the limit leaves outer steps."""
        return not self.limit or self.outer < self.limit

    def loop(self, losses: Callable[[], Tensor]) -> InnerLoop | PairedLoop:
        """Return the inner loop of the present outer step.

        Args:
            losses: returns the loss of each held-out batch, always with the same noise.
        """
        if self.rule == "adaptive":
            return PairedLoop(losses)
        return InnerLoop(CHECK_EVERY_IN_PAPER_BEST if self.rule == "paper-best" else CHECK_EVERY)

    def begins(self) -> bool:
        """Return whether inner steps precede the next step; during a pause, count it down."""
        if self.on and self.left:
            self.left -= 1
            return False
        return self.on

    def count(self, loop: InnerLoop | PairedLoop) -> None:
        """Take note of one outer step; end the phase at its limit."""
        self.outer += 1
        self.inner += loop.steps
        self.on = self.below_limit
        if isinstance(loop, PairedLoop):
            # a batch costs a third of a step without its gradient, and not much less where it is smaller
            self.spent += loop.steps + loop.looks * HELD_BATCHES / 3 * max(1.0, HELD_SENTENCES / self.batch_size)
            self.on = self.on and self.spent < self.budget
            self.wait = 0 if loop.useful else min(2 * self.wait + 1, LONGEST_WAIT)
            self.left = self.wait

    def end_epoch(self, scores: Scores, lengths: np.ndarray, batches: int) -> dict[str, Any]:
        """Decide by validation MI whether the phase goes on; return what the log says of it.

        Args:
            scores: of the validation split.
            lengths: of its sentences, `[N]`.
            batches: outer steps of the epoch, aggressive or not.
        """
        if self.rule.startswith("paper"):
            of_one_length = shuffled_batches(lengths, self.batch_size, 0, epoch=0, order="equal")
            mi = [batch_mutual_information(scores.posterior, of_one_length)]
        else:
            few = slice(0, MI_SENTENCES)
            mi = sentence_mutual_information(scores.posterior[few], scores.z[few]).tolist()
        before, steps = sum(self.before) / max(1, len(self.before)), self.inner / max(1, batches)
        goes_on, self.inner = self.on and self.check(mi), 0
        return {"inner_steps": steps, "mi_before": before, "mi_after": sum(mi) / len(mi), "goes_on": goes_on}

    def check(self, mi: Sequence[float]) -> bool:
        """Compare MI with that of the last check, or with its best; end the phase by the rule, and return whether it goes on."""
        if self.rule == "paper-best":
            self.below += sum(mi) / len(mi) < self.best
            self.best = max(self.best, sum(mi) / len(mi))
            self.on = self.below < MOST_BELOW_BEST
        elif self.rule not in ("adaptive", "always") and falls(self.before, mi):
            self.on = False
        self.before = list(mi)
        return self.on


def falls(before: Sequence[float], now: Sequence[float], errors: float = SIGNIFICANT) -> bool:
    """Return whether the mean of paired values fell by more than so many standard errors (one value: fell at all).

    Nothing before counts as 0, as in the reference implementation.
    """
    change = torch.tensor(list(now), dtype=torch.float64) - torch.tensor(
        list(before) or [0.0] * len(now), dtype=torch.float64
    )
    error = float(change.std()) / math.sqrt(len(change)) if len(change) > 1 else 0.0
    return float(change.mean()) < -errors * error
