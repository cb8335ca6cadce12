"""The corpus: sentences as flat arrays, and batches of them side by side."""

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
