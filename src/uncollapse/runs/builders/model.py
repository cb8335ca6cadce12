"""From settings to the network, its device and its weights."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from uncollapse.data.labels import UNLABELLED_DATA, LabelSpace
from uncollapse.data.vocabulary import Vocabulary
from uncollapse.distributions.priors import LabelNormal, LengthMixture, Prior, StandardNormal, StandardT
from uncollapse.errors import UserError
from uncollapse.model import VAE
from uncollapse.nn.condition import Condition
from uncollapse.nn.decoders import BagOfWords, BottleneckDecoder, ConvolutionalDecoder, RecurrentDecoder
from uncollapse.nn.encoders import RecurrentEncoder
from uncollapse.nn.initialisation import (
    initialise_all_orthogonal,
    initialise_lagging,
    initialise_orthogonal,
    initialise_prokhorov,
)
from uncollapse.nn.interfaces import Decoder, Encoder, NoEncoder
from uncollapse.nn.kinds import TextDecoderConfig
from uncollapse.nn.output import OutputLayer
from uncollapse.nn.pictures import Deconvolution, PixelCNN
from uncollapse.nn.recurrent import LSTM
from uncollapse.nn.resnet import ResNetEncoder
from uncollapse.runs.checks import validate
from uncollapse.runs.config import Config
from uncollapse.runs.folder import RunFolder

Modules = Mapping[str, nn.Module]
"""Networks of one's own, by section: encoder, decoder."""
NONE_OWN: Modules = {}


def build_model(
    config: Config,
    vocabulary_size: int,
    lengths: np.ndarray | None = None,
    *,
    space: LabelSpace = UNLABELLED_DATA,
    modules: Modules = NONE_OWN,
) -> VAE:
    """Build a network with fresh weights; the same seed gives the same weights, whatever was drawn before.

    Args:
        config: the settings of the run.
        vocabulary_size: tokens V.
        lengths: encoder inputs of every training sentence, which the prior of a mean or sum needs; None where the weights will
            be loaded.
        space: the labels of the data.
        modules: networks of one's own, for the kind `own`.

    Raises:
        UserError: settings that exclude each other, or a module that is missing.
    """
    validate(config)
    settings = config.model
    classes = space.only(settings.condition).sizes
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        encoder = _own("encoder", config.encoder.kind, modules) or build_encoder(config, vocabulary_size, classes)
        condition = Condition(classes, settings.condition_emb) if classes else None
        width = settings.latent + (condition.width if condition else 0)
        decoder = _own("decoder", config.decoder.kind, modules) or build_decoder(config, vocabulary_size, width)
        if settings.share_embedding:
            cast(RecurrentEncoder, encoder).embedding = cast(RecurrentDecoder, decoder).embedding
        bow = None
        if config.objective.bow and settings.latent and isinstance(config.decoder, TextDecoderConfig):
            bow = BagOfWords(vocabulary_size, config.decoder.hidden, width)
        prior = build_prior(config, classes, lengths)
        model = VAE(encoder, cast(Decoder, decoder), prior, bow_decoder=bow, condition=condition)
        ours = nn.ModuleDict({name: part for name, part in model.named_children() if name not in modules})
        INITIALISATIONS[settings.init](ours)
        if isinstance(prior, LabelNormal):
            prior.reset()
    for part in model.modules():
        if isinstance(part, LSTM | OutputLayer):
            part.optimised = config.train.optimisations
    return model


INITIALISATIONS: dict[str, Callable[[nn.Module], None]] = {
    "torch": lambda module: None,
    "lagging": initialise_lagging,
    "orthogonal": initialise_orthogonal,
    "all-orthogonal": initialise_all_orthogonal,
    "prokhorov": initialise_prokhorov,
}


def _own(section: str, kind: str, modules: Modules) -> nn.Module | None:
    """Return the module of one's own for a section, or None where it has a kind of ours."""
    if kind == "own" and section not in modules:
        raise UserError(
            f"{section}.kind own: expected the module, as in uc.load(path, {section}=MyNetwork()), got none"
        )
    return modules[section] if kind == "own" else None


