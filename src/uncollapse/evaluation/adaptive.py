"""Importance-weighted draws where they are needed: as exact as K draws for every sentence, with far fewer in all.

The bound of sentence i from K_i draws has, to first order in 1 / K_i, the variance v_i / K_i and lies v_i / (2 K_i) above
-log p(x_i), where v_i = Var(w) / E(w)^2 is the relative variance of its weights. So the mean over N sentences has

    se^2 = sum_i v_i / K_i / N^2    and the looseness    N se^2 / 2:

whoever has the same error has the same looseness. The fewest draws with the error of K for all are

    K_i = K sqrt(v_i) sum_j sqrt(v_j) / sum_j v_j

(Neyman 1934). The v_i are estimated as draws come in, a few for every sentence first.
"""

import numpy as np
import torch
from torch import Tensor

from uncollapse.data.corpus import Corpus
from uncollapse.evaluation.bounds import Precision, Tick, log_weights, relative_variance
from uncollapse.model import VAE

PILOT = 32
"""Draws of every sentence to begin with."""
GROWTH = 3
"""Most times by which a sentence's draws grow before its variance is looked at again."""
STEP = 1.3
"""Numbers of draws are rounded up to a power of this, so that sentences can be drawn for together."""
MOST = 20
"""No sentence gets more than so many times K draws."""


def adaptive_log_weights(
    model: VAE,
    corpus: Corpus,
    indices: np.ndarray,
    samples: int,
    seed: int = 0,
    tick: Tick = lambda done: None,
    precision: Precision = "fp32",
) -> list[Tensor]:
    """Return log weights of every sentence, as many as it needs, `[K_i]` each, nats.

    The mean of the bounds has the error that `samples` draws for every sentence would give, by the variances found.

    Args:
        model: in evaluation mode.
        corpus: any split.
        indices: the sentences.
        samples: K of the fixed protocol that is matched.
        seed: of the noise; each sentence has its own stream.
        tick: is told of every finished sentence.
        precision: of the decoder's arithmetic.
    """
    first = log_weights(model, corpus, indices, min(PILOT, samples), seed, precision=precision)
    drawn, rounds = list(first), 0
    while len(more := wanted(drawn, samples)) and more.any():
        rounds += 1
        for count in np.unique(more[more > 0]):
            group = np.flatnonzero(more == count)
            fresh = log_weights(
                model, corpus, indices[group], int(count), seed + 1_000_000 * rounds, precision=precision
            )
            for place, weights in zip(group, fresh, strict=True):
                drawn[place] = torch.cat([drawn[place], weights])
    tick(len(indices))
    return drawn


def wanted(drawn: list[Tensor], samples: int) -> np.ndarray:
    """Return how many more draws each sentence should get now; zeros when the error is that of K draws for all."""
    counts = np.array([len(weights) for weights in drawn])
    variance = np.array([relative_variance(weights) for weights in drawn])
    total = variance.sum()
    if not total or (variance / counts).sum() <= total / samples:
        return np.zeros(len(drawn), dtype=int)
    deviation = np.sqrt(variance)
    ideal = np.minimum(samples * deviation * deviation.sum() / total, MOST * samples)
    more = np.minimum(ideal - counts, (GROWTH - 1) * counts)
    steps = np.ceil(np.log(np.maximum(more, 1)) / np.log(STEP))
    return np.where(more >= 1, np.ceil(STEP**steps), 0).astype(int)
