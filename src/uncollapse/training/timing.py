"""How long training will take, measured before it begins."""

import time
from dataclasses import dataclass, replace
from itertools import chain

import torch

from uncollapse.data.corpus import shuffled_batches
from uncollapse.nn.casts import precision
from uncollapse.training.job import Job
from uncollapse.training.optimizers import descend, gradient_norm, make_optimizer

WARM_UP = 2
MEASURED = 12
"""Batches that are measured, the shortest to the longest, within `SECONDS`, but at least `LEAST`."""
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


def measure_pace(job: Job, step: int) -> Pace:
    """Measure a few training steps, without changing the model or the random state.

    A validation is counted as a third of training a token.

    Args:
        job: what will be trained.
        step: where its schedules are looked at.
    """
    model, corpus, train = job.model, job.splits.train, job.train
    order = sorted(
        shuffled_batches(corpus.lengths, train.batch_size, train.seed, 0), key=lambda b: corpus.lengths[b].sum()
    )
    shares = sorted(range(MEASURED), key=lambda i: (i % 3 != 1, i % 2, i))  # the middle of each third first
    picked = [order[len(order) * (2 * i + 1) // (2 * MEASURED)] for i in shares]
    random = torch.get_rng_state()
    moments = {name: buffer.clone() for name, buffer in model.named_buffers()}  # of batch normalisation
    still = make_optimizer([list(model.parameters())], replace(job.optim, lr=0.0))
    seconds: list[float] = []
    model.train()
    for index in chain(picked[:WARM_UP], picked):
        if len(seconds) >= WARM_UP + LEAST and sum(seconds) > SECONDS:
            break
        began = time.perf_counter()
        batch = corpus.batch(index).to(model.device)
        with precision(train.precision, model.device):
            extra = job.task.extra(model, len(batch), step)
            loss = job.objective(model, batch, step).loss + (extra() if extra is not None else 0.0)
        loss.backward()
        descend(still, gradient_norm(model.parameters()), job.optim.clip)
        model.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - began)
    torch.set_rng_state(random)
    for name, buffer in model.named_buffers():
        buffer.copy_(moments[name])
    mean = sum(seconds[WARM_UP:]) / (len(seconds) - WARM_UP)
    return Pace(mean, mean * len(order) * job.splits.valid.predicted / corpus.predicted / 3)
