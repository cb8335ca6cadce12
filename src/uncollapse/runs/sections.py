"""The settings of model, objective, optimizer and training; those of data and networks: `data/settings.py`, `nn/kinds.py`.

Nothing here imports torch.

A default is written once, here; recipes, remedies and flags change it (`compose`).
"""

from dataclasses import dataclass
from typing import Literal

from uncollapse.settings import setting


@dataclass(frozen=True)
class ModelConfig:
    """The model as a whole; its networks are in `encoder` and `decoder`."""

    latent: int = setting(32, "dimensions of z; 0 is a language model", 0)
    prior: Literal["standard", "label"] = setting("standard", "p(z): N(0, I), or a Gaussian learned for each label")
    init: Literal["lagging", "torch", "orthogonal", "all-orthogonal", "prokhorov"] = setting(
        "lagging",
        "lagging: U(-0.01, 0.01), embeddings U(-0.1, 0.1), as He et al.; torch: the library's own; orthogonal: that, "
        "with orthogonal recurrent weights, or all weights of the recurrent cells; prokhorov: LeCun normal cells, He uniform "
        "convolutions",
    )
    share_embedding: bool = setting(False, "one table of token embeddings for encoder and decoder")
    condition: tuple[str, ...] = setting((), "label fields that encoder and decoder are conditioned on")
    condition_emb: int = setting(8, "width of the embedding of each label field; 0: one-hot", 0)


@dataclass(frozen=True)
class ObjectiveConfig:
    """What is minimised: mean(distortion) + penalty(divergence(q, p))."""

    divergence: Literal["kl", "alpha", "renyi", "gamma"] = setting("kl", "divergence of the posterior from the prior")
    alpha: float = setting(1.0, "order of alpha and renyi; 1 is kl")
    df: float = setting(5.0, "degrees of freedom of gamma's t posterior and prior, above 2")
    timesteps: Literal["last", "25%", "50%", "75%", "all"] = setting(
        "last", "the last timesteps that are penalised, averaged"
    )
    weight: str = setting("1", "weight of the penalty: a number or a schedule")
    floor: float = setting(0.0, "free bits: nats that cost nothing", 0, 10**4)
    floor_kind: Literal["sentence", "dimension", "batch"] = setting("sentence", "what the floor holds for")
    target: str = setting("0", "nats that the divergence is held at: a number or a schedule; 0: as low as it goes")
    target_kind: Literal["batch", "sentence", "controller"] = setting(
        "batch",
        "apply |d - target| to the batch mean or to each sentence, or adapt the weight until rate = target (controller)",
    )
    translate: bool = setting(False, "decode a form of the same row, drawn anew each time, not the sentence itself")
    teacher_forcing: str = setting(
        "1", "probability that the decoder reads the true token and not its own: a number or a schedule"
    )
    feedback: Literal["draw", "argmax"] = setting(
        "draw", "the token that the decoder reads of its own: a draw, or the most probable one"
    )
    per_token: bool = setting(
        False, "divide the distortion of each sentence by its tokens (EOS counted) in the training loss"
    )
    form_consistency: str = setting(
        "0", "weight (or schedule) of the agreement of forms generated from codes of the prior (parallel data)"
    )
    mmd: float = setting(0.0, "weight of the maximum mean discrepancy of the batch's codes from the prior", 0)
    bow: float = setting(0.0, "weight of a bag-of-words loss of z", 0)


@dataclass(frozen=True)
class OptimConfig:
    """How it is minimised."""

    optimizer: Literal["sgd", "adam", "adamw"] = setting("sgd", "one optimizer; groups: encoder, all the rest")
    lr: float = setting(1.0, "learning rate", 0)
    lr_factor: str = setting("1", "factor on it over the run: a number or a schedule")
    momentum: float = setting(0.0, "momentum of sgd", 0, 0.9999)
    weight_decay: float = setting(0.0, "weight decay", 0)
    clip: float = setting(5.0, "largest norm of the gradient; 0: no clipping", 0)
    decay: float = setting(0.5, "factor on lr when validation stops improving; the best weights are reloaded", 0, 1)
    patience: int = setting(2, "epochs in a row without improvement before a decay", 1)
    decay_after: int = setting(16, "no decay before this epoch", 0)
    max_decays: int = setting(5, "training stops at this many decays; 0: when patience first ends", 0)


