"""What the posterior carries: mutual information and active units."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from uncollapse.data.corpus import Corpus, ordered_batches
from uncollapse.latent import LOG_TWO_PI, Diagonal, pool
from uncollapse.model import VAE

ACTIVE = 0.01
"""Variance of mu over a corpus from which a dimension counts as active (Burda et al. 2016, section 5.2)."""


@torch.inference_mode()
def posteriors(model: VAE, corpus: Corpus) -> Diagonal:
    """Return q(z given x) of every sentence of a corpus, `[N, Z]`, on the CPU."""
    device = model.device
    order = ordered_batches(corpus.lengths, 256)
    found = pool([model.posterior(corpus.batch(index).to(device)).cpu() for index in order])
    return found[torch.from_numpy(np.argsort(np.concatenate(order)))]


def drawn_codes(model: VAE, corpus: Corpus, seed: int = 0) -> Tensor:
    """Return one draw z ~ q(z | x) of every sentence, `[N, Z]`, on the CPU: unlike its mean, it carries no more than MI nats."""
    noise = model.prior.noise(len(corpus), 1, torch.Generator().manual_seed(seed))
    return posteriors(model, corpus).at(noise)[:, 0]


@dataclass(frozen=True)
class Estimate:
    """A value with its standard error and the most that its estimator could return."""

    value: float
    se: float
    cap: float


def mutual_information(posterior: Diagonal, z: Tensor, chunk: int = 1000) -> Estimate:
    """Estimate I(x; z) under q from one draw a sentence, pooled over all sentences given: the mean of the values below."""
    value, n = sentence_mutual_information(posterior, z, chunk), len(z)
    return Estimate(float(value.mean()), float(value.std() / math.sqrt(n)) if n > 1 else 0.0, math.log(n))


@torch.inference_mode()
def sentence_mutual_information(posterior: Diagonal, z: Tensor, chunk: int = 1000) -> Tensor:
    """Return what each sentence contributes to I(x; z), `[n]`, nats.

        mi_i = log q(z_i given x_i) - log 1/n sum_j q(z_i given x_j)

    Both terms use the same z_i, so that their noise cancels near collapse. No mi_i exceeds log n, the cap. The mean
    underestimates the mutual information when it is near the cap.

    Args:
        posterior: of n sentences, `[n, Z]`.
        z: one draw each, `[n, Z]`.
        chunk: rows of the n x n table held at a time.

    Source: Hoffman & Johnson 2016; Dieng et al. 2019, with the marginal pooled over the corpus.
    """
    n = len(z)
    mu, logvar, z = posterior.mu.double(), posterior.logvar.double(), z.double()
    precision = (-logvar).exp()
    # log q(z_i | x_j) = radial(m_ij) - 1/2 sum_d logvar_j, m_ij = sum_d (z_i^2 - 2 z_i mu_j + mu_j^2) / v_j
    own = (mu**2 * precision).sum(1)
    values = []
    for start in range(0, n, chunk):
        rows = z[start : start + chunk]
        squared = (rows**2 @ precision.T - 2 * rows @ (mu * precision).T + own).clamp(min=0)
        table = posterior.radial(squared) - 0.5 * logvar.sum(1)
        values.append(table.diagonal(start) - table.logsumexp(1) + math.log(n))
    return torch.cat(values)


@torch.inference_mode()
def batch_mutual_information(posterior: Diagonal, z: Tensor, batch: int) -> float:
    """Estimate I(x; z) as the reference implementation of He et al. 2019 does, for its stop rule alone: never reported.

    The mean over mini-batches of (analytic negative entropy of q(z given x)) - (log of the batch's mean density at one draw a
    sentence). It cannot exceed log(batch) by more than noise, and is noisy near collapse.
    """
    total = 0.0
    for start in range(0, len(z), batch):
        rows = slice(start, start + batch)
        q, draws = posterior[rows], z[rows]
        negative_entropy = -0.5 * (q.latent * (LOG_TWO_PI + 1) + q.logvar.sum(1)).mean()
        table = q.log_prob(draws.expand(len(draws), *draws.shape))  # [j, i] = log q(z_i | x_j)
        total += float(negative_entropy - (table.logsumexp(0) - math.log(len(draws))).mean()) * len(draws)
    return total / len(z)


def active_units(mu: Tensor, threshold: float = ACTIVE) -> int:
    """Count the dimensions whose mean varies over the corpus: Var_x(mu_d) >= threshold.

    Args:
        mu: `[n, Z]`.
        threshold: 0.01 in He et al. 2019.
    """
    return int((mu.double().var(0) >= threshold).sum()) if len(mu) > 1 and mu.shape[1] else 0
