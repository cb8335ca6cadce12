"""What a training needs, prepared once from settings."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from uncollapse.data.order import batches_an_epoch
from uncollapse.data.splits import Splits
from uncollapse.model import VAE
from uncollapse.objectives import Objective
from uncollapse.runs.sections import MonitorConfig, OptimConfig, TrainConfig
from uncollapse.schedules import Schedule, constant
from uncollapse.training.aggressive import Phase
from uncollapse.training.batches import batches_of
from uncollapse.training.callbacks import Callback
from uncollapse.training.fit import Measure, Trainer
from uncollapse.training.plateau import Plateau


@dataclass(frozen=True)
class Job:
    """A model, what it learns, from which data, and how.

    Attributes:
        model: the network, where it will be trained.
        objective: what is minimised.
        splits: the data.
        optim: the optimizer's settings.
        train: the settings of the loop; `epochs` is known.
        monitor: the settings of the monitor.
        lr_factor: factor on the learning rate.
        measure: further numbers of a split, or None.
    """

    model: VAE
    objective: Objective
    splits: Splits
    optim: OptimConfig
    train: TrainConfig
    monitor: MonitorConfig = field(default_factory=MonitorConfig)
    lr_factor: Schedule = field(default_factory=lambda: constant(1.0))
    measure: Measure | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Return the steps of an epoch."""
        return steps_per_epoch(self.splits.train.lengths, self.train)

    def trainer(self, callbacks: Sequence[Callback] = ()) -> Trainer:
        """Return the training."""
        train, optim, splits = self.train, self.optim, self.splits
        return Trainer(
            self.model,
            self.objective,
            batches_of(splits.train, train.batch_size, train.seed, most=self.steps_per_epoch, order=train.batches),
            splits.valid,
            optimizer=lambda groups: make_optimizer(groups, optim),
            epochs=train.epochs,
            clip=optim.clip,
            lr_factor=self.lr_factor,
            precision=train.precision,
            plateau=Plateau(optim.patience, optim.decay_after, optim.max_decays, optim.decay),
            phase=Phase(
                train.aggressive,
                train.aggressive_steps,
                on=train.aggressive != "off",
                batch_size=train.batch_size,
                budget=train.aggressive_budget * (train.epochs - train.pretrain_epochs) * self.steps_per_epoch,
            ),
            pretrain_epochs=train.pretrain_epochs,
            select=train.select,
            measure=self.measure,
            test=(splits.test, train.eval_test_every) if train.eval_test_every else None,
            callbacks=callbacks,
        )


def steps_per_epoch(lengths: np.ndarray, train: TrainConfig) -> int:
    """Return the steps of an epoch over training sentences of these lengths."""
    batches = batches_an_epoch(lengths, train.batch_size, train.batches)
    return min(batches, train.steps_per_epoch or batches)


OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


def make_optimizer(groups: list[dict[str, Any]], settings: OptimConfig) -> torch.optim.Optimizer:
    """Return the optimizer that the settings name. A weight without a gradient stays where it is, and so does its state.

    Args:
        groups: of weights, as torch's optimizers take them.
        settings: which optimizer, and how fast.
    """
    # fused: one pass over weights and gradients
    common: dict[str, Any] = {"lr": settings.lr, "weight_decay": settings.weight_decay, "fused": True}
    if settings.optimizer == "sgd":
        common["momentum"] = settings.momentum
    return OPTIMIZERS[settings.optimizer](groups, **common)
