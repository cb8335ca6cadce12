"""Callbacks watch a training: a log, checkpoints, a bar.

    class Print(uc.callbacks.Callback):
        def on_validate(self, trainer, entry):
            print(entry["valid"]["nll_elbo"])

They do not change what is learned.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from uncollapse.data.corpus import Corpus
from uncollapse.errors import UserError
from uncollapse.evaluation.mean_space import posterior_means
from uncollapse.files import append_line, keep_lines
from uncollapse.messages import Bar, say, sparkline
from uncollapse.model import evaluation_mode
from uncollapse.training.progress import Update
from uncollapse.training.states import STATE, WEIGHTS, load_state, load_weights, save_state, save_weights

if TYPE_CHECKING:
    from uncollapse.training.fit import Trainer
    from uncollapse.training.monitor import Look

ADVICE = {
    "improved": "",
    "wait": "  (no better)",
    "decay": "  (best reloaded, the learning rate falls)",
    "stop": "  (stopped)",
    "pretrain": "  (pretraining)",
}


RECENT = 24
"""Looks of the monitor that are drawn."""


class Callback:
    """Watches a training; this one does nothing. It may end the training: `trainer.stop()`.

    A callback with a memory of its own returns it from `state_dict`, and a resumed training gives it back.
    """

    def on_epoch(self, trainer: "Trainer") -> None:
        """Run before the first step of an epoch (or before the first that is left of it, in a resumed training)."""

    def on_step(self, trainer: "Trainer", update: Update) -> None:
        """Run after every step."""

    def on_inner(self, trainer: "Trainer") -> None:
        """Run in aggressive training between the encoder's own steps and the decoder's."""

    def on_look(self, trainer: "Trainer", look: "Look") -> None:
        """Run after a look of the `Monitor`, where there is one."""

    def on_validate(self, trainer: "Trainer", entry: dict[str, Any]) -> None:
        """Run after the validation that ends an epoch; `entry` is its entry in the log."""

    def on_end(self, trainer: "Trainer") -> None:
        """Run when training ends, is asked to stop, or fails."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training needs."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a state."""


class Log(Callback):
    """Appends the entry of every epoch to a file, one JSON object a line.

    Entries of epochs that this training has not reached are dropped: an interrupted training may have logged more than it saved.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def on_epoch(self, trainer: "Trainer") -> None:
        """Drop later epochs."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        keep_lines(self.path, "epoch", trainer.progress.epoch)

    def on_validate(self, trainer: "Trainer", entry: dict[str, Any]) -> None:
        """Append the entry."""
        append_line(self.path, entry)


class Checkpoint(Callback):
    """Keeps the best weights, `model.safetensors`, and the last state, `state/last.pt`, in a folder.

    Args:
        path: the folder.
        minutes: time between saves within an epoch; 0 saves at the end of epochs alone.
    """

    def __init__(self, path: str | Path, minutes: float = 5.0) -> None:
        self.path, self.minutes = Path(path), minutes
        self.saved, self.step = time.monotonic(), -1

    @property
    def model_file(self) -> Path:
        """Return the path of the best weights."""
        return self.path / WEIGHTS

    @property
    def state_file(self) -> Path:
        """Return the path of the last state."""
        return self.path / STATE

    def on_epoch(self, trainer: "Trainer") -> None:
        """Begin to count the minutes."""
        self.saved = time.monotonic()

    def on_step(self, trainer: "Trainer", update: Update) -> None:
        """Save the state when it is time."""
        if time.monotonic() - self.saved > 60 * self.minutes > 0:
            self.save(trainer)

    def on_validate(self, trainer: "Trainer", entry: dict[str, Any]) -> None:
        """Save the weights if they are the best so far, and the state."""
        if entry["advice"] == "improved" and trainer.best is not None:
            save_weights(self.model_file, trainer.best)
        self.save(trainer)

    def on_end(self, trainer: "Trainer") -> None:
        """Save the state if it has changed."""
        if self.step != trainer.progress.step:
            self.save(trainer)

    def save(self, trainer: "Trainer") -> None:
        """Save everything that an exact continuation needs."""
        save_state(self.state_file, trainer.state_dict())
        self.saved, self.step = time.monotonic(), trainer.progress.step

    def resume(self, trainer: "Trainer") -> None:
        """Take up the last state and the best weights.

        Raises:
            UserError: there is no state, or it is damaged or of another training.
        """
        state = load_state(self.state_file)
        try:
            trainer.load_state_dict(state)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise UserError(
                f"{self.state_file}: not the state of this training ({type(error).__name__}); start anew with --overwrite"
            ) from None
        trainer.best = load_weights(self.model_file) if self.model_file.exists() else None
        self.step = trainer.progress.step


class MeanSpace(Callback):
    """Records the posterior-mean space of a scalar latent (He et al. 2019, section 3.2), one JSON object a record.

    Args:
        path: the file.
        corpus: the sentences that are recorded.
        every: steps between records.
        halves: record besides, in aggressive training, where the encoder's own steps lead before such a step.
    """

    def __init__(self, path: str | Path, corpus: Corpus, every: int, *, halves: bool = False) -> None:
        self.path, self.corpus, self.every, self.halves = Path(path), corpus, every, halves

    def on_epoch(self, trainer: "Trainer") -> None:
        """Record the beginning; drop records of later steps, as `Log` drops epochs."""
        keep_lines(self.path, "step", trainer.progress.step - (not trainer.progress.step))
        if not trainer.progress.step:
            self.record(trainer)

    def on_step(self, trainer: "Trainer", update: Update) -> None:
        """Record when it is time."""
        if trainer.progress.step % self.every == 0:
            self.record(trainer)

    def on_inner(self, trainer: "Trainer") -> None:
        """Record the half of a step, when it is time."""
        if self.halves and (trainer.progress.step + 1) % self.every == 0:
            self.record(trainer, half=True)

    def record(self, trainer: "Trainer", *, half: bool = False) -> None:
        """Append both means of every sentence; `half`: the decoder has not moved yet."""
        with evaluation_mode(trainer.model):
            means = posterior_means(trainer.model, self.corpus)
        points = {"model": means.model, "inference": means.inference}
        rounded = {name: [round(x, 5) for x in values.tolist()] for name, values in points.items()}
        append_line(self.path, {"step": trainer.progress.step + half, **rounded, **({"half": True} if half else {})})


class Progress(Callback):
    """Shows a bar of the whole training, and a line for every epoch, on stderr.

    Args:
        bar: to draw on; one of its own by default.
    """

    def __init__(self, bar: Bar | None = None) -> None:
        self.own = bar is None
        self.bar = bar or Bar()
        self.looks: list[Look] = []

    def on_epoch(self, trainer: "Trainer") -> None:
        """Name the epoch."""
        done, progress, epochs = trainer.progress.batch, trainer.progress, trainer.epochs
        total, passed = trainer.batches * epochs, trainer.batches * progress.epoch + done
        if self.own:
            self.bar.bar.start()
        if (self.bar.total, self.bar.done) != (total, passed):
            self.bar.begin("", total, passed)
        self.bar.rename(f"epoch {progress.epoch + 1} of {epochs}")

    def on_step(self, trainer: "Trainer", update: Update) -> None:
        """Move on by a step; show distortion and rate so far."""
        means = trainer.progress.means()
        self.bar.advance(f"distortion {means['distortion']:.2f}  rate {means['rate']:.3f}")

    def on_look(self, trainer: "Trainer", look: "Look") -> None:
        """Show the state of the space, and rate and MI of the last looks."""
        self.looks = [*self.looks, look][-RECENT:]
        rates, mis = ([getattr(one.health, name) for one in self.looks] for name in ("rate", "mi"))
        self.bar.note = (
            f"{look.diagnosis.state}   rate {sparkline(rates)} {rates[-1]:.2f}   MI {sparkline(mis)} {mis[-1]:.2f}   "
            f"z_use {look.health.z_use:.2f} nats   {look.health.au} of {look.health.latent} units   weight {look.weight:.2f}"
        )

    def on_validate(self, trainer: "Trainer", entry: dict[str, Any]) -> None:
        """Print the line of an epoch."""
        train, valid = entry["train"], entry["valid"]
        state = f"  {entry['monitor']['state']}" if "monitor" in entry else ""
        say(
            f"epoch {entry['epoch']:>3}  step {entry['step']:>6}  weight {entry['weight']:.3f}  "
            f"train distortion {train['distortion']:.2f} rate {train['rate']:.3f}  "
            f"valid nll_elbo {valid['nll_elbo']:.2f} rate {valid['rate']:.3f} mi {valid['mi']:.2f} au {valid['au']}  "
            f"{entry['seconds']:.1f} s{state}{ADVICE[entry['advice']]}"
        )
        aggressive = entry.get("aggressive")
        if aggressive and not aggressive["goes_on"]:
            change = f"MI {aggressive['mi_before']:.3f} -> {aggressive['mi_after']:.3f}"
            say(f"the aggressive phase ends after {trainer.phase.outer} outer steps ({change})")

    def on_end(self, trainer: "Trainer") -> None:
        """Take the bar away."""
        if self.own:
            self.bar.bar.stop()


def first_sentences(corpus: Corpus, count: int) -> Corpus:
    """Return the first sentences of a corpus."""
    return corpus.subset(np.arange(min(count, len(corpus))))
