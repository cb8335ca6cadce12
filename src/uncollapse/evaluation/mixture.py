"""The aggregate posterior: a Gaussian mixture fitted to the codes of a corpus, to sample from where N(0, I) has holes."""

import torch
from torch import Tensor

from uncollapse.latent import Mixture

RIDGE = 1e-4
"""Added to the variances, so that a component on few codes stays a density."""
ROUNDS = 100
TOLERANCE = 1e-5


def fit_mixture(z: Tensor, components: int, seed: int = 0) -> Mixture:
    """Fit a mixture of Gaussians with full covariances to codes `[N, Z]` by expectation maximisation.

    It begins from a hard assignment to seeded centres, each drawn with a probability in proportion to its squared distance from
    those before it, and ends when the mean log density gains less than 1e-5 or after 100 rounds. One component is the sample mean
    and covariance.

    Source: Dempster, Laird & Rubin 1977; Arthur & Vassilvitskii 2007 (the centres).

    Args:
        z: at least one code; draws from q, not means, so that the width of the posteriors counts.
        components: C, at most N.
        seed: of the centres.
    """
    codes = z.double()
    centres = _centres(codes, min(components, len(codes)), seed)
    shares = torch.nn.functional.one_hot(torch.cdist(codes, centres).argmin(1), len(centres)).double()
    before = -torch.inf
    for _ in range(ROUNDS):
        mixture = _maximise(codes, shares)
        joint = mixture.components(codes)
        density = joint.logsumexp(1, keepdim=True)
        shares, now = (joint - density).exp(), float(density.mean())
        if now - before < TOLERANCE:
            break
        before = now
    return mixture.float()


def _centres(codes: Tensor, count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    chosen = codes[torch.randint(len(codes), (1,), generator=generator)]
    while len(chosen) < count:
        far = torch.cdist(codes, chosen).min(1).values.square()
        far = far + far.mean() * 1e-6 + 1e-30  # equal codes too can be drawn
        chosen = torch.cat([chosen, codes[torch.multinomial(far, 1, generator=generator)]])
    return chosen


def _maximise(codes: Tensor, shares: Tensor) -> Mixture:
    """Return the mixture of the codes shared out as `[N, C]`."""
    total = shares.sum(0).clamp(min=1e-10)
    means = shares.T @ codes / total[:, None]
    centred = codes[:, None] - means
    covariances = torch.einsum("nc,nci,ncj->cij", shares, centred, centred) / total[:, None, None]
    ridge = RIDGE * torch.eye(codes.shape[1], dtype=codes.dtype)
    return Mixture(total / total.sum(), means, torch.linalg.cholesky(covariances + ridge))
