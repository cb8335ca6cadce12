"""From settings to a job: the data, the model, the objective and the optimizer's schedule, each prepared once."""

import math
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from uncollapse.build import (
    build_device,
    build_lr_factor,
    build_model,
    build_objective,
    build_splits,
    build_task,
    read_lab_pairs,
)
from uncollapse.checks import refuse_for_data, refuse_impossible
from uncollapse.config import Config
from uncollapse.data.labels import LabelSpace
from uncollapse.data.splits import Splits
from uncollapse.errors import UserError
from uncollapse.model import VAE
from uncollapse.nn.casts import multiplies_in_bf16
from uncollapse.run import RunFolder
from uncollapse.training.aggressive import LEAST_INNER_STEPS
from uncollapse.training.job import Job
from uncollapse.training.timing import seconds_per_epoch

MOST_EPOCHS = 40
COPIES = 4
"""Of the weights in memory while a model is trained: they, their gradients, and two moments of Adam."""

Remark = Callable[[str], None]


def plan(config: Config, cache: Path, remark: Remark, run: RunFolder | None = None) -> tuple[Config, Job]:
    """Prepare a training; return it with its settings, in which the number of epochs is known.

    Args:
        config: the settings.
        cache: a folder for the token ids of a corpus too large to be held.
        remark: is told what the user should know.
        run: a run that will go on, whose vocabulary, labels and data are those of the job.

    Raises:
        UserError: settings that exclude each other, that the data cannot serve, or that do not fit into memory.
    """
    refuse_impossible(with_epochs(config))
    build_device(config.train.device)
    splits = build_splits(config.data, run.vocabulary() if run else None, run.label_space() if run else None, cache)
    if run and (changed := run.changed(splits)):
        raise UserError(f"{run.path}: the data have changed since the run began ({', '.join(changed)}); restore them")
    refuse_for_data(config, splits, read_lab_pairs(config.data))
    model = fitting_model(config, splits)
    batches = math.ceil(len(splits.train) / config.train.batch_size)
    job = _job(with_epochs(config), splits, model, batches)  # a wrong schedule is said before anything else
    for text in (*splits.remarks, *_precision(config, model), _size(splits, model)):
        remark(text)
    if not run:
        config = _with_time(config, job, batches, remark)
    if config.train.epochs != job.train.epochs:  # they were left open, and have been chosen
        job = _job(config, splits, model, batches)
    last = batches * (config.train.epochs - config.train.pretrain_epochs) - 1
    weight = job.objective.weight
    if weight.settles > last + 1:
        remark(
            f"the schedule {config.objective.weight} is longer than the run: weight ends at {weight(last):.2f}, "
            f"not {weight.end:g}"
        )
    return config, job


def _job(config: Config, splits: Splits, model: VAE, batches: int) -> Job:
    objective, lr_factor = build_objective(config, batches), build_lr_factor(config, batches)
    return Job(model, objective, splits, config.optim, config.train, lr_factor, build_task(config, splits, batches))


def fitting_model(config: Config, splits: Splits) -> VAE:
    """Build the network where it will be trained.

    Raises:
        UserError: it does not fit into memory, which is found out before any of it is allocated.
    """
    # the encoder reads BOS, the tokens and EOS: one more than is predicted
    lengths, space = splits.train.lengths + 1, LabelSpace(splits.train.label_names)
    device = build_device(config.train.device)
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else math.inf
    if device.type == "cuda":
        available = torch.cuda.get_device_properties(device).total_memory
    try:
        with torch.device("meta"):
            model = build_model(config, len(splits.vocabulary), lengths, space)
        needed = COPIES * sum(part.numel() * part.element_size() for part in model.parameters())
    except (RuntimeError, OverflowError):  # sizes that no tensor has
        needed = 2**63
    if needed > available:
        raise UserError(
            f"the model would take {needed / 2**30:,.0f} GiB of memory in training, and there are {available / 2**30:,.0f}; "
            "lower model.hidden, model.emb, model.latent, model.context or data.max_vocab"
        )
    return build_model(config, len(splits.vocabulary), lengths, space).to(device)


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


def _with_time(config: Config, job: Job, batches: int, remark: Remark) -> Config:
    """Measure the speed, choose the epochs where that was left open, and say how long training will take."""
    settings, began = config.train, time.perf_counter()
    epoch = seconds_per_epoch(job, with_epochs(config).train.epochs)
    most = settings.aggressive_steps or batches * MOST_EPOCHS
    inner = 0.0 if settings.aggressive == "off" else LEAST_INNER_STEPS * epoch / batches
    if not settings.epochs and most >= batches:
        epoch, inner = epoch + inner * batches, 0.0
    epochs = settings.epochs or max(1, min(MOST_EPOCHS, int(60 * settings.minutes / epoch)))
    total = epoch * epochs + inner * min(most, batches * epochs)
    chosen = "" if settings.epochs else " (chosen by train.minutes; set --train.epochs for more or fewer)"
    aggressive = f", if the aggressive phase lasts and takes the least it can, {LEAST_INNER_STEPS} encoder steps before each step"
    remark(
        f"about {spell_time(total)} for {epochs} epochs of {batches:,} steps{chosen}"
        f"{aggressive if settings.aggressive != 'off' else ''}; measured in {time.perf_counter() - began:.1f} s"
    )
    planned = replace(config, train=replace(settings, epochs=epochs))
    refuse_impossible(planned)
    return planned


def spell_time(seconds: float) -> str:
    """Return seconds in words: `42 s`, `7 min`, `3.2 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
