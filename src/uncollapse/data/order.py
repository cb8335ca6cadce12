"""The order of sentences: which make a batch, and which batch comes when."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

PIECE, BLOCK = 2**10, 2**20
"""Sentences of a large corpus that are read together, and that are shuffled together."""
Order = Literal["similar", "equal", "random", "sorted"]
"""What the sentences of a batch have in common: see `shuffled_batches`."""


def shuffled_batches(
    lengths: np.ndarray, batch_size: int, seed: int, *, epoch: int, order: Order = "similar"
) -> list[np.ndarray]:
    """Return the batches of one epoch: every sentence once.

    A pure function of its arguments, so that an interrupted epoch can be taken up at any batch.

    Args:
        lengths: of the sentences, `[N]`.
        batch_size: most sentences of a batch.
        seed: of the order.
        epoch: its number.
        order: of a batch: `similar`: sentences of equal or nearly equal length, other ones in every epoch; `equal`: of one
            length, the same in every epoch, and what is left of a length makes a smaller batch (He et al. 2019); `random`: any.
            The batches come in a random order, but for `sorted`: from the shortest sentences to the longest (Li et al. 2020).
    """
    random = np.random.default_rng([seed, epoch])
    if order == "sorted":
        return _cut(np.argsort(lengths, kind="stable"), batch_size)
    if order == "random":
        return _cut(random.permutation(len(lengths)), batch_size)
    if order == "equal":
        by_length = np.argsort(lengths, kind="stable")
        ends = np.flatnonzero(np.diff(lengths[by_length])) + 1
        return _mixed([batch for one in np.split(by_length, ends) for batch in _cut(one, batch_size)], random)
    return _similar(lengths, batch_size, random)


def batches_an_epoch(lengths: np.ndarray, batch_size: int, order: Order = "similar") -> int:
    """Return how many batches `shuffled_batches` makes."""
    of_one_length = np.unique(lengths, return_counts=True)[1] if order == "equal" else np.array([len(lengths)])
    return int((-(-of_one_length // batch_size)).sum())


def _cut(sentences: np.ndarray, batch_size: int) -> list[np.ndarray]:
    return [sentences[i : i + batch_size] for i in range(0, len(sentences), batch_size)]


def _mixed(batches: list[np.ndarray], random: np.random.Generator) -> list[np.ndarray]:
    return [batches[i] for i in random.permutation(len(batches))]


def _similar(lengths: np.ndarray, batch_size: int, random: np.random.Generator) -> list[np.ndarray]:
    mixed = random.permutation(len(lengths))
    return _mixed(_cut(mixed[np.argsort(lengths[mixed], kind="stable")], batch_size), random)


class BlockBatches(Sequence[np.ndarray]):
    """The batches of one epoch of a large corpus, whose sentences are shuffled a block at a time.

    A block is a thousand pieces of a thousand sentences each, drawn from the whole corpus; within it the order is that of
    `shuffled_batches`, and what is left over of all blocks makes the last batches. So memory is bounded by a block, and the order
    is a pure function of the arguments, whoever reads it.
    """

    def __init__(self, lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> None:
        self.lengths, self.batch_size, self.seed = lengths, batch_size, [seed, epoch]
        pieces = np.random.default_rng(self.seed).permutation(-(-len(lengths) // PIECE))
        self.blocks = np.array_split(pieces, -(-len(pieces) // (BLOCK // PIECE)))
        parts = [self._parts(block) for block in range(len(self.blocks))]
        self.ends = np.cumsum([len(whole) // batch_size for whole, _ in parts])
        self.left = np.concatenate([left for _, left in parts])
        self.held: dict[int, list[np.ndarray]] = {}

    def __len__(self) -> int:
        """Return how many."""
        return -(-len(self.lengths) // self.batch_size)

    def __getitem__(self, i: int) -> np.ndarray:  # type: ignore[override]
        """Return the sentences of one, `[batch_size]`.

        Raises:
            IndexError: there are fewer.
        """
        if not 0 <= i < len(self):
            raise IndexError(i)
        block = int(np.searchsorted(self.ends, i, side="right"))
        if block == len(self.blocks):
            first = (i - int(self.ends[-1])) * self.batch_size
            return self.left[first : first + self.batch_size]
        if block not in self.held:
            index, _ = self._parts(block)
            random = np.random.default_rng([*self.seed, block])
            batches = [index[batch] for batch in _similar(self.lengths[index], self.batch_size, random)]
            self.held = {**dict(list(self.held.items())[-1:]), block: batches}  # the last two
        return self.held[block][i - int(self.ends[block])]

    def _parts(self, block: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the sentences of the whole batches of a block, and those left over."""
        every = (self.blocks[block][:, None] * PIECE + np.arange(PIECE)).ravel()
        every = every[every < len(self.lengths)]
        whole = len(every) // self.batch_size * self.batch_size
        return every[:whole], every[whole:]


def ordered_batches(lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Return batches of nearly equal length in a fixed order, the longest first (so that memory peaks at once)."""
    return _cut(np.argsort(-lengths, kind="stable"), batch_size)
