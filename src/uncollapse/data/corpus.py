"""The corpus: sentences as flat arrays, and the batches made of them."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from uncollapse.data.encoding import encode
from uncollapse.data.vocabulary import BOS, EOS, PAD, UNK, Vocabulary
from uncollapse.parallel import WHOLE, Shard

Labels = dict[str, np.ndarray]

PIECE, BLOCK = 2**10, 2**20
"""Sentences of a large corpus that are read together, and that are shuffled together."""
MAPPED = 2**22
"""Tokens that are looked at together where all are looked at: those of a large corpus lie in a file."""


@dataclass(frozen=True)
class Batch:
    """Sentences side by side, padded on the right.

    Attributes:
        tokens: ids from BOS to EOS, then pads, `[B, T]`.
        lengths: predicted tokens of each sentence (EOS counted, BOS not), `[B]`.
        index: position of each sentence in its corpus, `[B]`.
        labels: for each label field, the class of each sentence, `[B]`.
        padded: whether there are pads; where there may be some, yes.
        shard: the part of a joined batch that these sentences are, in a training in several processes.
    """

    tokens: Tensor
    lengths: Tensor
    index: np.ndarray
    labels: dict[str, Tensor] = field(default_factory=dict)
    padded: bool = True
    shard: Shard = WHOLE

    def __len__(self) -> int:
        """Return the number of sentences B."""
        return len(self.tokens)

    @property
    def inputs(self) -> Tensor:
        """Return the inputs of the decoder: BOS and all tokens but EOS, `[B, T - 1]`."""
        return self.tokens[:, :-1]

    @property
    def targets(self) -> Tensor:
        """Return what the decoder predicts: all tokens and EOS, `[B, T - 1]`."""
        return self.tokens[:, 1:]

    @property
    def mask(self) -> Tensor:
        """Return 1 where there is a target and 0 where there is a pad, `[B, T - 1]`."""
        return self.targets != PAD

    @property
    def predicted(self) -> int:
        """Return how many tokens are predicted in all."""
        return int(self.lengths.sum())

    def part(self, shard: Shard) -> "Batch":
        """Return the share of one of several processes."""
        rows = shard.rows
        lengths, labels = self.lengths[rows], {name: classes[rows] for name, classes in self.labels.items()}
        tokens = self.tokens[rows, : int(lengths.max()) + 1]
        return Batch(tokens, lengths, self.index[rows], labels, self.padded, shard)

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch on another device."""
        labels = {name: classes.to(device) for name, classes in self.labels.items()}
        return replace(self, tokens=self.tokens.to(device), lengths=self.lengths.to(device), labels=labels)


