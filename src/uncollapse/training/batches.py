"""The batches of an epoch."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from uncollapse.data.corpus import Batch, Corpus
from uncollapse.data.order import BLOCK, BlockBatches, Order, batches_an_epoch, shuffled_batches
from uncollapse.errors import UserError

Epochs = Callable[[int], Iterable[Batch]]
"""From the number of an epoch to its batches. The same number gives the same batches, so that a training can be resumed."""


class EpochBatches(Sequence[Batch]):
    """The batches of one epoch of a corpus, each made when it is asked for."""

    def __init__(
        self, corpus: Corpus, batch_size: int, seed: int, epoch: int, most: int, order: Order = "similar"
    ) -> None:
        large = len(corpus) > 2 * BLOCK
        shuffled = BlockBatches if large else partial(shuffled_batches, order=order)
        self.corpus, self.order = corpus, shuffled(corpus.lengths, batch_size, seed, epoch=epoch)
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


def batches_of(corpus: Corpus, batch_size: int, seed: int, *, most: int = 0, order: Order = "similar") -> Epochs:
    """Return the epochs of a corpus: every sentence once, in an order of its own each time.

    Args:
        corpus: the training split.
        batch_size: sentences of a batch.
        seed: of the order.
        most: batches of an epoch; 0 for the whole corpus.
        order: which sentences make a batch: see `data.order.shuffled_batches`.

    Raises:
        UserError: an order that a corpus of millions of sentences cannot have, or a part of sorted batches.
    """
    if order != "similar" and len(corpus) > 2 * BLOCK:
        raise UserError(
            f"train.batches {order}: for at most {2 * BLOCK:,} sentences, got {len(corpus):,}; take similar"
        )
    if order == "sorted" and 0 < most < batches_an_epoch(corpus.lengths, batch_size):
        raise UserError(
            f"train.batches sorted: the first {most} batches are the shortest sentences; take similar, or leave out "
            "train.steps_per_epoch"
        )
    return lambda epoch: EpochBatches(corpus, batch_size, seed, epoch, most, order)
