"""What every callback may do."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from uncollapse.training.progress import Update

if TYPE_CHECKING:
    from uncollapse.training.callbacks.monitor import Look
    from uncollapse.training.fit import Trainer


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

    def on_measure(self, trainer: "Trainer", entry: dict[str, Any]) -> None:
        """Run after the validation that ends an epoch, with the weights that were validated; `entry` is its entry in the log.

        After it the plateau rule may load the best weights back, and the end of pretraining makes the decoder anew.
        """

    def on_validate(self, trainer: "Trainer", entry: dict[str, Any]) -> None:
        """Run when an epoch is over: the weights are those that the next one begins with."""

    def on_end(self, trainer: "Trainer") -> None:
        """Run when training ends, is asked to stop, or fails (`trainer.failed`)."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training needs."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a state."""