@dataclass(frozen=True)
class Corpus:
    """One split of a data set.

    Attributes:
        flat: all token ids, sentence after sentence, without BOS and EOS, `[tokens]`; of a large file, mapped from a cache.
        offsets: where each sentence begins, and the end, `[sentences + 1]`.
        vocabulary: what the ids mean.
        labels: for each label field, the class of every sentence `[sentences]`.
        label_names: for each label field, the names of its classes.
        rows: for each sentence the row of parallel forms that it stands in, `[sentences]`; empty where there are no such rows.
        left_out: sentences not here because they were longer than the limit.
    """

    flat: np.ndarray
    offsets: np.ndarray
    vocabulary: Vocabulary
    labels: Labels = field(default_factory=dict)
    label_names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    rows: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    left_out: int = 0

    @staticmethod
    def from_texts(texts: Iterable[str], vocabulary: Vocabulary) -> "Corpus":
        """Encode texts."""
        flat, offsets, _ = encode(texts, vocabulary, sys.maxsize)
        return Corpus(flat, offsets, vocabulary)

    @staticmethod
    def from_ids(sentences: Iterable[Sequence[int] | np.ndarray], vocabulary: Vocabulary) -> "Corpus":
        """Take sentences as token ids, without BOS and EOS."""
        pieces = [np.asarray(ids, dtype=np.int32) for ids in sentences]
        flat = np.concatenate(pieces) if pieces else np.zeros(0, np.int32)
        return Corpus(flat, np.cumsum([0, *map(len, pieces)], dtype=np.int64), vocabulary)

    def __len__(self) -> int:
        """Return the number of sentences."""
        return len(self.offsets) - 1

    @cached_property
    def lengths(self) -> np.ndarray:
        """Return the predicted tokens of every sentence (EOS counted), `[sentences]`."""
        return np.diff(self.offsets) + 1

    @property
    def predicted(self) -> int:
        """Return the predicted tokens of the corpus: every token and an EOS a sentence."""
        return len(self.flat) + len(self)

    @property
    def unknown(self) -> int:
        """Return how many tokens are unknown."""
        return sum(int((self.flat[i : i + MAPPED] == UNK).sum()) for i in range(0, len(self.flat), MAPPED))

    def ids(self, i: int) -> np.ndarray:
        """Return the token ids of sentence `i`."""
        return self.flat[self.offsets[i] : self.offsets[i + 1]]

    def text(self, i: int) -> str:
        """Return sentence `i` as its tokens read back."""
        return self.vocabulary.decode(self.ids(i))

    def texts(self, indices: Iterable[int] | None = None) -> list[str]:
        """Return sentences as text, all by default."""
        return [self.text(i) for i in (range(len(self)) if indices is None else indices)]

    def batch(self, indices: Sequence[int] | np.ndarray) -> Batch:
        """Put the sentences at `indices` side by side."""
        index = np.asarray(indices, dtype=np.int64)
        lengths = self.lengths[index]
        tokens = np.full((len(index), lengths.max() + 1), PAD, dtype=np.int64)
        tokens[:, 0] = BOS
        column = np.arange(tokens.shape[1])
        inside = (column >= 1) & (column < lengths[:, None])
        source = self.offsets[index][:, None] + column - 1
        tokens[inside] = self.flat[source[inside]]
        tokens[np.arange(len(index)), lengths] = EOS
        labels = self.classes(index)
        padded = lengths.min() + 1 < tokens.shape[1]
        return Batch(torch.from_numpy(tokens), torch.from_numpy(lengths), index, labels, bool(padded))

    def classes(self, indices: np.ndarray, changed: Mapping[str, int] = {}) -> dict[str, Tensor]:
        """Return the classes of some sentences in every label field, some fields set to one class."""
        labels = {name: torch.from_numpy(classes[indices]) for name, classes in self.labels.items()}
        return labels | {name: torch.full((len(indices),), value) for name, value in changed.items()}

    def training_batch(self, indices: np.ndarray) -> Batch:
        """Put the sentences at `indices` side by side, to learn from them; a corpus may draw them anew each time."""
        return self.batch(indices)

    @cached_property
    def _members(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return sentences sorted by row, and for each sentence its row's number, the first member's place and their count."""
        by_row = np.argsort(self.rows, kind="stable")
        _, row, count = np.unique(self.rows, return_inverse=True, return_counts=True)
        return by_row, row, np.cumsum(count) - count, count

    def siblings(self, indices: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """Return for each sentence one of the forms of its row (perhaps itself), by a number in [0, 1) each."""
        by_row, row, first, count = self._members
        return by_row[first[row[indices]] + (uniform * count[row[indices]]).astype(np.int64)]

    @property
    def form_field(self) -> str:
        """Return the label field that tells the forms of a row apart; empty where there are no rows."""
        return next(iter(self.labels), "") if len(self.rows) else ""

    @cached_property
    def forms(self) -> np.ndarray:
        """Return the sentences of every complete row of parallel forms, by their class, `[rows, classes]`; no rows: `[0, 0]`."""
        if not self.form_field:
            return np.zeros((0, 0), np.int64)
        _, row = np.unique(self.rows, return_inverse=True)
        table = np.full((row.max() + 1, len(self.label_names[self.form_field])), -1, dtype=np.int64)
        table[row, self.labels[self.form_field]] = np.arange(len(self))
        return table[(table >= 0).all(1)]

    def first(self, count: int) -> "Corpus":
        """Return the corpus of the first sentences, at most so many."""
        return self.subset(np.arange(min(count, len(self))))

    def subset(self, indices: np.ndarray) -> "Corpus":
        """Return the corpus of the sentences at `indices`, in that order."""
        labels = {name: values[indices] for name, values in self.labels.items()}
        rows = self.rows[indices] if len(self.rows) else self.rows
        taken = Corpus.from_ids((self.ids(int(i)) for i in indices), self.vocabulary)
        return replace(taken, labels=labels, label_names=self.label_names, rows=rows)


def shuffled_batches(lengths: np.ndarray, batch_size: int, seed: int, *, epoch: int) -> list[np.ndarray]:
    """Return the batches of one epoch: every sentence once, those of a batch of equal or nearly equal length.

    A pure function of its arguments, so that an interrupted epoch can be taken up at any batch.
    """
    return _shuffled(lengths, batch_size, np.random.default_rng([seed, epoch]))


def _shuffled(lengths: np.ndarray, batch_size: int, random: np.random.Generator) -> list[np.ndarray]:
    mixed = random.permutation(len(lengths))
    by_length = mixed[np.argsort(lengths[mixed], kind="stable")]
    batches = [by_length[i : i + batch_size] for i in range(0, len(by_length), batch_size)]
    return [batches[i] for i in random.permutation(len(batches))]


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
            batches = [index[batch] for batch in _shuffled(self.lengths[index], self.batch_size, random)]
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
    by_length = np.argsort(-lengths, kind="stable")
    return [by_length[i : i + batch_size] for i in range(0, len(by_length), batch_size)]
