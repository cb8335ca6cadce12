"""Files that a training writes: its log, checkpoints, records of the posterior-mean space."""

import re
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from uncollapse.data.corpus import Corpus
from uncollapse.errors import UserError, suggest
from uncollapse.evaluation.mean_space import posterior_means
from uncollapse.files import append_line, keep_lines
from uncollapse.model import evaluation_mode
from uncollapse.training.callbacks.base import Callback
from uncollapse.training.progress import Update
from uncollapse.training.states import (
    AUTOENCODER,
    PRIOR,
    STATE,
    WEIGHTS,
    load_state,
    load_weights,
    save_state,
    save_weights,
)

if TYPE_CHECKING:
    from uncollapse.training.fit import Trainer


KEPT = "kept"
"""The folder of weights that were kept."""


class Log(Callback):
    """Appends the entry of every epoch to a file, one JSON object a line.

    Entries of epochs that this training has not reached are dropped: an interrupted training may have logged more than it saved.

    Args:
        path: the file.
        about: is added to every entry.
    """

    def __init__(self, path: str | Path, about: Mapping[str, Any] = MappingProxyType({})) -> None:
        self.path, self.about = Path(path), about

    def on_epoch(self, trainer: "Trainer") -> None:
        """Drop later epochs."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        keep_lines(self.path, "epoch", trainer.progress.epoch)

    def on_validate(self, trainer: "Trainer", entry: dict[str, Any]) -> None:
        """Append the entry."""
        append_line(self.path, {**entry, **self.about})


class Checkpoint(Callback):
    """Keeps the best weights, `model.safetensors`, and the last state, `state/last.pt`, in a folder.

    While the model is an autoencoder its best weights belong to the state, `state/autoencoder.safetensors`: they are no run yet.

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

    def _best_file(self, pretraining: bool) -> Path:
        return self.path / AUTOENCODER if pretraining else self.model_file

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
            save_weights(self._best_file("pretraining" in entry), trainer.best)
            (self.path / PRIOR).unlink(missing_ok=True)  # fitted to the codes of the weights before
        self.save(trainer)

    def on_end(self, trainer: "Trainer") -> None:
        """Save the state if it has changed; that of a step that failed is no good."""
        if self.step != trainer.progress.step and not trainer.failed:
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
        best = self._best_file(trainer.pretraining)
        trainer.best = load_weights(best) if best.exists() else None
        self.step = trainer.progress.step


class MeanSpace(Callback):
    """Records the posterior-mean space of a scalar latent (He et al. 2019, section 3.2), one JSON object a record.

    Args:
        path: the file.
        corpus: the sentences that are recorded.
        every: steps between records.
        halves: in aggressive training, also record between the encoder's own steps and the decoder's.
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


class Keep(Callback):
    """Keeps the weights of every epoch that reaches a value on validation.

    The files are `kept/EPOCH-NAME-VALUE.safetensors`, such as `kept/0012-mi-4.310.safetensors`.

    Args:
        path: the folder of the run.
        condition: such as `mi>=4` or `nll_elbo<=105`, of a number of the log's `valid`.

    Raises:
        UserError: a condition of another form.
    """

    def __init__(self, path: str | Path, condition: str) -> None:
        self.path = Path(path) / KEPT
        self.name, self.sign, self.value = read_condition(condition)

    def on_measure(self, trainer: "Trainer", entry: dict[str, Any]) -> None:
        """Save the weights where the value is reached."""
        if self.name not in entry["valid"]:
            raise UserError(f"train.keep: {suggest(self.name, entry['valid'])}")
        value = entry["valid"][self.name]
        if self.sign * (value - self.value) >= 0:
            file = self.path / f"{entry['epoch']:04d}-{self.name}-{value:.3f}.safetensors"
            save_weights(file, {name: tensor.detach().cpu() for name, tensor in trainer.model.state_dict().items()})


def read_condition(text: str, option: str = "train.keep") -> tuple[str, int, float]:
    """Return a number's name, 1 for a lower bound and -1 for an upper one, and the bound, of `mi>=4`.

    Raises:
        UserError: text of another form.
    """
    match = re.fullmatch(r"\s*(\w+)\s*(>=|<=)\s*(-?\d+(?:\.\d*)?(?:[eE]-?\d+)?)\s*", text)
    if not match:
        raise UserError(f"{option}: expected a condition such as mi>=4 or nll_elbo<=105, got {text!r}")
    return match[1], 1 if match[2] == ">=" else -1, float(match[3])
