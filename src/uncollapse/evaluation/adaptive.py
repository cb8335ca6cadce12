"""Importance-weighted draws where they are needed: as exact as K draws of q for every sentence, with far fewer in all.

The bound of sentence i from K_i draws has, to first order in 1 / K_i, the variance v_i / K_i and lies v_i / (2 K_i) above
-log p(x_i), where v_i = Var(w) / E(w)^2 is the relative variance of its weights. So the mean over N sentences has

    se^2 = sum_i v_i / K_i / N^2    and the looseness    N se^2 / 2:

equal errors mean equal looseness. Two things make both small. A proposal r nearer to the true posterior than q
has a far smaller v_i; a few draws of q pay for finding it (`evaluation/proposal.py`) and are not used again.
And draws go where they are needed: the fewest with the error of K draws of q for all are

    K_i = sqrt(v_i) sum_j sqrt(v_j) / sum_j (u_j / K)

(Neyman 1934), where u_j is the relative variance of the weights of q. With rho = r / q and weights w of r it is

    u = E_r(w^2 rho) / E_r(w)^2 - 1,

which draws of r tell better than as many of q: these seldom meet the large weights of which u consists.

K_i follows from the first draws, which count, too: a sentence whose large weights have not been met yet gets fewer. So the mean
weight is a little low where weights have heavy tails, and the bound looser (2 % of the mean weight in a case made to show it).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uncollapse.data.corpus import Corpus
from uncollapse.distributions.posteriors import Diagonal, cat
from uncollapse.evaluation.bounds import (
    Draws,
    Precision,
    base_noise,
    fixed_draws,
    generators,
    log_weights,
    relative_variance,
)
from uncollapse.evaluation.proposal import fitted, probes
from uncollapse.evaluation.scores import Track, untracked
from uncollapse.model import VAE
from uncollapse.nn.products import pack

PROBES = 64
"""Draws of a sentence that its proposal is fitted to; no more than half of K."""
FIRST = 64
"""Draws of the proposal to begin with; no more than half of K."""
GROWTH = 3
"""Most times by which a sentence's draws grow before its variance is looked at again."""
STEP = 1.3
"""Numbers of draws are rounded up to a power of this, so that sentences can be drawn for together."""
MOST = 20
"""No sentence gets more than so many times K draws."""
NEGLIGIBLE = 1e-6
"""Variance of a sentence's bound, nats^2, below which nobody wants more draws."""


@dataclass
class Weighted:
    """The draws of a sentence from its proposal r.

    Attributes:
        log_w: log weights, log p(x, z) - log r(z), nats.
        log_rho: log r(z) - log q(z), nats.
    """

    log_w: Tensor
    log_rho: Tensor

    def __len__(self) -> int:
        """Return how many."""
        return len(self.log_w)

    def __add__(self, other: "Weighted") -> "Weighted":
        """Return both."""
        return Weighted(torch.cat([self.log_w, other.log_w]), torch.cat([self.log_rho, other.log_rho]))

    def variance_of_q(self) -> float:
        """Return u, the relative variance that weights of q would have."""
        log_w = self.log_w.double()
        log_count = math.log(len(log_w))
        squares = (2 * log_w + self.log_rho).logsumexp(0) - log_count
        return max(0.0, math.expm1(min(500.0, float(squares - 2 * (log_w.logsumexp(0) - log_count)))))


def adaptive_draws(
    model: VAE,
    corpus: Corpus,
    indices: np.ndarray,
    *,
    samples: int,
    seed: int = 0,
    track: Track = untracked,
    precision: Precision = "fp32",
) -> Draws:
    """Draw from a proposal of each sentence's own, as often as it needs.

    The mean of the bounds has at most the error that `samples` draws of q for every sentence would give, by the estimated
    variances.

    Args:
        model: in evaluation mode.
        corpus: any split.
        indices: the sentences.
        samples: K of the fixed protocol that is matched; below 4 there is nothing to save, and the draws are its own.
        seed: of the noise; each sentence has its own stream.
        track: shows the progress.
        precision: of the decoder's arithmetic.
    """
    how: dict[str, Any] = {"track": track, "precision": precision}
    if samples < 4:
        return fixed_draws(model, corpus, indices, samples=samples, seed=seed, **how)
    model = pack(model)
    base = base_of(model, corpus, indices)
    count = min(PROBES, samples // 2)
    e = torch.cat([probes(base, count, generator) for generator in generators(indices, seed)])
    tried = log_weights(model, corpus, indices, samples=e.shape[1], noise=e, **how)
    proposal = fitted(base, e, tried)

    def draw(rows: np.ndarray, count: int, stage: int) -> list[Weighted]:
        fresh = seed + 1_000_000 * stage
        noise = base_noise(base, indices[rows], count, seed=fresh)
        uniform = torch.stack(
            [torch.rand(count, generator=each) for each in generators(indices[rows], fresh + 500_000)]
        )
        r = proposal[rows]
        e = r.draws(noise, uniform)
        log_rho = r.log_ratio(e)
        log_w = log_weights(model, corpus, indices[rows], samples=count, noise=e, **how) - log_rho
        return [Weighted(*both) for both in zip(log_w, log_rho, strict=True)]

    stage = 1
    drawn = draw(np.arange(len(indices)), min(FIRST, samples - e.shape[1]), stage)
    while (more := wanted(drawn, samples)).any():
        stage += 1
        for count in np.unique(more[more > 0]):
            rows = np.flatnonzero(more == count)
            for row, fresh in zip(rows, draw(rows, int(count), stage), strict=True):
                drawn[row] += fresh
    log_w = [each.log_w for each in drawn]
    return Draws(log_w, tried.mean(1), e.shape[1] + sum(map(len, log_w)) / len(log_w))


def base_of(model: VAE, corpus: Corpus, indices: np.ndarray) -> Diagonal:
    """Return the distribution of the noise of q, for every sentence."""
    with torch.inference_mode():
        one = model.posterior(corpus.batch(indices[:1]).to(model.device)).cpu().base
    return cat([one] * len(indices))


def wanted(drawn: list[Weighted], samples: int) -> np.ndarray:
    """Return how many more draws each sentence should get now; zeros when the error is at most that of K draws of q for all.

    K draws cannot show a relative variance above K, so that more than K is not believed of q.
    """
    counts = np.array([len(each) for each in drawn])
    variance = np.array([relative_variance(each.log_w) for each in drawn])
    allowed = sum(min(samples, each.variance_of_q()) for each in drawn) / samples
    allowed = max(allowed, NEGLIGIBLE * len(drawn))
    if (variance / counts).sum() <= allowed:
        return np.zeros(len(drawn), dtype=int)
    deviation = np.sqrt(variance)
    ideal = np.minimum(deviation * deviation.sum() / allowed, MOST * samples)
    more = np.minimum(ideal - counts, (GROWTH - 1) * counts)
    steps = np.ceil(np.log(np.maximum(more, 1)) / np.log(STEP))
    return np.where(more >= 1, np.ceil(STEP**steps), 0).astype(int)
