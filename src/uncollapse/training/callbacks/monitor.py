"""The monitor: a callback that watches how the latent space fares, on a small sample, while it is trained."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uncollapse.data.corpus import Corpus
from uncollapse.evaluation.bounds import subsample_indices
from uncollapse.evaluation.health import DEAD, Diagnosis, Health, diagnose, measure_health
from uncollapse.files import append_line, keep_lines
from uncollapse.model import evaluation_mode
from uncollapse.objectives import Objective
from uncollapse.training.callbacks.base import Callback
from uncollapse.training.optimizers import gradient_norm
from uncollapse.training.progress import Update

if TYPE_CHECKING:
    from uncollapse.training.fit import Trainer

SENTENCES = 200
"""Validation sentences of the sample."""
LAG_SENTENCES = (8, 50)
"""Least and most of them that the encoder's lag is measured on."""
SHARE, LAG_SHARE = 0.012, 0.008
"""Of the training's work that looks, and the lag, may cost by the counts below; the time they take is measured and logged."""
PATIENCE = 3
"""Epochs without information after which a training is ended: a space may wake up late."""
LOOK_COST = 0.5
"""Work of a look at a sentence: a pass of the encoder and two of the decoder, where a training step has three of both."""
LAG_COST = 11.0
"""Work of the lag of a sentence: 64 passes of the decoder."""


@dataclass(frozen=True)
class Look:
    """One look at the space.

    Attributes:
        step: finished steps.
        epoch: finished epochs.
        health: numbers of the sample.
        diagnosis: the state that they amount to.
        weight: of the first penalty; 1 without one.
        target: of the first penalty; 0 without one.
        gradient: norm of all weights' gradient at this step.
        encoder_gradient: that of the encoder's; 0 where it did not move.
    """

    step: int
    epoch: int
    health: Health
    diagnosis: Diagnosis
    weight: float
    target: float
    gradient: float
    encoder_gradient: float

    def record(self) -> dict[str, Any]:
        """Return the look as a line of a log."""
        where = {"step": self.step, "epoch": self.epoch, "state": self.diagnosis.state}
        scalars = {name: getattr(self, name) for name in ("weight", "target", "gradient", "encoder_gradient")}
        rounded = {name: round(value, 5) for name, value in scalars.items()}
        return {**where, "evidence": self.diagnosis.evidence, **rounded, **self.health.record()}


class Monitor(Callback):
    """Looks at a sample now and then: rate by dimension, MI, active units, use of z, and the encoder's lag.

    Every look goes to `on_look` of all callbacks, and every epoch's entry of the log gets the state of the last one. Looks draw
    none of training's random numbers: it is the same without them.

    Args:
        corpus: validation sentences, of which a sample is taken.
        every: steps between looks; 0: as many as keep the work of the looks within 2 % of the training's.
        path: a file for the looks, one JSON object a line.
        stop_when: `collapsed` ends training after three epochs in a row whose last look found z without information.
    """

    def __init__(self, corpus: Corpus, *, every: int = 0, path: str | Path | None = None, stop_when: str = "") -> None:
        self.sample = corpus.subset(subsample_indices(len(corpus), SENTENCES, seed=0))
        self.every, self.path, self.stop_when = every, Path(path) if path else None, stop_when
        self.last: Look | None = None
        self._earned = {"look": 0.0, "lag": 0.0}
        self._counted, self._lag_epoch, self._dead = 0, -1, 0
        self._seen: dict[str, Any] = {"epoch": -1, "state": "", "evidence": ""}  # the last look
        self._began, self._seconds = 0.0, 0.0

    @property
    def share(self) -> float:
        """Return the share of the time that looks have taken, in this process."""
        return self._seconds / max(1e-9, time.monotonic() - self._began)

    def on_epoch(self, trainer: "Trainer") -> None:
        """Begin to count; drop looks of later steps, as `Log` drops epochs."""
        self._began = self._began or time.monotonic()
        self._counted = trainer.progress.sentences
        if self.path:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            keep_lines(self.path, "step", trainer.progress.step)

    def on_step(self, trainer: "Trainer", update: Update) -> None:
        """Look when it is time."""
        progress = trainer.progress
        sentences, self._counted = progress.sentences - self._counted, progress.sentences
        self._earned["look"] += SHARE * sentences
        self._earned["lag"] += LAG_SHARE * sentences
        cost = LOOK_COST * len(self.sample)
        if not trainer.model.latent or (progress.step % self.every if self.every else self._earned["look"] < cost):
            return
        self._earned["look"] -= cost
        self.look(trainer, update)

    def look(self, trainer: "Trainer", update: Update) -> Look:
        """Measure the sample, and pass the look on to all callbacks."""
        began, progress = time.monotonic(), trainer.progress
        with evaluation_mode(trainer.model):
            health = measure_health(trainer.model, self.sample, lag_sentences=self._lag_sentences(progress.epoch))
        encoder = float(gradient_norm(trainer.weights["encoder"]))
        clipped = max(1.0, update.norm / trainer.clip) if trainer.clip else 1.0
        objective, step = trainer.objective, trainer.schedule_step
        penalties = objective.penalties if isinstance(objective, Objective) else ()
        self.last = Look(
            progress.step,
            progress.epoch,
            health,
            diagnose(health, warming_up=trainer.warming_up),
            update.weight,
            penalties[0].target_at(step) if penalties else 0.0,
            update.norm,
            encoder * clipped,
        )
        found = self.last.diagnosis
        self._seen = {"epoch": progress.epoch, "state": found.state, "evidence": found.evidence}
        if self.path:
            append_line(self.path, self.last.record())
        self._seconds += time.monotonic() - began
        trainer.notify("on_look", self.last)
        return self.last

    def _lag_sentences(self, epoch: int) -> int:
        """Return on how many sentences the lag is measured now: once an epoch, as many as have been earned."""
        least, most = LAG_SENTENCES
        affordable = int(self._earned["lag"] / LAG_COST)
        if epoch == self._lag_epoch or affordable < least:
            return 0
        count = min(affordable, most, len(self.sample))
        self._lag_epoch, self._earned["lag"] = epoch, 0.0
        return count

    def on_validate(self, trainer: "Trainer", entry: dict[str, Any]) -> None:
        """Write the state into the entry; end a training that stays collapsed, where that is wanted."""
        if self._seen["epoch"] != entry["epoch"] - 1:  # there was no look in this epoch
            return
        found = {name: self._seen[name] for name in ("state", "evidence")}
        entry["monitor"] = {**found, "share": round(self.share, 4)}
        self._dead = self._dead + 1 if found["state"] in DEAD else 0
        if self.stop_when == "collapsed" and self._dead >= PATIENCE:
            entry["monitor"]["ended"] = trainer.progress.finished = True
            trainer.stop()

    def state_dict(self) -> dict[str, Any]:
        """Return the work that looks may cost by now, how long the space has been dead, and what the last look found."""
        return {
            "earned": dict(self._earned),
            "lag_epoch": self._lag_epoch,
            "dead": self._dead,
            "seen": dict(self._seen),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a state."""
        self._earned, self._lag_epoch, self._dead = dict(state["earned"]), state["lag_epoch"], state["dead"]
        self._seen |= state.get("seen", {})
