"""The settings of a whole run: five flat dataclasses, and the merging of recipe, remedies and flags.

A default is written once, in its dataclass. A recipe and a remedy are YAML files whose `settings` are merged as
nested dictionaries, in this order: defaults, recipe, remedies, flags. Nothing here imports torch.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from uncollapse.errors import UserError, nearest
from uncollapse.files import expect, read_yaml

Settings = dict[str, dict[str, Any]]


def setting(default: Any, help: str, low: float = -math.inf, high: float = math.inf) -> Any:
    """Declare one setting: its default, its one-line help and the range it must lie in (both ends allowed)."""
    return field(default=default, metadata={"help": help, "low": low, "high": high})


@dataclass(frozen=True)
class DataConfig:
    """What is learned from."""

    name: Literal["", "grammar", "synthetic", "verbs", "strokes"] = setting(
        "", "an embedded corpus, in place of a path"
    )
    path: str = setting("", "a file, or a folder with train, valid and test files")
    valid: str = setting("", "an explicit validation file")
    test: str = setting("", "an explicit test file")
    format: Literal["auto", "txt", "tsv", "jsonl", "parallel"] = setting(
        "auto", "auto: by the file's suffix; parallel: a row of forms a line"
    )
    columns: str = setting("", "of parallel rows: their label field and its names, such as 'tense: sp, tp, pg, p'")
    pairs: str = setting(
        "", "a file in the folder of data.path that is no split: pairs of forms to convert, a pair a line"
    )
    directions: str = setting("", "of these pairs, in order, such as 'sp>p, sp>pg'")
    held_out: float = setting(0.05, "share of the training part split off for each missing split", 0.0001, 0.45)
    level: Literal["word", "char", "bpe", "pixel"] = setting(
        "word", "what a token is; bpe: subwords, learned from the training split; pixel: the data are pictures"
    )
    lowercase: bool = setting(False, "lower the case of the text")
    max_vocab: int = setting(20000, "keep the most frequent tokens of the training split", 1, 10**9)
    min_count: int = setting(1, "tokens seen less often are unknown", 1, 10**9)
    vocab_from: str = setting(
        "", "a run folder whose vocabulary is taken, in place of one built from the training split"
    )
    max_length: int = setting(256, "longer sentences (in tokens) are left out, counted and reported", 1, 10**6)
    side: int = setting(28, "of pictures: pixels of a side, to which they are resized", 8, 512)
    dynamic: bool = setting(False, "of pictures: draw the training pixels from their intensities anew in every batch")
    sentences: int = setting(0, "sentences of an embedded corpus's training split; 0: its own default", 0, 10**7)
    seed: int = setting(0, "seed of an embedded corpus and of the split of missing parts", 0, 2**32 - 1)


@dataclass(frozen=True)
class ModelConfig:
    """The network."""

    latent: int = setting(32, "dimensions of z; 0 is a language model", 0)
    encoder: Literal["lstm", "gru", "rnn", "resnet"] = setting("lstm", "recurrent cell; resnet: of pictures")
    decoder: Literal["lstm", "gru", "rnn", "cnn", "pixelcnn", "deconvolution"] = setting(
        "lstm", "recurrent cell, or gated causal convolutions; pixelcnn, or all pixels at once: of pictures"
    )
    channels: int = setting(64, "of the convolutions of pictures", 1)
    kernels: str = setting("7, 7, 7, 7, 7, 5, 5, 5, 5, 3, 3, 3, 3", "sizes of the pixelcnn's kernels, one a layer, odd")
    maps: int = setting(4, "planes of z beside the picture in a pixelcnn", 1)
    context: int = setting(20, "inputs that each block of the convolutional decoder sees", 1)
    decode: Literal["last", "mean", "sum"] = setting(
        "last", "the code that is decoded: of the last timestep, or of all"
    )
    bn: float = setting(0.0, "scale gamma of the batch normalisation of mu; 0: none", 0)
    skip: bool = setting(False, "z reaches every state of the decoder directly")
    word_dropout: float = setting(0.0, "share of the decoder's input words read as unknown in training", 0, 1)
    emb: int = setting(256, "width of the token embeddings", 1)
    hidden: int = setting(256, "width of the hidden states", 1)
    dropout_in: float = setting(0.5, "dropout on the decoder's inputs", 0, 0.99)
    dropout_out: float = setting(0.5, "dropout on the decoder's outputs", 0, 0.99)
    init: Literal["lagging", "torch", "orthogonal"] = setting(
        "lagging",
        "lagging: U(-0.01, 0.01), embeddings U(-0.1, 0.1), as He et al.; torch: the library's own; orthogonal: that, "
        "with orthogonal recurrent weights",
    )
    condition: str = setting("", "label fields that encoder and decoder are told, separated by commas")
    condition_emb: int = setting(8, "width of the embedding of each label field; 0: one-hot", 0)
    prior: Literal["standard", "label"] = setting("standard", "p(z): N(0, I), or a Gaussian learned for each label")

    @property
    def kernel_sizes(self) -> tuple[int, ...]:
        """Return the numbers of `kernels`.

        Raises:
            UserError: what is no list of odd numbers.
        """
        parts = [part.strip() for part in self.kernels.split(",")]
        if not all(part.isdecimal() and len(part) < 4 and int(part) % 2 for part in parts):
            raise UserError(f"model.kernels: expected odd sizes such as '7, 5, 3', got {self.kernels!r}")
        return tuple(map(int, parts))

    @property
    def told(self) -> tuple[str, ...]:
        """Return the label fields of `condition`."""
        return tuple(field.strip() for field in self.condition.split(",") if field.strip())


@dataclass(frozen=True)
class ObjectiveConfig:
    """What is minimised: mean(distortion) + penalty(divergence(q, p))."""

    divergence: Literal["kl", "alpha", "renyi", "gamma"] = setting("kl", "divergence of the posterior from the prior")
    alpha: float = setting(1.0, "order of alpha and renyi; 1 is kl")
    df: float = setting(5.0, "degrees of freedom of gamma's t posterior and prior, above 2")
    where: Literal["last", "25%", "50%", "75%", "all"] = setting(
        "last", "the last timesteps that are penalised, averaged"
    )
    weight: str = setting("1", "weight of the penalty: a number or a schedule")
    floor: float = setting(0.0, "free bits: nats that cost nothing", 0, 10**4)
    floor_kind: Literal["sentence", "dimension", "batch"] = setting("sentence", "what the floor holds for")
    target: float = setting(0.0, "nats that the divergence is held at; 0: as low as it goes", 0, 10**4)
    target_kind: Literal["batch", "sentence", "controller"] = setting(
        "batch", "what is held: the batch mean, each sentence (both by their distance), or the rate by the weight"
    )
    ramp: str = setting("0 steps", "length over which the target rises from 0")
    translate: bool = setting(False, "decode a form of the same row, drawn anew each time, not the sentence itself")
    teacher_forcing: str = setting(
        "1", "probability that the decoder reads the true token and not its own: a number or a schedule"
    )
    dream: str = setting(
        "0", "weight (or schedule) of the agreement of forms written from codes of the prior (parallel data)"
    )
    mmd: float = setting(0.0, "weight of the maximum mean discrepancy of the batch's codes from the prior", 0)
    bow: float = setting(0.0, "weight of a bag-of-words loss of z", 0)


@dataclass(frozen=True)
class OptimConfig:
    """How it is minimised."""

    optimizer: Literal["sgd", "adam", "adamw"] = setting("sgd", "of encoder and decoder, one each")
    lr: float = setting(1.0, "learning rate", 0)
    lr_factor: str = setting("1", "factor on it over the run: a number or a schedule")
    momentum: float = setting(0.0, "momentum of sgd", 0, 0.9999)
    weight_decay: float = setting(0.0, "weight decay", 0)
    clip: float = setting(5.0, "largest norm of the gradient; 0: no clipping", 0)
    decay: float = setting(0.5, "factor on lr when validation stops improving; the best weights are reloaded", 0, 1)
    patience: int = setting(2, "epochs without improvement before a decay", 1)
    decay_after: int = setting(15, "no decay before this epoch", 0)
    max_decays: int = setting(5, "training stops at this many decays; 0: at the first lack of patience", 0)


@dataclass(frozen=True)
class TrainConfig:
    """How long, in what order and where."""

    epochs: int = setting(0, "passes over the training split; 0: as many as fit train.minutes, at most 40", 0)
    minutes: float = setting(8.0, "time that epochs 0 may fill, by a measurement before training", 0.01)
    batch_size: int = setting(32, "sentences in a batch", 1, 10**6)
    seed: int = setting(1, "seed of initialisation, order and noise", 0, 2**32 - 1)
    pretrain_epochs: int = setting(0, "epochs as a plain autoencoder first; then the decoder is made anew", 0)
    aggressive: Literal["off", "pooled", "paper"] = setting(
        "off", "inner encoder steps before each step; which rule on validation MI ends them"
    )
    aggressive_steps: int = setting(0, "most outer steps with inner ones; 0: no limit", 0)
    precision: Literal["fp32", "bf16"] = setting("fp32", "of the training arithmetic; evaluation is in fp32")
    threads: int = setting(
        0, "of the CPU in training; 0: torch's own choice; 1 is often faster for a small model", 0, 1024
    )
    plain: bool = setting(
        False, "compute by torch's own operations alone, in training and evaluation, as a check of ours"
    )
    device: str = setting("auto", "auto, cpu, cuda, cuda:1 …")
    select: Literal["loss", "transfer_bleu4", "transfer_exact", "last"] = setting(
        "loss",
        "which weights are kept: the best on validation by the loss that the schedules end at, or by conversions between "
        "forms, or the last",
    )
    fit_prior: int = setting(
        0, "components of a Gaussian mixture fitted to the training codes at the end, to sample from; 0: none", 0, 16
    )
    eval_test_every: int = setting(0, "epochs between evaluations of the test split, for the log alone; 0: never", 0)
    record_every: int = setting(
        0,
        "steps between records of the posterior-mean space, for a scalar latent (`plot RUN posterior-mean-space`); 0: none",
        0,
    )
    record_points: int = setting(500, "validation sentences that are recorded; 50 for readable trajectories", 1)
    checkpoint_minutes: float = setting(5.0, "time between saves of the state within an epoch", 0)


@dataclass(frozen=True)
class Config:
    """One run, complete."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    @staticmethod
    def from_settings(settings: Mapping[str, Mapping[str, Any]]) -> "Config":
        """Build the complete configuration from nested settings, checked by name, type and range.

        Raises:
            UserError: an unknown section or setting, or a value of the wrong type or range.
        """
        checked: Settings = {section: {} for section in SECTIONS}
        for key, value in flatten(settings):
            section, name = split_key(key)
            checked[section][name] = check(key, value)
        return Config(**{section: SECTIONS[section](**values) for section, values in checked.items()})

    def settings(self) -> Settings:
        """Return the complete configuration as nested dictionaries."""
        return dataclasses.asdict(self)


