"""How far the encoder lags behind: the divergence of q(z | x) from the true posterior p(z | x) of a sentence.

He et al. 2019 (section 3) see in this lag the reason of the collapse: the decoder learns to do without a code that the encoder
does not get right in time. They draw it for a scalar z, whose true posterior is found on a grid. For a z of any size, p(z | x) is
taken to be the Gaussian that is fitted to a few draws (`evaluation/proposal.py`).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from uncollapse.data.corpus import Corpus
from uncollapse.evaluation.adaptive import base_of
from uncollapse.evaluation.bounds import generators, log_weights
from uncollapse.evaluation.proposal import fitted, probes
from uncollapse.evaluation.scores import seeded
from uncollapse.model import VAE

PROBES = 64
"""Draws of a sentence that its true posterior is fitted to."""
DRAWS = 256
"""Draws the divergence is averaged over, in pairs e, -e; they need no decoder pass."""


@dataclass(frozen=True)
class Lag:
    """The encoder's lag on some sentences.

    Attributes:
        divergence: KL(q(z | x), p(z | x)) of each sentence, `[N]`, nats.
        log_width: mean over sentences and dimensions of log sigma(q) - log sigma(p(z | x)): above 0, q is too wide.
    """

    divergence: Tensor
    log_width: float


@torch.inference_mode()
def encoder_lag(model: VAE, corpus: Corpus, indices: np.ndarray, *, seed: int = 0) -> Lag:
    """Measure the lag on some sentences of a corpus.

    In the standard coordinates e of q, where it is its own base distribution b, and the true posterior is near r,

        KL(q, p(z | x)) = E_b[log b(e) - log r(e)].

    Args:
        model: in evaluation mode, with a latent space.
        corpus: any split.
        indices: the sentences.
        seed: of the draws.
    """
    base = base_of(model, corpus, indices)
    e = torch.cat([probes(base, PROBES, generator) for generator in generators(indices, seed)])
    log_w = log_weights(model, corpus, indices, samples=e.shape[1], noise=e)
    near = fitted(base, e, log_w).near
    half = base.noise(1, DRAWS // 2, seeded(seed))
    draws = torch.cat([half, -half], 1).expand(len(indices), *[-1] * (half.ndim - 1))
    return Lag((base.log_prob(draws) - near.log_prob(draws)).mean(1), -0.5 * float(near.logvar.mean()))