@dataclass(frozen=True)
class MonitorConfig:
    """What watches the latent space while it is trained."""

    enabled: bool = setting(
        True, "look at a sample of the validation split now and then; it changes nothing in training"
    )
    every: int = setting(0, "steps between looks; 0: looks take about 2 % of the training", 0)
    log: tuple[str, ...] = setting((), "loggers besides the run's own files: tensorboard, wandb")
    stop_when: Literal["", "collapsed"] = setting(
        "",
        "collapsed: end a training whose z carries no information after three epochs in a row, schedules settled; exit status 3",
    )


@dataclass(frozen=True)
class TrainConfig:
    """How long, in what order and where."""

    epochs: int = setting(0, "passes over the training split; 0: as many as fit train.minutes, at most 40", 0)
    minutes: float = setting(8.0, "where epochs is 0: time to fill, at a speed measured first", 0.01)
    steps_per_epoch: int = setting(
        0,
        "batches of an epoch, others each time; 0: the whole training split, or a part of it where train.minutes is too "
        "short for several passes",
        0,
    )
    batch_size: int = setting(32, "sentences in a batch; 0: by their length", 0, 10**6)
    batches: Literal["similar", "equal", "random", "sorted"] = setting(
        "similar",
        "sentences of a batch: of similar length, others each time; of equal length, the same each time; random; or sorted: by "
        "length, and the batches too",
    )
    seed: int = setting(1, "seed of initialisation, order and noise", 0, 2**32 - 1)
    init_from: str = setting("", "a run whose weights are the start; its network, tokens and labels are taken too")
    freeze: tuple[str, ...] = setting((), "parts of the model whose weights stay as they are: encoder, decoder, prior")
    pretrain_epochs: int = setting(
        0, "most epochs as a plain autoencoder first, which optim.max_decays may end; then the decoder is made anew", 0
    )
    aggressive: Literal["off", "adaptive", "always", "pooled", "paper", "paper-best"] = setting(
        "off",
        "inner encoder steps before each step; paper (for pictures: paper-best), pooled: until a rule on validation MI ends "
        "them; always: to the end; adaptive: where they lower the loss of held-out sentences",
    )
    aggressive_budget: float = setting(
        0.4, "of adaptive: inner steps in all, as a share of the steps of the whole training, pretraining left out", 0.0
    )
    aggressive_steps: int = setting(0, "most outer steps with inner ones; 0: no limit", 0)
    precision: Literal["fp32", "bf16"] = setting("fp32", "of the training arithmetic; evaluation is in fp32")
    threads: int = setting(
        0, "of the CPU in training; 0: torch's own choice; 1 is often faster for a small model", 0, 1024
    )
    optimisations: bool = setting(
        True,
        "use our own kernels where they are faster; false: torch's operations alone, in training and evaluation, as a check",
    )
    device: str = setting("auto", "auto, cpu, cuda, cuda:1 …")
    select: Literal["loss", "nll_elbo", "transfer_bleu4", "transfer_exact", "last"] = setting(
        "loss",
        "which weights are kept: the best on validation by the loss with final weight and target (KL as the divergence), by "
        "the negative ELBO, or by conversions between forms; or the last",
    )
    keep: str = setting(
        "",
        "keep the weights of every epoch that reaches a value on validation, such as mi>=4 (`evaluate RUN --epoch N`)",
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
    record_halves: bool = setting(
        False, "in aggressive training, record also where the encoder's own steps lead before such a step"
    )
    record_points: int = setting(500, "validation sentences that are recorded; 50 for readable trajectories", 1)
    checkpoint_minutes: float = setting(5.0, "time between saves of the state within an epoch", 0)
