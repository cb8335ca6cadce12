"""What a training needs, prepared once."""

import math
from dataclasses import dataclass, field

from uncollapse.data.splits import Splits
from uncollapse.model import VAE
from uncollapse.objectives import Objective
from uncollapse.schedules import Schedule, constant
from uncollapse.sections import OptimConfig, TrainConfig
from uncollapse.training.task import Task


@dataclass(frozen=True)
class Job:
    """A model, what it learns, from which data, and how.

    Attributes:
        model: the network, where it will be trained.
        objective: what is minimised.
        splits: the data.
        optim: the optimizer's settings.
        train: the settings of the loop; `epochs` is known.
        lr_factor: factor on the learning rate.
        task: what is learned and measured beside the objective.
    """

    model: VAE
    objective: Objective
    splits: Splits
    optim: OptimConfig
    train: TrainConfig
    lr_factor: Schedule = field(default_factory=lambda: constant(1.0))
    task: Task = field(default_factory=Task)

    @property
    def steps_per_epoch(self) -> int:
        """Return the steps of an epoch."""
        return steps_per_epoch(len(self.splits.train), self.train)


def steps_per_epoch(sentences: int, train: TrainConfig) -> int:
    """Return the steps of an epoch over so many training sentences."""
    batches = math.ceil(sentences / train.batch_size)
    return min(batches, train.steps_per_epoch or batches)
