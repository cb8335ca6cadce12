"""A proposal for each sentence that is nearer to its true posterior than q(z | x), fitted to a few draws.

The encoder serves all sentences; the log weights, log p(x, z) - log q(z | x), show its error on one. In the standard
coordinates e = (z - mu) / sigma of q they are all but quadratic,

    log w(e) = a + b'e + 1/2 sum_d c_d (e_d^2 - 1) + noise,

so that q(e) exp(b'e + c'e^2 / 2), a Gaussian of precision 1 - c and mean b / (1 - c), is nearly p(z | x): stochastic linear
regression (Salimans & Knowles 2013, section 3). Three things make few draws enough: they lie at orthogonal directions and in
pairs e, -e, which separates the b_d from each other and from c; the coefficients of all sentences come from one normal
distribution, which is learned with them (empirical Bayes: a q that is everywhere too narrow in some dimension need not be learned
anew); and one draw in ten is still from q, so that no weight is above ten times what it would have been (a defensive
mixture: Hesterberg 1995; Owen & Zhou 2000).
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from uncollapse.distributions.posteriors import Diagonal

DEFENSIVE = 0.1
"""Share of the draws that come from q."""
WIDEST = 5.0
"""Largest ratio of the proposal's variance to q's, or of q's to it."""
ITERATIONS = 10
"""Of expectation and maximisation."""
ENTRIES = 2**22
"""Numbers in the covariances of all sentences whose coefficients are computed together; a few arrays of that size are held."""


def probes(base: Diagonal, count: int, generator: torch.Generator) -> Tensor:
    """Return pairs e, -e of noise whose directions are orthogonal, as far as there are dimensions, `[1, count, *event]`.

    Each by itself is distributed as the noise of q. The count is rounded down to an even one.
    """
    size = base.latent
    length = base.noise(1, count // 2, generator).flatten(2).norm(dim=-1, keepdim=True)
    blocks = [torch.linalg.qr(torch.randn(size, size, generator=generator)).Q for _ in range(0, count // 2, size)]
    half = (length * torch.cat(blocks)[: count // 2]).unflatten(2, base.event_shape)
    return torch.cat([half, -half], 1)


@dataclass(frozen=True)
class Proposal:
    """r(e) = D q(e) + (1 - D) near(e), in the standard coordinates of q, for every sentence; D is `DEFENSIVE`.

    Attributes:
        near: what is close to the true posterior, `[N, Z]`.
    """

    near: Diagonal

    def __getitem__(self, rows: np.ndarray) -> "Proposal":
        """Return the proposals of some sentences."""
        return Proposal(self.near[rows])

    def draws(self, noise: Tensor, uniform: Tensor) -> Tensor:
        """Return draws e, `[N, K, *event]`, of standard noise and of uniform numbers `[N, K]` that choose the component."""
        from_q = (uniform < DEFENSIVE).view(*uniform.shape, *[1] * len(self.near.event_shape))
        return torch.where(from_q, noise, self.near.transform(noise))

    def log_ratio(self, e: Tensor) -> Tensor:
        """Return log r(e) - log q(e), `[N, K]`, nats."""
        moved = self.near.log_prob(e) - self.near.base.log_prob(e) + math.log1p(-DEFENSIVE)
        return torch.logaddexp(moved, torch.tensor(math.log(DEFENSIVE)))


def fitted(base: Diagonal, e: Tensor, log_w: Tensor) -> Proposal:
    """Return the proposals that probes and their log weights speak for.

    Args:
        base: the distribution of the noise of q, `[N, *event]`.
        e: probes, `[N, P, *event]`.
        log_w: their log weights, `[N, P]`, nats.
    """
    e = e.flatten(2)
    together = max(8, ENTRIES // (2 * e.shape[2]) ** 2)
    coefficients = [
        regression(torch.cat([some, (some**2 - 1) / 2], -1).double(), values.double())
        for some, values in zip(e.split(together), log_w.split(together), strict=True)
    ]
    b, c = torch.cat(coefficients).chunk(2, -1)
    precision = (1 - c).clamp(1 / WIDEST, WIDEST)
    mu, logvar = (part.float().view_as(base.mu) for part in (b / precision, -precision.log()))
    return Proposal(replace(base, mu=mu, logvar=logvar))


def regression(features: Tensor, values: Tensor) -> Tensor:
    """Return the coefficients of N linear regressions with a constant, whose coefficients come from one distribution.

        y_i = a_i + X_i beta_i + noise of variance s,    beta_i ~ N(m, diag t)

    m, t and s maximise the marginal likelihood (EM), and the coefficients are their posterior means. m and t have a weak prior,
    of one more sentence that has coefficients of zero and average variance, without which one sentence alone would say all.

    Args:
        features: X, `[N, P, F]`.
        values: y, `[N, P]`.

    Returns:
        beta, `[N, F]`.
    """
    x = features - features.mean(1, keepdim=True)
    y = values - values.mean(1, keepdim=True)
    n, count, size = x.shape
    gram, product = x.mT @ x, (x.mT @ y[..., None])[..., 0]
    tiny = torch.finfo(y.dtype).tiny ** 0.5
    s = y.var(1).mean() / 2 + tiny
    m, t = y.new_zeros(size), (2 * s / size).expand(size)
    for _ in range(ITERATIONS):
        covariance = torch.linalg.inv(gram / s + torch.diag(1 / t))
        beta = (covariance @ (product / s + m / t)[..., None])[..., 0]
        m = beta.sum(0) / (n + 1)
        squares = ((beta - m) ** 2 + covariance.diagonal(dim1=1, dim2=2)).sum(0)
        t = (squares + squares.mean() / n) / (n + 1) + tiny
        residual = ((y - (x @ beta[..., None])[..., 0]) ** 2).sum() + (gram * covariance).sum()
        s = residual / (n * (count - 1)) + tiny
    return beta
