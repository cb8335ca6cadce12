"""Divergences of a posterior q from a prior p, in nats: closed forms.

Each takes two diagonal distributions of shape `[..., Z]` and returns `[..., Z]` where it is additive over dimensions (KL,
Renyi), else `[...]`. Write v1, v2 for the variances of q and p, r = v1 / v2, D = mu1 - mu2. `rate` and `penalised` take the
closed form, or Monte Carlo.
"""

import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from uncollapse.data.labels import UNLABELLED, Labels
from uncollapse.distributions.posteriors import Diagonal, Gaussian, Posterior, StudentT
from uncollapse.distributions.priors import LabelNormal, Prior, StandardNormal
from uncollapse.errors import TrainingError

Divergence = Callable[[Diagonal, Diagonal], Tensor]
"""From (q, p) of one family to `[..., Z]` where it is additive over dimensions, else `[...]`."""


def kl(q: Diagonal, p: Diagonal) -> Tensor:
    """Return KL(q, p) of two Gaussians for every dimension, `[..., Z]`.

    Source: Kingma & Welling 2014, appendix B, for any diagonal p.
    """
    # KL = 1/2 [ r + D^2 / v2 - 1 - log r ]
    gap = q.logvar - p.logvar
    return 0.5 * (gap.exp() + (q.mu - p.mu) ** 2 * (-p.logvar).exp() - 1 - gap)


def log_overlap(q: Diagonal, p: Diagonal, alpha: float) -> Tensor:
    """Return ln J = ln of the integral of q^alpha p^(1-alpha) of two Gaussians for every dimension, `[..., Z]`.

    Source: Gil, Alajaji & Linder 2013, table 2. Written so that it keeps its digits as alpha goes to 0 or 1, where it vanishes.

    Raises:
        TrainingError: alpha lies outside [0, 1] and the integral diverges for some posterior.
    """
    order = alpha
    if alpha < 0.5:  # J(q, p; alpha) = J(p, q; 1 - alpha)
        q, p, alpha = p, q, 1 - alpha
    gap = q.logvar - p.logvar
    excess = (1 - alpha) * torch.expm1(gap)  # v* / v2 - 1, where v* = alpha v2 + (1 - alpha) v1
    if not 0 <= alpha <= 1 and bool((excess <= -1).any()):
        raise TrainingError(
            f"the divergence of order {order:g} does not exist: alpha v2 + (1 - alpha) v1 is not positive for some posterior; "
            "use an objective.alpha from 0 to 1"
        )
    # ln J = 1/2 [ (1 - alpha) ln r - ln(v* / v2) ] - 1/2 alpha (1 - alpha) D^2 / v*
    distance = (q.mu - p.mu) ** 2 * (-p.logvar).exp() / (1 + excess)
    return 0.5 * ((1 - alpha) * gap - torch.log1p(excess)) - 0.5 * alpha * (1 - alpha) * distance


def alpha_divergence(q: Diagonal, p: Diagonal, alpha: float) -> Tensor:
    """Return Amari's alpha-divergence of two Gaussians, `[...]`; alpha 1 is KL(q, p), alpha 0 is KL(p, q).

    For 0 < alpha < 1 it saturates at 1 / (alpha (1 - alpha)), where its gradient vanishes.
    """
    if alpha in (0, 1):
        return (kl(q, p) if alpha == 1 else kl(p, q)).sum(-1)
    # (1 - J) / (alpha (1 - alpha))
    return -torch.expm1(log_overlap(q, p, alpha).sum(-1)) / (alpha * (1 - alpha))


def renyi(q: Diagonal, p: Diagonal, alpha: float) -> Tensor:
    """Return Renyi's divergence of two Gaussians for every dimension, `[..., Z]`; alpha 1 is KL(q, p), alpha 0 gives 0.

    Source: van Erven & Harremoes 2014, equation 10.
    """
    # ln J / (alpha - 1)
    return kl(q, p) if alpha == 1 else log_overlap(q, p, alpha) / (alpha - 1)


