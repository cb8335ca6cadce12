"""The aggregate posterior: a Gaussian mixture fitted to the codes of a corpus, to sample from where N(0, I) has holes."""

import warnings

import torch
from torch import Tensor

from uncollapse.distributions.priors import Mixture

RIDGE = 1e-4
"""Added to the variances, so that a component on few codes stays a density."""


def fit_mixture(z: Tensor, components: int, seed: int = 0) -> Mixture:
    """Fit a mixture of Gaussians with full covariances to codes `[N, Z]` by scikit-learn's expectation maximisation.

    Args:
        z: at least two codes; draws from q, not means, so that the width of the posteriors counts.
        components: C, at most N.
        seed: of the initial centres.
    """
    from sklearn.mixture import GaussianMixture

    fit = GaussianMixture(min(components, len(z)), reg_covar=RIDGE, random_state=seed, init_params="k-means++")
    with warnings.catch_warnings(action="ignore"):  # of rounds that do not suffice
        fit.fit(z.double().numpy())
    factors = torch.linalg.cholesky(torch.from_numpy(fit.covariances_))
    return Mixture(torch.from_numpy(fit.weights_), torch.from_numpy(fit.means_), factors).float()
