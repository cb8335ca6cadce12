"""How long training will take, measured before it begins."""

import math
import time
from dataclasses import dataclass
from itertools import chain

import torch

from uncollapse.data.corpus import Corpus
from uncollapse.nn.casts import precision
from uncollapse.training.batches import EpochBatches
from uncollapse.training.fit import Trainer
from uncollapse.training.optimizers import clip_and_step, gradient_norm

WARM_UP = 2
MEASURED = 12
"""Batches that are measured, the shortest to the longest, within `SECONDS`, but at least `LEAST`."""
LOOKED_AT = 2000
"""Batches that these are chosen among, the first of a shuffled epoch."""
LEAST, SECONDS = 3, 5.0


@dataclass(frozen=True)
class Pace:
    """How fast a training is.

    Attributes:
        step: seconds of a step, mean over batches.
        validation: seconds of a validation.
    """

    step: float
    validation: float


def measure_pace(trainer: Trainer, corpus: Corpus, batch_size: int, *, step: int) -> Pace:
    """Measure a few training steps, without changing the model or the random state.

    A token of validation counts a third of one in training.

    Args:
        trainer: a training that has not begun.
        corpus: its training split.
        batch_size: sentences of a batch, of which each of several processes has its share.
        step: where its schedules are looked at.
    """
    model, processes = trainer.model, trainer.world.size
    batches = EpochBatches(corpus, math.ceil(batch_size / processes), 0, 0, 0)
    order = sorted(range(min(len(batches), LOOKED_AT)), key=lambda i: corpus.lengths[batches.order[i]].sum())
    shares = sorted(range(MEASURED), key=lambda i: (i % 3 != 1, i % 2, i))  # the middle of each third first
    picked = [order[len(order) * (2 * i + 1) // (2 * MEASURED)] for i in shares]
    random = torch.get_rng_state()
    moments = {name: buffer.clone() for name, buffer in model.named_buffers()}  # of batch normalisation
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    still = trainer.make_optimizer([{"params": weights, "lr": 0.0}])
    model.train()
    seconds: list[float] = []
    for i in chain(picked[:WARM_UP], picked):
        if len(seconds) >= WARM_UP + LEAST and sum(seconds) > SECONDS:
            break
        began = time.perf_counter()
        with precision(trainer.precision, model.device):
            loss = trainer.objective(model, batches[i].to(model.device), step).loss
        loss.backward()
        clip_and_step(still, gradient_norm(weights), trainer.clip)
        model.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - began)
    torch.set_rng_state(random)
    for name, buffer in model.named_buffers():
        buffer.copy_(moments[name])
    mean = sum(seconds[WARM_UP:]) / (len(seconds) - WARM_UP)
    return Pace(mean, mean * len(batches) / processes * trainer.valid.predicted / corpus.predicted / 3)
