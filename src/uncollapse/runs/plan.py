"""From settings to a job: the data, the model, the objective and the optimizer's schedule, each prepared once."""

import math
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from uncollapse.data.labels import LabelSpace
from uncollapse.data.splits import Splits
from uncollapse.errors import UserError
from uncollapse.messages import say, spell_time
from uncollapse.model import VAE
from uncollapse.nn.casts import multiplies_in_bf16
from uncollapse.runs.builders.data import build_splits, read_lab_pairs
from uncollapse.runs.builders.model import NONE_OWN, Modules, build_device, build_model, load_model
from uncollapse.runs.builders.objective import build_lr_factor, build_measure, build_objective
from uncollapse.runs.checks import validate, validate_for_data
from uncollapse.runs.config import Config
from uncollapse.runs.folder import Origin, RunFolder
from uncollapse.runs.job import Job, steps_per_epoch
from uncollapse.runs.sections import TrainConfig
from uncollapse.training.aggressive import LEAST_INNER_STEPS
from uncollapse.training.timing import measure_pace

MOST_EPOCHS = 40
FEWEST_EPOCHS, LEAST_STEPS = 4, 20
"""Where the time is too short for so many passes, an epoch is a part of the training split, of at least so many steps."""
WIDTHS = ((50_000, 128),)
WIDEST = 256
"""Hidden units up to so many training tokens, and beyond."""
BATCH_TOKENS, FEWEST_ROWS, MOST_ROWS = 800, 8, 32
"""Tokens of a batch, in the mean, and the sentences that it may have: long ones would else leave too few steps."""
COPIES = 4
"""Copies of the weights in training: weights, gradients, and two moments of Adam."""


def plan(
    origin: Origin, cache: Path, run: RunFolder | None = None, *, modules: Modules = NONE_OWN
) -> tuple[Config, Job]:
    """Prepare a training; return it with its settings, in which nothing is left open.

    Args:
        origin: the settings, and the names they come from.
        cache: a folder for the token ids of a corpus too large to be held.
        run: a run that will go on, whose vocabulary, labels and data are those of the job.
        modules: networks of one's own.

    Raises:
        UserError: settings that exclude each other, that the data cannot serve, or that do not fit into memory.
    """
    config = origin.config
    validate(with_epochs(config))
    build_device(config.train.device)
    earlier = run or (RunFolder(Path(config.train.init_from)) if config.train.init_from else None)
    vocabulary, space = (earlier.vocabulary(), earlier.label_space()) if earlier else (None, None)
    if space and not run:
        space = space.only(config.model.condition)
    splits = build_splits(config.data, vocabulary, space, cache=cache)
    if run and (changed := run.changed(splits)):
        raise UserError(f"{run.path}: the data have changed since the run began ({', '.join(changed)}); restore them")
    config, choices = with_choices(config, splits)
    validate_for_data(config, splits, read_lab_pairs(config.data))
    model = fitting_model(config, splits, modules)
    if earlier and not run:
        load_model(earlier, config, splits.vocabulary, model=model, modules=modules).train()
    for part in config.train.freeze:
        model.get_submodule(part).requires_grad_(False)
    if not any(weight.requires_grad for weight in model.parameters()):
        raise UserError("train.freeze: no weight is left to train; leave a part out of it")
    job = _job(with_epochs(config), splits, model)  # a wrong schedule is said before anything else
    say(*splits.messages, *choices, *_precision(config, model), _size(splits, model))
    if not run:
        config = _with_time(origin, config, job)
    if config.train != job.train:  # its length was left open, and has been chosen
        job = _job(config, splits, model)
    last = job.steps_per_epoch * (config.train.epochs - config.train.pretrain_epochs) - 1
    weight, _ = job.objective.penalties[0].schedules
    if weight.settles > last + 1:
        say(
            f"the schedule {config.objective.weight} is longer than the run: weight ends at {weight(last):.2f}, "
            f"not {weight.end:g}"
        )
    return config, job


def with_choices(config: Config, splits: Splits) -> tuple[Config, list[str]]:
    """Return the settings with what was left open chosen by the data, and a line for each choice.

    The network is the smaller the less there is to learn from: a large one is slow, and learns a small corpus by heart. Of long
    sentences a batch has fewer, so that there are enough steps.
    """
    data = replace(
        config.data, level=splits.vocabulary.level, max_vocab=config.data.max_vocab or len(splits.vocabulary)
    )
    width = next((width for most, width in WIDTHS if splits.train.predicted <= most), WIDEST)
    encoder, decoder = _with_widths(config.encoder, width), _with_widths(config.decoder, width)
    chosen = []
    if (encoder, decoder) != (config.encoder, config.decoder):
        chosen.append(
            f"network: {decoder.kind}, hidden {decoder.hidden}, embeddings {decoder.emb}, z {config.model.latent}; "
            "--encoder.hidden, --encoder.emb, --decoder.hidden, --decoder.emb, --model.latent"
        )
    train = config.train
    if not train.batch_size:
        tokens = splits.train.predicted / len(splits.train)
        train = replace(train, batch_size=round(min(max(BATCH_TOKENS / tokens, FEWEST_ROWS), MOST_ROWS)))
    return replace(config, data=data, encoder=encoder, decoder=decoder, train=train), chosen


