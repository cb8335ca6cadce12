"""From settings to objects: the only place where names become objects."""

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


