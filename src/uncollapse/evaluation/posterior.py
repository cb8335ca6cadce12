"""What the posterior carries: mutual information and active units."""

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from uncollapse.data.corpus import Corpus
from uncollapse.data.order import ordered_batches
from uncollapse.distributions.divergences import kl_by_dimension
from uncollapse.distributions.posteriors import Posterior, cat
from uncollapse.evaluation.scores import of_each_batch, rows_at_a_time
from uncollapse.model import VAE

ACTIVE = 0.01
"""Variance of mu over a corpus from which a dimension counts as active (Burda et al. 2016, section 5.2)."""


@torch.inference_mode()
def posteriors(model: VAE, corpus: Corpus) -> Posterior:
    """Return q(z | x) of every sentence of a corpus, `[N, Z]`, on the CPU."""
    device = model.device
    batches = ordered_batches(corpus.lengths, rows_at_a_time(corpus))
    results, back = of_each_batch(batches, lambda index: model.posterior(corpus.batch(index).to(device)).cpu())
    return cat(results)[back]


@torch.inference_mode()
def rates_by_dimension(model: VAE, corpus: Corpus, posterior: Posterior) -> list[float] | None:
    """Return the mean KL(q, p) of every dimension over a corpus, nats; None where it has no closed form.

    Args:
        model: the model.
        corpus: any split.
        posterior: of its sentences, on the CPU.
    """
    labels = {name: torch.from_numpy(classes) for name, classes in corpus.labels.items()}
    each = kl_by_dimension(posterior, deepcopy(model.prior).cpu(), labels)
    return None if each is None else each.double().flatten(1).mean(0).tolist()


def drawn_codes(model: VAE, corpus: Corpus, seed: int = 0) -> Tensor:
    """Return one draw z ~ q(z | x) of every sentence, `[N, Z]`, on the CPU: unlike its mean, it carries no more than MI nats."""
    posterior = posteriors(model, corpus)
    return posterior.transform(posterior.noise(len(corpus), 1, torch.Generator().manual_seed(seed)))[:, 0]


@dataclass(frozen=True)
class Estimate:
    """A value with its standard error and the most that its estimator could return."""

    value: float
    se: float
    cap: float


def mutual_information(posterior: Posterior, z: Tensor, chunk: int = 1000) -> Estimate:
    """Estimate I(x; z) under q from one draw a sentence, pooled over all sentences: the mean of the values below."""
    value, n = sentence_mutual_information(posterior, z, chunk), len(z)
    return Estimate(float(value.mean()), float(value.std() / math.sqrt(n)) if n > 1 else 0.0, math.log(n))


@torch.inference_mode()
def sentence_mutual_information(posterior: Posterior, z: Tensor, chunk: int = 1000) -> Tensor:
    """Return what each sentence contributes to I(x; z), `[n]`, nats.

        mi_i = log q(z_i | x_i) - log 1/n sum_j q(z_i | x_j)

    Both terms use the same z_i, so that their noise cancels near collapse. No mi_i exceeds log n, the cap. The mean
    underestimates the mutual information when it is near the cap.

    Args:
        posterior: of n sentences, `[n, Z]`.
        z: one draw each, `[n, Z]`.
        chunk: rows of the n x n table held at a time.

    Source: Hoffman & Johnson 2016; Dieng et al. 2019, with the marginal pooled over the corpus.
    """
    n = len(z)
    values = []
    for start in range(0, n, chunk):
        table = posterior.cross_log_prob(z[start : start + chunk])  # log q(z_i | x_j)
        values.append(table.diagonal(start) - table.logsumexp(1) + math.log(n))
    return torch.cat(values)


@torch.inference_mode()
def batch_mutual_information(posterior: Posterior, batches: Sequence[np.ndarray]) -> float:
    """Estimate I(x; z) as the reference implementation of He et al. 2019 does, for its stop rule alone: never reported.

    The mean over mini-batches of (analytic negative entropy of q(z | x)) - (log of the batch's mean density at one draw a
    sentence), z drawn anew at every call from torch's random state. It cannot exceed the log of the batch's size by more than
    noise, and is noisy near collapse.

    Args:
        posterior: of all sentences, `[N, Z]`, on the CPU.
        batches: the sentences of each mini-batch.
    """
    total = 0.0
    for rows in map(torch.from_numpy, batches):
        q = posterior[rows]
        draws = q.transform(q.noise(len(q), 1))[:, 0]
        table = q.log_prob(draws.expand(len(draws), *draws.shape))  # [j, i] = log q(z_i | x_j)
        negative_entropy = (table.diagonal() if q.entropy is None else -q.entropy).mean()
        total += float(negative_entropy - (table.logsumexp(0) - math.log(len(draws))).mean()) * len(draws)
    return total / len(posterior)


def active_units(mean: Tensor, threshold: float = ACTIVE) -> int:
    """Count the dimensions whose mean varies over the corpus: Var_x(E[z_d | x]) >= threshold.

    Args:
        mean: of the codes of n sentences, `[n, *event]`.
        threshold: 0.01 in He et al. 2019.
    """
    return int((mean.double().var(0) >= threshold).sum()) if len(mean) > 1 and mean.numel() else 0