def _with_widths(network: Any, width: int) -> Any:
    """Return the settings of a network with the widths that were left open."""
    hidden = getattr(network, "hidden", width) or width
    widths = {"hidden": hidden, "emb": max(1, hidden // 2)}
    return replace(network, **{name: width for name, width in widths.items() if getattr(network, name, 1) == 0})


def _job(config: Config, splits: Splits, model: VAE) -> Job:
    batches = steps_per_epoch(splits.train.lengths, config.train)
    objective, lr_factor = build_objective(config, batches, splits), build_lr_factor(config, batches)
    return Job(
        model, objective, splits, config.optim, config.train, config.monitor, lr_factor, build_measure(config, splits)
    )


def fitting_model(config: Config, splits: Splits, modules: Modules = NONE_OWN) -> VAE:
    """Build the network where it will be trained.

    Raises:
        UserError: it does not fit into memory, which is checked before any of it is allocated.
    """
    # the encoder reads BOS, the tokens and EOS: one more than is predicted
    lengths, space = splits.train.lengths + 1, LabelSpace(splits.train.label_names)
    device = build_device(config.train.device)
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else math.inf
    if device.type == "cuda":
        available = torch.cuda.get_device_properties(device).total_memory
    try:
        with torch.device("meta"):
            model = build_model(config, len(splits.vocabulary), lengths, space=space, modules=modules)
        needed = COPIES * sum(part.numel() * part.element_size() for part in model.parameters())
    except (RuntimeError, OverflowError):  # sizes that no tensor has
        needed = 2**63
    if needed > available:
        raise UserError(
            f"the model would take {needed / 2**30:,.0f} GiB of memory in training, and there are {available / 2**30:,.0f}; "
            "lower the hidden and emb of encoder and decoder, model.latent, decoder.context or data.max_vocab"
        )
    return build_model(config, len(splits.vocabulary), lengths, space=space, modules=modules).to(device)


def with_epochs(config: Config) -> Config:
    """Return the configuration with a number of epochs, where that is still to be chosen."""
    return replace(config, train=replace(config.train, epochs=config.train.epochs or MOST_EPOCHS))


def _precision(config: Config, model: VAE) -> list[str]:
    if config.train.precision == "fp32" or multiplies_in_bf16(model.device):
        return []
    return ["train.precision bf16: this CPU does not multiply in bf16; training is in fp32"]


def _size(splits: Splits, model: VAE) -> str:
    parameters = sum(p.numel() for p in model.parameters())
    return (
        f"{len(splits.train):,} training sentences ({splits.train.predicted:,} tokens), {len(splits.valid):,} validation, "
        f"{len(splits.test):,} test; vocabulary {len(splits.vocabulary):,}; {parameters / 1e6:.1f} M parameters"
    )


def _with_time(origin: Origin, config: Config, job: Job) -> Config:
    """Measure the speed, choose the length of training where that was left open, and say how long it will take."""
    settings, began, steps = config.train, time.perf_counter(), job.steps_per_epoch
    middle = with_epochs(config).train.epochs * steps // 2
    pace = measure_pace(job.trainer(), job.splits.train, settings.batch_size, step=middle)
    if settings.aggressive == "adaptive":
        pace = replace(pace, step=pace.step * (1 + settings.aggressive_budget))
    inner = LEAST_INNER_STEPS * pace.step if settings.aggressive not in ("off", "adaptive") else 0.0
    most = settings.aggressive_steps or steps * MOST_EPOCHS
    step, inner = (pace.step + inner, 0.0) if not settings.epochs and most >= steps else (pace.step, inner)
    budget, epochs = 60 * settings.minutes, settings.epochs
    if not epochs:
        passes = FEWEST_EPOCHS if 2 * FEWEST_EPOCHS * pace.validation < budget else 1
        fitting = int((budget / passes - pace.validation) / step)
        if not settings.steps_per_epoch and fitting < steps:
            steps = max(min(LEAST_STEPS, steps), fitting)
        epochs = max(1, min(MOST_EPOCHS, int(budget / (step * steps + pace.validation))))
    total = (step * steps + pace.validation) * epochs + inner * min(most, steps * epochs)
    part = f", each over {steps / job.steps_per_epoch:.0%} of the text" if steps < job.steps_per_epoch else ""
    remedies = ", ".join(origin.remedies) or "no remedy"
    records = " and the time of its records" if settings.record_every else ""
    flags = f"--remedy NAME, --train.batch_size, {'--train.epochs' if settings.epochs else '--train.minutes'}"
    say(
        f"training: {remedies}, {config.optim.optimizer} {config.optim.lr:g}, {epochs} epochs of {steps:,} steps of "
        f"{settings.batch_size} sentences{part}, about {spell_time(total)}{records}{_aggressive_words(settings)}; {flags} "
        f"(measured in {time.perf_counter() - began:.1f} s)"
    )
    if steps < job.steps_per_epoch:
        settings = replace(settings, steps_per_epoch=steps)
    planned = replace(config, train=replace(settings, epochs=epochs))
    validate(planned)
    return planned


def _aggressive_words(settings: TrainConfig) -> str:
    if settings.aggressive == "off":
        return ""
    if settings.aggressive == "adaptive":
        return f", if the encoder takes all of its own steps, {settings.aggressive_budget:g} for each step"
    return f", if the aggressive phase lasts and takes the least it can, {LEAST_INNER_STEPS} encoder steps before each step"
