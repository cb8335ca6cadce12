"""What a training does beside its objective."""

from collections.abc import Callable

from torch import Tensor

from uncollapse.data.corpus import Batch, Corpus
from uncollapse.model import VAE


class Task:
    """The plain task: each sentence is decoded from its own code, and nothing else is learned or measured."""

    settles: float = 0.0
    """The step from which no schedule of the task changes any more."""

    def target(self, batch: Batch) -> Batch:
        """Return what is decoded from the code of each sentence of a batch."""
        return batch

    def extra(self, model: VAE, count: int, step: int) -> Callable[[], Tensor] | None:
        """Draw what an extra loss is made of; return the function that computes it, or None for no extra loss.

        Args:
            model: in training mode.
            count: sentences of the batch.
            step: counted from the beginning of the schedules.
        """

    def measure(self, model: VAE, corpus: Corpus, rows: int | None = None) -> dict[str, float]:
        """Return the task's own numbers on a split, of its first rows; all by default."""
        return {}
