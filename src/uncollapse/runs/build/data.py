"""From settings to the data: splits, and the pairs of forms."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, cast
import numpy as np
import torch
from torch import nn
from uncollapse.data.corpus import Corpus
from uncollapse.data.labels import UNLABELLED_DATA, LabelSpace
from uncollapse.data.pictures import load_pictures
from uncollapse.data.settings import DataConfig
from uncollapse.data.splits import EMBEDDED as EMBEDDED_TEXTS
from uncollapse.data.splits import Splits, load_splits
from uncollapse.data.vocabulary import Vocabulary
from uncollapse.distributions import divergences
from uncollapse.distributions.divergences import Divergence
from uncollapse.distributions.priors import LabelNormal, LengthMixture, Prior, StandardNormal, StandardT
from uncollapse.errors import UserError
from uncollapse.model import VAE
from uncollapse.nn.condition import Condition
from uncollapse.nn.decoders import (
    BagOfWords,
    BottleneckDecoder,
    ConvolutionalDecoder,
    RecurrentDecoder,
    initialise_all_orthogonal,
    initialise_lagging,
    initialise_orthogonal,
)
from uncollapse.nn.encoders import RecurrentEncoder
from uncollapse.nn.interfaces import Decoder, Encoder, NoEncoder
from uncollapse.nn.kinds import TextDecoderConfig
from uncollapse.nn.output import OutputLayer
from uncollapse.nn.pictures import Deconvolution, PixelCNN
from uncollapse.nn.resnet import ResNetEncoder
from uncollapse.nn.recurrent import LSTM
from uncollapse.extras import MMD, BagOfWordsLoss
from uncollapse.objectives import Extra, Objective, Penalty
from uncollapse.runs.checks import validate
from uncollapse.runs.config import Config
from uncollapse.runs.folder import RunFolder
from uncollapse.runs.sections import ObjectiveConfig
from uncollapse.schedules import Clock, Schedule, parse
from uncollapse.tasks.forms.consistency import FormConsistency, Translation
from uncollapse.tasks.forms.conversions import transfer_metrics
from uncollapse.tasks.forms.lab import lab_scores
from uncollapse.tasks.forms.morphology import verbs
from uncollapse.tasks.forms.pairs import Pair, pairs_file, read_pairs
from uncollapse.training.fit import Measure


EMBEDDED = {**EMBEDDED_TEXTS, "verbs": verbs}
"""Embedded corpora of text, by name."""


def build_splits(
    settings: DataConfig,
    vocabulary: Vocabulary | None = None,
    space: LabelSpace | None = None,
    *,
    cache: Path | None = None,
) -> Splits:
    """Read the data; with the vocabulary and labels of a finished run, or those built from the data.

    What is too large to be held is encoded into the folder `cache`, once.
    """
    if settings.level == "pixel":
        for name in ("valid", "test", "columns", "pairs", "vocab_from"):
            if getattr(settings, name):
                raise UserError(
                    f"data.{name}: is for text; pictures have their parts in one file or folder (data.path)"
                )
        return load_pictures(settings, space)
    if settings.name == "strokes":
        raise UserError("data.name strokes: the data are pictures; add --data.level pixel, or take --recipe strokes")
    if settings.vocab_from and vocabulary is None:
        vocabulary = RunFolder(Path(settings.vocab_from)).vocabulary()
        if settings.level not in (vocabulary.level, "auto") or vocabulary.lowercase != settings.lowercase:
            raise UserError(
                f"data.vocab_from: the vocabulary of {settings.vocab_from} has data.level {vocabulary.level} and "
                f"data.lowercase {vocabulary.lowercase}, asked for were {settings.level} and {settings.lowercase}"
            )
    kept = {form for pair in read_lab_pairs(settings) for form in (pair.word, pair.reference)}
    return load_splits(settings, EMBEDDED, kept, vocabulary=vocabulary, space=space, cache=cache)


def read_lab_pairs(settings: DataConfig) -> list[Pair]:
    """Return the pairs of forms that the settings name, or none."""
    if not settings.pairs:
        return []
    return read_pairs(pairs_file(Path(settings.path), settings.pairs), settings.directions)
