"""What the posterior carries: mutual information and active units."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from uncollapse.latent import LOG_TWO_PI, Gaussian

ACTIVE = 0.01
"""Variance of mu over a corpus from which a dimension counts as active (Burda et al. 2016, section 5.2)."""


@dataclass(frozen=True)
class Estimate:
    """A value with its standard error and the most that its estimator could return."""

    value: float
    se: float
    cap: float


@torch.inference_mode()
def mutual_information(posterior: Gaussian, z: Tensor, chunk: int = 1000) -> Estimate:
    """Estimate I(x; z) under q from one draw a sentence, pooled over all sentences given.

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
    # log q(z_i | x_j) = -1/2 sum_d [ log 2 pi + logvar_j + z_i^2 / v_j - 2 z_i mu_j / v_j + mu_j^2 / v_j ]
    own = (LOG_TWO_PI + logvar + mu**2 * precision).sum(1)
    values = []
    for start in range(0, n, chunk):
        rows = z[start : start + chunk]
        table = -0.5 * (rows**2 @ precision.T - 2 * rows @ (mu * precision).T + own)
        values.append(table.diagonal(start) - table.logsumexp(1) + math.log(n))
    value = torch.cat(values)
    return Estimate(float(value.mean()), float(value.std() / math.sqrt(n)) if n > 1 else 0.0, math.log(n))


def active_units(mu: Tensor, threshold: float = ACTIVE) -> int:
    """Count the dimensions whose mean varies over the corpus: Var_x(mu_d) >= threshold.

    Args:
        mu: `[n, Z]`.
        threshold: 0.01 in He et al. 2019.
    """
    return int((mu.double().var(0) >= threshold).sum()) if len(mu) > 1 and mu.shape[1] else 0
