"""Pictures: from intensities to a corpus.

A picture is a sentence of side x side tokens, ink or paper, written line by line; its EOS is certain and costs nothing. So
pictures go through the same corpus, loop, evaluation and decoding as words.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import isqrt
from pathlib import Path

import numpy as np
import torch

from uncollapse.data.corpus import Batch, Corpus
from uncollapse.data.labels import LabelSpace
from uncollapse.data.picture_arrays import validate_count
from uncollapse.data.picture_files import Intensities, read_pictures
from uncollapse.data.settings import DataConfig
from uncollapse.data.splits import PARTS, Splits
from uncollapse.data.strokes import strokes
from uncollapse.data.vocabulary import INK, PAPER, PIXELS
from uncollapse.errors import UserError

STROKES = (2000, 500, 500)


@dataclass(frozen=True)
class Pictures(Corpus):
    """A corpus of pictures, binarised once; where `ink` is given, batches for training are drawn anew.

    Attributes:
        ink: intensities that every training batch draws its pixels from anew (dynamic binarisation), `[N, side * side]`, or None.
    """

    ink: np.ndarray | None = None

    def training_batch(self, indices: np.ndarray) -> Batch:
        """Put the pictures at `indices` side by side, dynamic ones drawn anew by torch's own random state."""
        batch = self.batch(indices)
        if self.ink is None:
            return batch
        drawn = torch.bernoulli(torch.from_numpy(self.ink[batch.index])).long()
        return replace(batch, tokens=torch.cat([batch.tokens[:, :1], drawn + PAPER, batch.tokens[:, -1:]], 1))

    def subset(self, indices: np.ndarray) -> Corpus:
        """Return the pictures at `indices`, in that order."""
        taken = super().subset(indices)
        ink = None if self.ink is None else self.ink[indices]
        return Pictures(taken.flat, taken.offsets, PIXELS, taken.labels, taken.label_names, taken.rows, ink=ink)


def binarise(intensities: Intensities, space: LabelSpace, seed: list[int], *, dynamic: bool) -> Pictures:
    """Return the corpus of some pictures: each pixel is ink with the probability that its intensity says."""
    flat = intensities.ink.reshape(len(intensities.ink), -1).astype(np.float32)
    drawn = np.random.default_rng(seed).random(flat.shape, dtype=np.float32) < flat
    offsets = np.arange(len(flat) + 1, dtype=np.int64) * flat.shape[1]
    labels = {name: space.ids(name, values) for name, values in intensities.labels.items() if name in space.names}
    return Pictures(
        np.where(drawn, INK, PAPER).astype(np.int32).reshape(-1),
        offsets,
        PIXELS,
        labels,
        dict(space.names),
        ink=flat if dynamic else None,
    )


def load_pictures(settings: DataConfig, space: LabelSpace | None = None) -> Splits:
    """Read or make the pictures that settings name, with the labels of a finished run where they are given.

    Raises:
        UserError: no source or two, and whatever the readers refuse.
    """
    name, path, side, seed = settings.name, settings.path, settings.side, settings.seed
    if bool(name) == bool(path) or name not in ("", "strokes"):
        raise UserError(f"pictures: expected --data.path FILE or --data.name strokes, got {name or path or 'neither'}")
    parts, messages = (
        (stroke_parts(side, settings.sentences, seed), [])
        if name
        else read_pictures(Path(path), side, settings.held_out, seed=seed)
    )
    known = {
        field: tuple(sorted({v for part in parts.values() for v in part.labels[field]}))
        for field in parts["train"].labels
    }
    space = LabelSpace({**known, **(space.names if space else {})})
    made = {
        part: binarise(parts[part], space, [seed, number, 7], dynamic=settings.dynamic and part == "train")
        for number, part in enumerate(PARTS)
    }
    return Splits(made["train"], made["valid"], made["test"], {}, tuple(messages))


def stroke_parts(side: int, sentences: int, seed: int) -> dict[str, Intensities]:
    """Draw the three parts of the embedded pictures; `sentences` of the training part, 0 for its own number.

    Raises:
        UserError: as `validate_count`.
    """
    counts = (sentences or STROKES[0], *STROKES[1:])
    validate_count(counts[0], side, "data.sentences")
    return {
        part: Intensities(*strokes(n, side, [seed, i])) for i, (part, n) in enumerate(zip(PARTS, counts, strict=True))
    }


def arrays_of(texts: Iterable[str]) -> np.ndarray:
    """Return pictures as an array of 0 and 1, `[N, side, side]`, of pictures as text (rows of `#` and `·`)."""
    rows = [PIXELS.encode(text) for text in texts]
    side = isqrt(len(rows[0])) if rows else 0
    return (np.array(rows) == INK).astype(np.uint8).reshape(-1, side, side)


def texts_of(pictures: np.ndarray) -> list[str]:
    """Return pictures `[N, side, side]` as text; a pixel is ink from 0.5."""
    ids = np.where(np.asarray(pictures).reshape(len(pictures), -1) >= 0.5, INK, PAPER)
    return [PIXELS.decode(row) for row in ids.tolist()]
