"""Settings that exclude each other, or that the data cannot serve: each is refused in one line that says what to change."""

from collections.abc import Sequence

from uncollapse.data.labels import LabelSpace
from uncollapse.data.splits import Splits
from uncollapse.data.vocabulary import UNK
from uncollapse.errors import UserError, suggest
from uncollapse.nn.kinds import PixelCNNConfig
from uncollapse.runs.config import Config
from uncollapse.schedules import Clock, parse
from uncollapse.tasks.forms.pairs import Pair
from uncollapse.training.callbacks.files import read_condition
from uncollapse.training.fit import LOGGED

ZERO = ("0", "0.0")
LONG = Clock(10**6, 10**9)
"""A run in which every length of a schedule is at least a step: by it their notation is checked before the data are known."""
ADDITIVE = ("kl", "renyi")
"""The divergences that are sums over dimensions."""
LOGGERS = ("tensorboard", "wandb")
KEPT_BY = (*LOGGED, "transfer_exact", "transfer_bleu4", "transfer_copied", "tense_bleu4", "gaussian_score")
"""Numbers of validation that train.keep may ask for."""


def validate_pictures(config: Config) -> None:
    """Refuse networks of pictures for text, and settings that make no sense for pictures.

    Raises:
        UserError: always with what to change.
    """
    encoder, decoder, objective = config.encoder.kind, config.decoder.kind, config.objective
    drawn = decoder in ("pixelcnn", "deconvolution")
    if "own" in (encoder, decoder):
        return
    if config.data.level != "pixel":
        if drawn or encoder == "resnet":
            raise UserError(
                f"encoder.kind {encoder}, decoder.kind {decoder}: resnet, pixelcnn and deconvolution are for pictures; "
                "add --data.level pixel"
            )
        return
    if not drawn or encoder != "resnet":
        raise UserError(
            "data.level pixel: expected encoder.kind resnet and decoder.kind pixelcnn or deconvolution, got "
            f"{encoder} and {decoder}; see --recipe strokes"
        )
    if not config.model.latent and not config.model.condition and decoder == "deconvolution":
        raise UserError("decoder.kind deconvolution: draws from the code alone, and model.latent is 0; use pixelcnn")
    if isinstance(config.decoder, PixelCNNConfig) and any(size % 2 == 0 for size in config.decoder.kernel_sizes):
        sizes = ", ".join(map(str, config.decoder.kernel_sizes))
        raise UserError(f"decoder.kernel_sizes: expected odd sizes such as 7,5,3, got {sizes}")
    senseless = {
        "objective.timesteps": objective.timesteps != "last",
        "objective.teacher_forcing": objective.teacher_forcing.strip() not in ("1", "1.0"),
        "objective.bow": objective.bow,
    }
    if wrong := [name for name, is_set in senseless.items() if is_set]:
        raise UserError(
            f"{wrong[0]}: makes no sense for pictures, which have neither words nor timesteps; leave it out"
        )