def gamma_divergence(q: Diagonal, p: Diagonal) -> Tensor:
    """Return the gamma-divergence of two multivariate t with common df > 2 and gamma = -2 / (df + Z), `[...]`.

    It is 0 only at q = p, and tends to the Gaussian KL as df grows.

    Source: Fujisawa & Eguchi 2008; Kim et al. 2024 (t3-VAE), with the constant that makes it vanish at q = p.
    """
    nu, d = cast(StudentT, q).df, q.mu.shape[-1]
    gap = (q.logvar - p.logvar).sum(-1)  # ln |S_q| - ln |S_p|
    trace = (q.logvar - p.logvar).exp().sum(-1)
    distance = ((q.mu - p.mu) ** 2 * (-p.logvar).exp()).sum(-1)
    # 1/2 (nu+d)/(nu+d-2) ln(|Sp|/|Sq|) + (nu+d)/2 [ ln(1 + tr/(nu-2) + D' Sp^-1 D/nu) - ln(1 + d/(nu-2)) ]
    spread = torch.log1p(trace / (nu - 2) + distance / nu) - math.log1p(d / (nu - 2))
    return -0.5 * (nu + d) / (nu + d - 2) * gap + 0.5 * (nu + d) * spread


CLOSED_FORMS: dict[tuple[type[Posterior], type[Prior]], Divergence] = {
    (Gaussian, StandardNormal): kl,
    (Gaussian, LabelNormal): kl,
}
"""KL(q, p) by the families of the posterior and of the prior; for every other pair it is estimated from draws."""


def rate(posterior: Posterior, prior: Prior, z: Tensor, *, labels: Labels = UNLABELLED) -> Tensor:
    """Return KL(q(z | x), p(z)) in nats per sentence, `[B]`: in closed form, else the mean of log q - log p over draws.

    Args:
        posterior: q, of B sentences.
        prior: p.
        z: draws of q, `[B, K, *event]`.
        labels: of the sentences.
    """
    each = kl_by_dimension(posterior, prior, labels)
    return monte_carlo_kl(posterior, prior, z, labels=labels) if each is None else each.flatten(1).sum(-1)


def kl_by_dimension(posterior: Posterior, prior: Prior, labels: Labels = UNLABELLED) -> Tensor | None:
    """Return KL(q, p) of every dimension, `[B, *event]`, nats; None where it has no closed form."""
    closed = CLOSED_FORMS.get((type(posterior), type(prior)))
    p = prior.prior_for(posterior, labels)
    return None if closed is None or p is None else closed(cast(Diagonal, posterior), p)


def monte_carlo_kl(posterior: Posterior, prior: Prior, z: Tensor, *, labels: Labels = UNLABELLED) -> Tensor:
    """Return the mean of log q(z | x) - log p(z) over draws z of q, `[B]`; arguments as in `rate`."""
    return (posterior.log_prob(z) - prior.log_prob(z, labels)).mean(1)


def penalised(
    divergence: Divergence, posterior: Posterior, prior: Prior, *, z: Tensor, labels: Labels = UNLABELLED
) -> Tensor:
    """Return a divergence of the posterior from the prior, `[B, ..., Z]` or `[B, ...]`; other arguments as in `rate`.

    Where posterior and prior are of one family it is the closed form. Else only KL has an estimate from draws; KL of t
    distributions has no closed form either.

    Raises:
        TrainingError: another divergence of two families, or KL without a closed form at every timestep.
    """
    p = prior.prior_for(posterior, labels)
    if p is not None and (divergence is not kl or type(posterior) is Gaussian):
        return divergence(cast(Diagonal, posterior), p)
    if divergence is not kl:
        raise TrainingError(
            f"expected a posterior of the prior's family for a divergence other than kl, got {type(posterior).__name__} and "
            f"{type(prior).__name__}"
        )
    if z.shape[2:] != posterior.event_shape:
        raise TrainingError(
            f"expected Gaussian posteriors at timesteps, whose KL has a closed form, got {type(posterior).__name__}"
        )
    return monte_carlo_kl(posterior, prior, z, labels=labels)
