"""From settings to objects: the only place where names become objects."""

from dataclasses import asdict

import torch

from uncollapse.config import Config, DataConfig, ModelConfig
from uncollapse.data.splits import Splits, load_splits
from uncollapse.data.vocabulary import Vocabulary
from uncollapse.errors import UserError
from uncollapse.model import VAE
from uncollapse.nn.interfaces import NoEncoder
from uncollapse.nn.recurrent import RecurrentDecoder, RecurrentEncoder, initialise_lagging
from uncollapse.objectives import Objective
from uncollapse.run import RunFolder
from uncollapse.schedules import Clock, parse


def build_splits(settings: DataConfig, vocabulary: Vocabulary | None = None) -> Splits:
    """Read the data; with the vocabulary of a finished run, or one built from the training split."""
    return load_splits(**asdict(settings), vocabulary=vocabulary)


def build_model(settings: ModelConfig, vocabulary_size: int, seed: int = 0) -> VAE:
    """Build a network with fresh weights; the same seed gives the same weights, whatever was drawn before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = (
            RecurrentEncoder(vocabulary_size, settings.emb, settings.hidden, settings.latent, settings.encoder)
            if settings.latent
            else NoEncoder()
        )
        decoder = RecurrentDecoder(
            vocabulary_size,
            settings.emb,
            settings.hidden,
            settings.latent,
            settings.decoder,
            settings.dropout_in,
            settings.dropout_out,
        )
        model = VAE(encoder, decoder, settings.latent)
        if settings.init == "lagging":
            initialise_lagging(model)
    return model


def build_objective(config: Config, batches: int) -> Objective:
    """Build the objective of a run whose epochs have so many batches."""
    clock = Clock(epoch=batches, run=batches * config.train.epochs)
    return Objective(weight=parse(config.objective.weight, clock))


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
    model = build_model(config.model, len(vocabulary))
    weights = folder.load_weights()
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        detail = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise UserError(
            f"{folder.model_file}: does not fit config.yaml and vocab.json ({detail}); restore the folder"
        ) from None
    return model.eval()