def validate(config: Config) -> None:
    """Refuse settings that exclude each other, in one line.

    Raises:
        UserError: always with what to change.
    """
    model, objective, encoder = config.model, config.objective, config.encoder
    pooling, state_pooling = getattr(encoder, "pooling", "last"), getattr(encoder, "state_pooling", "last")
    targets, bn = objective.target.strip() not in ZERO, getattr(encoder, "bn", 0)
    validate_pictures(config)
    schedules = objective.weight, objective.target, objective.teacher_forcing, objective.form_consistency
    for text in (*schedules, config.optim.lr_factor):
        parse(text, LONG)
    if objective.divergence == "gamma" and objective.df <= 2:
        raise UserError(
            f"objective.df: expected more than 2, got {objective.df:g}: below, t has no second moment and the "
            "gamma-divergence is infinite; the default is 5"
        )
    if config.train.keep and (name := read_condition(config.train.keep)[0]) not in KEPT_BY:
        raise UserError(f"train.keep: unknown number {name!r}: {suggest(name, KEPT_BY)}")
    if wrong := [name for name in config.monitor.log if name not in LOGGERS]:
        raise UserError(f"monitor.log: unknown logger {wrong[0]!r}: {suggest(wrong[0], LOGGERS)}")
    if objective.divergence == "gamma" and pooling != "last":
        raise UserError(f"encoder.pooling {pooling}: a mean or sum of t codes is no t; with gamma use last")
    if model.prior == "label" and (objective.divergence == "gamma" or pooling != "last" or not model.condition):
        raise UserError(
            "model.prior label: expected Gaussian posteriors, encoder.pooling last and a model.condition, "
            f"got divergence {objective.divergence}, pooling {pooling}, condition {', '.join(model.condition) or 'none'}"
        )
    if objective.floor_kind == "dimension" and objective.floor and objective.divergence not in ADDITIVE:
        raise UserError(
            f"objective.floor_kind dimension: {objective.divergence} is no sum over dimensions; use sentence or batch"
        )
    if config.train.epochs and config.train.pretrain_epochs >= config.train.epochs:
        raise UserError(
            f"train.pretrain_epochs: expected fewer than train.epochs {config.train.epochs}, got {config.train.pretrain_epochs}"
        )
    if config.train.pretrain_epochs and config.train.init_from:
        raise UserError(
            "train.pretrain_epochs: makes all but the encoder anew, and train.init_from begins with its weights; leave one out"
        )
    if config.train.record_every and model.latent != 1:
        raise UserError(
            f"train.record_every: the posterior-mean space needs a scalar latent; expected model.latent 1, got {model.latent}"
        )
    if config.train.record_halves and (not config.train.record_every or config.train.aggressive == "off"):
        raise UserError(
            "train.record_halves: records the space between the encoder's own steps and the decoder's; add --train.record_every "
            "and --train.aggressive, or leave it out"
        )
    if wrong := [name for name in config.train.freeze if name not in ("encoder", "decoder", "prior")]:
        raise UserError(f"train.freeze: expected encoder, decoder or prior, got {wrong[0]}")
    if config.train.aggressive != "off" and "encoder" in config.train.freeze:
        raise UserError("train.aggressive: trains the encoder, and train.freeze holds it; leave one of them out")
    if config.train.aggressive != "off" and not model.latent:
        raise UserError("train.aggressive: a language model (model.latent 0) has no encoder to train aggressively")
    if not model.latent and (objective.mmd or objective.bow or objective.floor or targets or bn):
        raise UserError(
            "a language model (model.latent 0) has nothing for floor, target, mmd, bow or bn to act on; leave them out"
        )
    if objective.target_kind == "controller" and not targets:
        raise UserError("objective.target: a controller needs a target above 0, got 0")
    if (targets or objective.floor) and objective.weight.strip() in ZERO:
        raise UserError("objective.weight: a floor or target needs a weight above 0, got 0")
    if objective.divergence == "renyi" and objective.alpha <= 0:
        raise UserError(f"objective.alpha: the Renyi divergence needs an order above 0, got {objective.alpha:g}")
    if state_pooling != "last" and (pooling != "last" or objective.timesteps != "last"):
        raise UserError(
            f"encoder.state_pooling {state_pooling}: there is one posterior, but encoder.pooling {pooling} and "
            f"objective.timesteps {objective.timesteps} need one at every timestep; take encoder.state_pooling last"
        )
    if model.share_embedding and (
        getattr(encoder, "emb", -1) != getattr(config.decoder, "emb", -2)
        or not model.latent
        or config.train.pretrain_epochs
        or config.train.aggressive != "off"
    ):
        raise UserError(
            "model.share_embedding: expected an encoder and a decoder of text with one emb, model.latent above 0, no "
            "train.pretrain_epochs (the decoder is made anew after them) and no train.aggressive (its steps of the encoder would "
            "move the decoder too)"
        )
    if bn and config.train.batch_size == 1:
        raise UserError("encoder.bn: a batch of one sentence has no variance; expected train.batch_size of at least 2")


def validate_for_data(config: Config, splits: Splits, pairs: Sequence[Pair]) -> None:
    """Refuse settings, or pairs of forms to convert, that the data cannot serve, in one line.

    Raises:
        UserError: always with what to change.
    """
    train, rows = splits.train, splits.train.form_field
    space = LabelSpace(train.label_names).only(config.model.condition)
    objective, select = config.objective, config.train.select
    for name, wanted in {
        "translate": objective.translate,
        "form_consistency": objective.form_consistency.strip() not in ZERO,
    }.items():
        if wanted and not rows:
            raise UserError(f"objective.{name}: expected rows of parallel forms (--data.format parallel), got none")
        if wanted and rows not in space.names:
            raise UserError(
                f"objective.{name}: the decoder needs the form as a condition; add --model.condition {rows}"
            )
    if select.startswith("transfer") and rows not in space.names:
        raise UserError(
            f"train.select {select}: expected rows of parallel forms and a model.condition that tells them apart"
        )
    if select.startswith("transfer") and not len(splits.valid.forms):
        raise UserError(
            f"train.select {select}: expected complete rows in the validation split, got none; raise data.max_length"
        )
    if config.train.fit_prior and not config.model.latent:
        raise UserError("train.fit_prior: a language model (model.latent 0) has no codes to fit a prior to")
    if config.data.pairs and not rows:
        raise UserError(
            "data.pairs: expected rows of parallel forms (--data.format parallel), got none; add --data.pairs="
        )
    for pair in pairs:
        LabelSpace(train.label_names).ids(rows, [pair.source, pair.target])
        if UNK in train.vocabulary.encode(pair.word):
            raise UserError(f"data.pairs: {pair.word!r} has letters that no training word has")
