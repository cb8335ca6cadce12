"""The progress of a training, on stderr."""

from typing import TYPE_CHECKING, Any

from uncollapse.messages import Bar, say, sparkline
from uncollapse.training.callbacks.base import Callback
from uncollapse.training.progress import Update

if TYPE_CHECKING:
    from uncollapse.training.callbacks.monitor import Look
    from uncollapse.training.fit import Trainer

ADVICE = {
    "improved": "",
    "wait": "  (no better)",
    "decay": "  (best reloaded, the learning rate falls)",
    "stop": "  (stopped)",
}
PRETRAINED = "  (pretraining ends: its best encoder stays, all else is made anew)"
RECENT = 24
"""Looks of the monitor that are drawn."""


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
        done, progress, epochs = trainer.progress.batch, trainer.progress, trainer.last_epoch
        total, passed = trainer.batches * epochs, trainer.batches * progress.epoch + done
        if self.own:
            self.bar.bar.start()
        if (self.bar.total, self.bar.done) != (total, passed):
            self.bar.begin("", total, passed)
        self.bar.rename(f"epoch {progress.epoch + 1} of {epochs}")

    def on_step(self, trainer: "Trainer", update: Update) -> None:
        """Move on by a step; show distortion and rate so far, and whether the slow steps of an aggressive phase last."""
        means = trainer.progress.means()
        phase = "  aggressive" if trainer.phase.on and not trainer.pretraining else ""
        self.bar.advance(f"distortion {means['distortion']:.2f}  rate {means['rate']:.3f}{phase}")

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
        advice = ADVICE[entry["advice"]]
        if "pretraining" in entry:
            advice = f"  (pretraining){advice}" if trainer.pretraining else PRETRAINED
        say(
            f"epoch {entry['epoch']:>3}  step {entry['step']:>6}  weight {entry['weight']:.3f}  "
            f"train distortion {train['distortion']:.2f} rate {train['rate']:.3f}  "
            f"valid nll_elbo {valid['nll_elbo']:.2f} rate {valid['rate']:.3f} mi {valid['mi']:.2f} au {valid['au']}  "
            f"{entry['seconds']:.1f} s{state}{advice}"
        )
        aggressive = entry.get("aggressive")
        if aggressive and not aggressive["goes_on"]:
            change = f"MI {aggressive['mi_before']:.3f} -> {aggressive['mi_after']:.3f}"
            say(f"the aggressive phase ends after {trainer.phase.outer} outer steps ({change})")

    def on_end(self, trainer: "Trainer") -> None:
        """Take the bar away."""
        if self.own:
            self.bar.bar.stop()
