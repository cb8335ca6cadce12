"""Divergences between a posterior q and a prior p, in nats."""

from torch import Tensor

from uncollapse.latent import Gaussian


def kl(q: Gaussian, p: Gaussian) -> Tensor:
    """Return KL(q, p) of every dimension, `[B, Z]`; the sum over Z is the divergence of the sentence.

    Source: Kingma & Welling 2014, appendix B, for any diagonal p.
    """
    # KL = 1/2 [ log v_p - log v_q + (v_q + (mu_q - mu_p)^2) / v_p - 1 ]
    gap = q.logvar - p.logvar
    return 0.5 * (gap.exp() + (q.mu - p.mu) ** 2 * (-p.logvar).exp() - 1 - gap)
