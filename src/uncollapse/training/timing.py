"""How long training will take, measured before it begins."""

import time

import torch

from uncollapse.data.corpus import shuffled_batches
from uncollapse.nn.casts import precision
from uncollapse.training.job import Job


def seconds_per_epoch(job: Job, epochs: int) -> float:
    """Measure a few training steps, without changing the model or the random state, and extrapolate to an epoch.

    Batches are taken evenly from the shortest to the longest, at the middle of the schedules; validation is counted as a third of
    training a token.

    Args:
        job: what will be trained.
        epochs: how long the schedules are.
    """
    model, corpus, train, device = job.model, job.splits.train, job.train, job.model.device
    order = sorted(
        shuffled_batches(corpus.lengths, train.batch_size, train.seed, 0), key=lambda b: corpus.lengths[b].sum()
    )
    picked = [order[len(order) * share // 100] for share in (50, 10, 50, 90)]
    random, tokens, seconds = torch.get_rng_state(), 0, 0.0
    middle = len(order) * epochs // 2
    moments = {name: buffer.clone() for name, buffer in model.named_buffers()}  # of batch normalisation
    model.train()
    for number, index in enumerate(picked):
        batch = corpus.batch(index).to(device)
        began = time.perf_counter()
        with precision(train.precision, device):
            extra = job.task.extra(model, len(batch), middle)
            loss = job.objective(model, batch, middle).loss + (extra() if extra is not None else 0.0)
        loss.backward()
        float(loss.detach())
        if number:  # the first step also warms up
            tokens, seconds = tokens + batch.predicted, seconds + time.perf_counter() - began
    model.zero_grad(set_to_none=True)
    torch.set_rng_state(random)
    for name, buffer in model.named_buffers():
        buffer.copy_(moments[name])
    return seconds / tokens * (corpus.predicted + job.splits.valid.predicted / 3)