SECTIONS = {
    "data": DataConfig,
    "model": ModelConfig,
    "objective": ObjectiveConfig,
    "optim": OptimConfig,
    "train": TrainConfig,
}


@cache
def catalogue() -> dict[str, tuple[Any, dataclasses.Field]]:
    """Return every setting as `section.name -> (type, field)`."""
    return {
        f"{section}.{f.name}": (get_type_hints(cls)[f.name], f)
        for section, cls in SECTIONS.items()
        for f in dataclasses.fields(cls)
    }


def flatten(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield `("section.name", value)` for every value of nested settings."""
    for section, values in settings.items():
        if not isinstance(values, Mapping):
            raise UserError(f"settings of {section!r}: expected names and values, got {values!r}")
        for name, value in values.items():
            yield f"{section}.{name}", value


def nest(flat: Mapping[str, Any]) -> Settings:
    """Turn `{"section.name": value}` into nested settings."""
    nested: Settings = {}
    for key, value in flat.items():
        section, name = split_key(key)
        nested.setdefault(section, {})[name] = value
    return nested


def split_key(key: str) -> tuple[str, str]:
    """Split `section.name`; raise UserError, naming the nearest, if there is no such setting."""
    if key not in catalogue():
        raise UserError(
            f"unknown setting {key!r}: {nearest(key, catalogue()) if '.' in key else nearest(key, SECTIONS)}"
        )
    section, name = key.split(".")
    return section, name


def describe(key: str) -> str:
    """Return what a setting accepts, in words."""
    kind, spec = catalogue()[key]
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(repr(choice) if choice == "" else choice for choice in get_args(kind))
    words = {bool: "true or false", int: "an integer", float: "a number", str: "text"}[kind]
    low, high = spec.metadata["low"], spec.metadata["high"]
    if low > -math.inf and high < math.inf:
        return f"{words} from {low} to {high}"
    return f"{words} of at least {low}" if low > -math.inf else words


def check(key: str, value: Any) -> Any:
    """Return `value` as the setting `key` holds it (an int for a float setting, a number for a text one, are taken).

    Raises:
        UserError: a value of the wrong type or outside the range.
    """
    kind, spec = catalogue()[key]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is float and number:
        value = float(value)
    elif kind is str and number:
        value = str(value)
    right = value in get_args(kind) if get_origin(kind) is Literal else type(value) is kind
    if not right or (kind in (int, float) and not spec.metadata["low"] <= value <= spec.metadata["high"]):
        raise UserError(f"{key}: expected {describe(key)}, got {value!r}")
    return value


def merge(*parts: Mapping[str, Mapping[str, Any]]) -> Settings:
    """Merge nested settings; what comes later wins."""
    merged: Settings = {}
    for part in parts:
        for section, values in part.items():
            if section not in SECTIONS:
                raise UserError(
                    f"unknown section {section!r}: {nearest(section, SECTIONS)}; write for example train={{'epochs': 3}}"
                )
            if not isinstance(values, Mapping):
                raise UserError(
                    f"settings of {section!r}: expected names and values such as {{'name': value}}, got {values!r}"
                )
            merged[section] = {**merged.get(section, {}), **values}
    return merged


@dataclass(frozen=True)
class Named:
    """A recipe or a remedy: settings with a name, a purpose and a source."""

    name: str
    title: str
    paper: str
    settings: Settings
    published: str = ""
    purpose: str = ""


def available(kind: Literal["recipes", "remedies"]) -> list[str]:
    """Return the names of the recipes or remedies that come with the package."""
    return sorted(path.stem for path in (Path(__file__).parent / kind).glob("*.yaml"))


def load_named(kind: Literal["recipes", "remedies"], name: str) -> Named:
    """Read a recipe or remedy by its name, or from a YAML file of one's own.

    Raises:
        UserError: no such name or file, or a file without `settings`.
    """
    own = name.endswith((".yaml", ".yml"))
    if not own and name not in available(kind):
        raise UserError(
            f"unknown {'recipe' if kind == 'recipes' else 'remedy'} {name!r}: {nearest(name, available(kind))}"
        )
    path = Path(name) if own else Path(__file__).parent / kind / f"{name}.yaml"
    content = read_yaml(path)
    texts = ("title", "purpose", "paper", "published")
    if set(content) - {*texts, "settings"} or "settings" not in content:
        raise UserError(f"{path}: expected title, paper, published and settings, got {', '.join(content) or 'nothing'}")
    expect(content, {name: str for name in texts if content.get(name) is not None}, str(path))
    settings = expect(content["settings"], {str: {str: object}}, f"{path}, settings")
    for key, value in flatten(settings):
        split_key(key)
        check(key, value)
    title, paper, published, purpose = (content.get(key) or "" for key in ("title", "paper", "published", "purpose"))
    return Named(path.stem, title or path.stem, paper, settings, published, purpose)


def combine_remedies(names: Iterable[str]) -> Settings:
    """Merge the settings of several remedies.

    Raises:
        UserError: two of them set one key to different values.
    """
    seen: dict[str, tuple[str, Any]] = {}
    for name in names:
        for key, value in flatten(load_named("remedies", name).settings):
            other, before = seen.get(key, (name, value))
            if before != value:
                raise UserError(f"remedies {other} and {name} contradict each other: {key} is {before!r} and {value!r}")
            seen[key] = (name, value)
    return nest({key: value for key, (_, value) in seen.items()})


def compose(recipe: str, remedies: Iterable[str] = (), flags: Mapping[str, Mapping[str, Any]] | None = None) -> Config:
    """Merge a recipe, remedies and flags into one complete configuration.

    A path among the flags takes the place of the recipe's embedded corpus, and a corpus that of its path.

    Raises:
        UserError: an unknown name, a wrong value, contradicting remedies.
    """
    flags = flags or {}
    parts = (load_named("recipes", recipe).settings, combine_remedies(remedies), source_override(flags), flags)
    return Config.from_settings(merge(*parts))


def source_override(flags: Mapping[str, Mapping[str, Any]]) -> Settings:
    """Return the settings that a data path, or an embedded corpus, among the flags takes the place of."""
    given = flags.get("data", {})
    chosen = [name for name in ("name", "path") if isinstance(given, Mapping) and given.get(name)]
    if len(chosen) != 1:
        return {}
    return {"data": {"name": ""}} if chosen == ["path"] else {"data": {"path": "", "pairs": ""}}


def differences(one: Config, other: Config) -> dict[str, tuple[Any, Any]]:
    """Return the settings in which two configurations differ, as `key -> (one, other)`."""
    theirs = dict(flatten(other.settings()))
    return {key: (value, theirs[key]) for key, value in flatten(one.settings()) if value != theirs[key]}
