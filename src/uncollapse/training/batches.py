"""The batches of an epoch."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from uncollapse.data.corpus import BLOCK, Batch, BlockBatches, Corpus, shuffled_batches

Epochs = Callable[[int], Iterable[Batch]]
"""From the number of an epoch to its batches. The same number gives the same batches, so that a training can be resumed."""


class EpochBatches(Sequence[Batch]):
    """The batches of one epoch of a corpus, each made when it is asked for."""

    def __init__(self, corpus: Corpus, batch_size: int, seed: int, epoch: int, most: int) -> None:
        large = len(corpus) > 2 * BLOCK
        shuffled = partial(BlockBatches if large else shuffled_batches, corpus.lengths, batch_size, seed)
        self.corpus, self.order = corpus, shuffled(epoch=epoch)
        self.most = most or len(self.order)

    def __len__(self) -> int:
        """Return how many."""
        return min(self.most, len(self.order))

    def __getitem__(self, i: int) -> Batch:  # type: ignore[override]
        """Return one.

        Raises:
            IndexError: there are fewer.
        """
        if not 0 <= i < len(self):
            raise IndexError(i)
        return self.corpus.training_batch(self.order[i])


def batches_of(corpus: Corpus, batch_size: int, seed: int, *, most: int = 0) -> Epochs:
    """Return the epochs of a corpus: every sentence once, in a new order each time, those of a batch of nearly equal length.

    Args:
        corpus: the training split.
        batch_size: sentences of a batch.
        seed: of the order.
        most: batches of an epoch; 0 for the whole corpus.
    """
    return lambda epoch: EpochBatches(corpus, batch_size, seed, epoch, most)
