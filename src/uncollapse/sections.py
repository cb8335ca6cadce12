"""The settings of a run: five flat dataclasses, one for each kind of thing. Nothing here imports torch.

A default is written once, here; recipes, remedies and flags change it (`config`).
"""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from uncollapse.errors import UserError


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
    format: Literal["auto", "txt", "tsv", "csv", "jsonl", "parallel"] = setting(
        "auto", "auto: by the file's suffix; parallel: a row of forms a line"
    )
    text_column: str = setting("", "of a table or .jsonl: the field of the text, where it is not found by itself")
    label_column: str = setting(
        "", "of a table or .jsonl: the label fields, separated by commas, where not all are meant"
    )
    columns: str = setting("", "of parallel rows: their label field and its names, such as 'tense: sp, tp, pg, p'")
    pairs: str = setting(
        "", "a file in the folder of data.path that is no split: pairs of forms to convert, a pair a line"
    )
    directions: str = setting("", "of these pairs, in order, such as 'sp>p, sp>pg'")
    held_out: float = setting(0.05, "share of the training part split off for each missing split", 0.0001, 0.45)
    level: Literal["word", "char", "bpe", "pixel", "auto"] = setting(
        "word",
        "what a token is; bpe: subwords, learned from the training split; pixel: the data are pictures; auto: by the text",
    )
    lowercase: bool = setting(False, "lower the case of the text")
    max_vocab: int = setting(20000, "keep the most frequent tokens of the training split; 0: by its size", 0, 10**9)
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
    encoder_state: Literal["last", "mean", "max"] = setting(
        "last", "of a recurrent encoder, what q(z | x) is read from: the last state, or the mean or maximum over all"
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
    emb: int = setting(256, "width of the token embeddings; 0: by the size of the training split", 0)
    hidden: int = setting(256, "width of the hidden states; 0: by the size of the training split", 0)
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
    minutes: float = setting(8.0, "time for epochs 0 to fill, by a measurement before training", 0.01)
    steps_per_epoch: int = setting(
        0,
        "batches of an epoch, others each time; 0: the whole training split, or a part of it where train.minutes is too "
        "short for several passes",
        0,
    )
    batch_size: int = setting(32, "sentences in a batch; 0: by their length", 0, 10**6)
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