def build_encoder(config: Config, vocabulary_size: int, classes: dict[str, int]) -> Encoder:
    """Build the encoder that the settings name; none for a language model."""
    settings, objective = config.model, config.objective
    df = objective.df if objective.divergence == "gamma" else 0.0
    condition = Condition(classes, settings.condition_emb) if classes else None
    if not settings.latent:
        return NoEncoder()
    options = asdict(config.encoder)
    kind = options.pop("kind")
    shared: dict[str, Any] = {"latent": settings.latent, "df": df, "condition": condition}
    if kind == "resnet":
        return ResNetEncoder(config.data.side, **shared, **options)
    timestepwise = objective.timesteps != "last"
    return RecurrentEncoder(vocabulary_size, cell=kind, timestepwise=timestepwise, **shared, **options)


def build_decoder(config: Config, vocabulary_size: int, width: int) -> Decoder:
    """Build the decoder that the settings name, for codes [z; c] of a width."""
    options = asdict(config.decoder)
    kind = options.pop("kind")
    if kind == "pixelcnn":
        return PixelCNN(config.data.side, width, **options)
    if kind == "deconvolution":
        return Deconvolution(config.data.side, width, **options)
    options["skip"] &= width > 0
    if kind in TEXT_DECODERS:
        return TEXT_DECODERS[kind](vocabulary_size, latent=width, **options)
    return RecurrentDecoder(vocabulary_size, latent=width, cell=kind, **options)


TEXT_DECODERS: dict[str, Callable[..., Decoder]] = {"cnn": ConvolutionalDecoder, "cnn-bottleneck": BottleneckDecoder}


def build_prior(config: Config, classes: dict[str, int], lengths: np.ndarray | None) -> Prior:
    """Build p(z): N(0, I), one Gaussian a label, the t of t posteriors, or the length mixture of a mean or sum over timesteps."""
    latent, pooling = config.model.latent, getattr(config.encoder, "pooling", "last")
    if latent and config.objective.divergence == "gamma":
        return StandardT(latent, config.objective.df)
    if latent and config.model.prior == "label":
        return LabelNormal(latent, classes)
    if not latent or pooling == "last":
        return StandardNormal(latent)
    longest = config.data.max_length + 2  # BOS and EOS are inputs of the encoder
    counts = np.bincount(np.zeros(0, int) if lengths is None else lengths, minlength=longest + 1)[1:] + 0.0
    total = counts.sum() or 1.0
    every = np.arange(1.0, len(counts) + 1)
    scales = 1 / every if pooling == "mean" else every
    return LengthMixture(latent, scales.tolist(), np.maximum(counts / total, 1e-30).tolist())


def build_device(name: str) -> torch.device:
    """Return the device of a name; `auto` is the GPU where there is one, and of several processes each has its own.

    Raises:
        UserError: no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
        float(torch.zeros(1, device=device))
    except (RuntimeError, AssertionError):
        here = "auto, cpu, cuda" if torch.cuda.is_available() else "auto, cpu"
        raise UserError(f"train.device: expected a device of this machine ({here}), got {name!r}") from None
    return device


def load_model(
    folder: RunFolder, config: Config, vocabulary: Vocabulary, *, model: VAE | None = None, modules: Modules = NONE_OWN
) -> VAE:
    """Load the best weights of a run into its network, which is built unless it is there.

    Nothing is allocated for a network that does not fit the weights.

    Raises:
        UserError: weights missing, damaged, or of another shape or type than the settings say.
    """
    weights, space = folder.load_weights(), folder.label_space()
    build = partial(build_model, config, len(vocabulary), space=space, modules=modules)
    try:
        with torch.device("meta"):
            expected = (model or build()).state_dict()
        for name in sorted(expected.keys() | weights.keys()):
            wanted, got = (_described(each.get(name)) for each in (expected, weights))
            if wanted != got:
                raise RuntimeError(f"{name}: expected {wanted}, got {got}")
        model = model or build()
    except RuntimeError as error:  # also of sizes that no memory holds
        raise UserError(
            f"{folder.model_file}: does not fit the network of the settings ({str(error).splitlines()[0]}); restore the folder, "
            "or leave the sizes of --init-from as they are"
        ) from None
    model.load_state_dict(weights)
    return model.eval()


def _described(weight: Tensor | None) -> str:
    """Return the shape and type of a weight in words."""
    return "none" if weight is None else f"{list(weight.shape)} of {str(weight.dtype).removeprefix('torch.')}"
