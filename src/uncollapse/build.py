"""From settings to objects: the only place where names become objects."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch

from uncollapse import divergences
from uncollapse.config import Config, DataConfig, ModelConfig, ObjectiveConfig
from uncollapse.data.splits import Splits, load_splits
from uncollapse.data.vocabulary import Vocabulary
from uncollapse.errors import UserError
from uncollapse.latent import LengthMixture, Prior, StandardNormal, StandardT
from uncollapse.model import VAE
from uncollapse.nn.decoders import (
    BagOfWords,
    ConvolutionalDecoder,
    RecurrentDecoder,
    TextDecoder,
    initialise_lagging,
)
from uncollapse.nn.encoders import RecurrentEncoder
from uncollapse.nn.interfaces import NoEncoder
from uncollapse.objectives import Divergence, Objective
from uncollapse.run import RunFolder
from uncollapse.schedules import Clock, constant, linear, parse

SHARES = {"last": 0.0, "25%": 0.25, "50%": 0.5, "75%": 0.75, "all": 1.0}
ADDITIVE = ("kl", "renyi")
"""The divergences that are sums over dimensions."""


def build_splits(settings: DataConfig, vocabulary: Vocabulary | None = None) -> Splits:
    """Read the data; with the vocabulary of a finished run, or one built from the training split."""
    return load_splits(**asdict(settings), vocabulary=vocabulary)


def build_model(config: Config, vocabulary_size: int, lengths: np.ndarray | None = None) -> VAE:
    """Build a network with fresh weights; the same seed gives the same weights, whatever was drawn before.

    Args:
        config: the settings of the run.
        vocabulary_size: tokens V.
        lengths: encoder inputs of every training sentence, which the prior of a mean or sum needs; None where the weights will
            be loaded.

    Raises:
        UserError: settings that exclude each other.
    """
    refuse_impossible(config)
    settings, objective = config.model, config.objective
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        encoder = (
            RecurrentEncoder(
                vocabulary_size,
                settings.emb,
                settings.hidden,
                settings.latent,
                settings.encoder,
                settings.decode,
                objective.where != "last",
                settings.bn,
                objective.df if objective.divergence == "gamma" else 0.0,
            )
            if settings.latent
            else NoEncoder()
        )
        decoder = build_decoder(settings, vocabulary_size)
        words = (
            BagOfWords(vocabulary_size, settings.hidden, settings.latent) if objective.bow and settings.latent else None
        )
        model = VAE(encoder, decoder, settings.latent, build_prior(config, lengths), words)
        if settings.init == "lagging":
            initialise_lagging(model)
    return model


def build_decoder(settings: ModelConfig, vocabulary_size: int) -> TextDecoder:
    """Build the decoder that the settings name."""
    kind: Callable[..., TextDecoder] = (
        partial(ConvolutionalDecoder, context=settings.context)
        if settings.decoder == "cnn"
        else partial(RecurrentDecoder, cell=settings.decoder)
    )
    return kind(
        vocabulary_size,
        settings.emb,
        settings.hidden,
        settings.latent,
        dropout_in=settings.dropout_in,
        dropout_out=settings.dropout_out,
        word_dropout=settings.word_dropout,
        skip=settings.skip and settings.latent > 0,
    )


def build_prior(config: Config, lengths: np.ndarray | None) -> Prior:
    """Build p(z): N(0, I), the t that goes with t posteriors, or the length mixture of a mean or sum over timesteps."""
    latent, decode = config.model.latent, config.model.decode
    if latent and config.objective.divergence == "gamma":
        return StandardT(latent, config.objective.df)
    if not latent or decode == "last":
        return StandardNormal(latent)
    longest = config.data.max_length + 2  # BOS and EOS are inputs of the encoder
    counts = np.bincount(np.zeros(0, int) if lengths is None else lengths, minlength=longest + 1)[1:] + 0.0
    total = counts.sum() or 1.0
    every = np.arange(1.0, len(counts) + 1)
    scales = 1 / every if decode == "mean" else every
    return LengthMixture(latent, scales.tolist(), np.maximum(counts / total, 1e-30).tolist())


def refuse_impossible(config: Config) -> None:
    """Refuse settings that exclude each other, in one line.

    Raises:
        UserError: always with what to change.
    """
    model, objective = config.model, config.objective
    if objective.divergence == "gamma" and objective.df <= 2:
        raise UserError(
            f"objective.df: expected more than 2, got {objective.df:g}: below, t has no second moment and the "
            "gamma-divergence is infinite; the default is 5"
        )
    if objective.divergence == "gamma" and model.decode != "last":
        raise UserError(f"model.decode {model.decode}: a mean or sum of t codes is no t; with gamma use last")
    if objective.floor_kind == "dimension" and objective.floor and objective.divergence not in ADDITIVE:
        raise UserError(
            f"objective.floor_kind dimension: {objective.divergence} is no sum over dimensions; use sentence or batch"
        )
    if config.train.epochs and config.train.pretrain_epochs >= config.train.epochs:
        raise UserError(
            f"train.pretrain_epochs: expected fewer than train.epochs {config.train.epochs}, got {config.train.pretrain_epochs}"
        )
    if config.train.aggressive != "off" and not model.latent:
        raise UserError("train.aggressive: a language model (model.latent 0) has no encoder to train aggressively")
    if not model.latent and (objective.mmd or objective.bow or objective.floor or objective.target):
        raise UserError(
            "a language model (model.latent 0) has nothing for floor, target, mmd or bow to act on; leave them out"
        )
    if objective.target_kind == "controller" and objective.target <= 0:
        raise UserError("objective.target: a controller needs a target above 0, got 0")


def build_objective(config: Config, batches: int) -> Objective:
    """Build the objective of a run whose epochs have so many batches."""
    settings = config.objective
    clock = Clock(epoch=batches, run=batches * max(1, config.train.epochs - config.train.pretrain_epochs))
    ramp = clock.steps(settings.ramp)
    if ramp < 0:
        raise UserError(f"objective.ramp: expected a length of at least 0, got {settings.ramp!r}")
    return Objective(
        divergence=build_divergence(settings) if config.model.latent else divergences.kl,
        weight=parse(settings.weight, clock),
        floor=settings.floor,
        floor_kind=settings.floor_kind,
        target=linear(0.0, settings.target, ramp) if ramp else constant(settings.target),
        target_kind=settings.target_kind,
        share=SHARES[settings.where],
        mmd=settings.mmd,
        bow=settings.bow,
    )


def build_divergence(settings: ObjectiveConfig) -> Divergence:
    """Return the divergence of a name, with its order."""
    choices: dict[str, Any] = {
        "kl": divergences.kl,
        "alpha": partial(divergences.alpha_divergence, alpha=settings.alpha),
        "renyi": partial(divergences.renyi, alpha=settings.alpha),
        "gamma": divergences.gamma_divergence,
    }
    return choices[settings.divergence]


def build_device(name: str) -> torch.device:
    """Return the device of a name; `auto` is the GPU where there is one.

    Raises:
        UserError: no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError):
        here = "auto, cpu, cuda" if torch.cuda.is_available() else "auto, cpu"
        raise UserError(f"train.device: expected a device of this machine ({here}), got {name!r}") from None
    return device


def load_model(folder: RunFolder, config: Config, vocabulary: Vocabulary) -> VAE:
    """Build a run's network and load its best weights.

    Raises:
        UserError: weights missing, damaged, or of another shape than the settings say.
    """
    model = build_model(config, len(vocabulary))
    weights = folder.load_weights()
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        detail = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise UserError(
            f"{folder.model_file}: does not fit config.yaml and vocab.json ({detail}); restore the folder"
        ) from None
    return model.eval()
