"""The importance-weighted bound on -log p(x).

It does not depend on the objective that the model was trained with.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uncollapse.data.corpus import Corpus
from uncollapse.data.order import ordered_batches
from uncollapse.distributions.posteriors import Posterior
from uncollapse.evaluation.scores import TOKENS_AT_A_TIME, Scores, Track, of_each_batch, seeded, untracked
from uncollapse.model import VAE
from uncollapse.nn.casts import Precision
from uncollapse.nn.casts import precision as arithmetic
from uncollapse.nn.products import pack


@torch.inference_mode()
def log_weights(
    model: VAE,
    corpus: Corpus,
    indices: np.ndarray,
    *,
    samples: int,
    seed: int = 0,
    track: Track = untracked,
    precision: Precision = "fp32",
    noise: Tensor | None = None,
) -> Tensor:
    """Return log p(x, z) - log q(z | x) for K draws of z ~ q(z | x), `[len(indices), K]`, nats.

    Args:
        model: in evaluation mode.
        corpus: any split.
        indices: the sentences.
        samples: K.
        seed: of the noise; each sentence has its own stream.
        track: shows the progress.
        precision: of the decoder's arithmetic; the densities of z are in fp32.
        noise: of other z than draws of q, `[len(indices), K, *event]`.
    """
    model, device, lengths = pack(model), model.device, corpus.lengths[indices]
    together = max(1, min(64, TOKENS_AT_A_TIME // (int(np.median(lengths)) * samples)))

    def of(rows: np.ndarray) -> Tensor:
        batch = corpus.batch(indices[rows]).to(device)
        posterior = model.posterior(batch)
        drawn = base_noise(posterior, indices[rows], samples, seed=seed) if noise is None else noise[rows]
        at_once = max(1, TOKENS_AT_A_TIME // (int(lengths[rows].max()) * len(rows)))
        log_w = torch.empty(len(rows), samples)
        for k in range(0, samples, at_once):
            z = posterior.transform(drawn[:, k : k + at_once].to(device))
            with arithmetic(precision, device):
                distortion = model.distortion(batch, z)
            log_ratio = model.prior.log_prob(z, batch.labels) - posterior.log_prob(z)
            log_w[:, k : k + at_once] = (log_ratio - distortion).cpu()
        return log_w

    results, back = of_each_batch(ordered_batches(lengths, together), of, track, "importance-weighted bound")
    return torch.cat(results)[back]


def base_noise(posterior: Posterior, indices: np.ndarray, samples: int, *, seed: int) -> Tensor:
    """Return the noise of every sentence, from its own generator, `[len(indices), K, *event]`."""
    return torch.cat([posterior.noise(1, samples, generator) for generator in generators(indices, seed)])


def generators(indices: np.ndarray, seed: int) -> Iterator[torch.Generator]:
    """Yield a generator of random numbers for each sentence: results do not depend on batching."""
    return (seeded((seed * 1_000_003 + int(i)) % 2**32) for i in indices)


def iw_bound(log_w: Tensor) -> Tensor:
    """Return -log (1/K sum_k w_k) of every sentence, `[N]`: an upper bound on -log p(x), tighter as K grows.

    Source: Burda, Grosse & Salakhutdinov 2016, equation 8.
    """
    return -(log_w.double().logsumexp(1) - math.log(log_w.shape[1]))


@dataclass(frozen=True)
class Draws:
    """What a bound is made of.

    Attributes:
        log_w: log p(x, z) - log r(z) for draws z of a proposal r (such as q), `[K_i]` for every sentence, nats.
        elbo: the ELBO of q of every sentence, the mean of its log weights, `[N]`, nats.
        spent: mean draws per sentence, the probes of a proposal included.
    """

    log_w: Sequence[Tensor]
    elbo: Tensor
    spent: float

    def bound(self) -> Tensor:
        """Return the importance-weighted bound of every sentence, `[N]`, nats."""
        return torch.cat([iw_bound(each[None]) for each in self.log_w])

    def se(self) -> float:
        """Return the standard error of the mean bound that is due to the draws, nats, by the delta method."""
        return math.sqrt(sum(relative_variance(each) / len(each) for each in self.log_w)) / len(self.log_w)


def fixed_draws(
    model: VAE,
    corpus: Corpus,
    indices: np.ndarray,
    *,
    samples: int,
    seed: int = 0,
    track: Track = untracked,
    precision: Precision = "fp32",
) -> Draws:
    """Draw K times from q for every sentence: see `log_weights`."""
    how: dict[str, Any] = {"seed": seed, "track": track, "precision": precision}
    log_w = log_weights(model, corpus, indices, samples=samples, **how)
    return Draws(list(log_w), log_w.mean(1), samples)


Draw = Callable[..., Draws]
"""From a model, a corpus, sentences and K (and `seed`, `track`, `precision`) to draws."""


@dataclass(frozen=True)
class ImportanceWeighted:
    """The importance-weighted bound of a split.

    Attributes:
        nll: mean over the split, nats per sentence.
        se: its standard error.
        gap: mean of ELBO minus importance-weighted bound (in nll: how much tighter it is), with its error.
        gap_se: standard error of the gap.
        sentences: how many it was measured on.
        samples: K; in the adaptive mode, the K whose error is matched.
        draws: mean draws per sentence, the probes of a proposal included.
        draws_se: standard error of nll that is due to the draws alone, by the variance of the weights.
        per_sentence: the bound of each sentence it was measured on.
        indices: which sentences these are.
    """

    nll: float
    se: float
    gap: float
    gap_se: float
    sentences: int
    samples: int
    draws: float
    draws_se: float
    per_sentence: Tensor
    indices: np.ndarray


def importance_weighted(
    model: VAE,
    corpus: Corpus,
    scores: Scores,
    *,
    samples: int = 50,
    sentences: int | None = 500,
    seed: int = 0,
    track: Track = untracked,
    precision: Precision = "fp32",
    draw: Draw = fixed_draws,
) -> ImportanceWeighted:
    """Estimate the importance-weighted bound of a split.

    On some of the sentences, the gap between ELBO and IW bound is measured; the result is the ELBO of all sentences less the mean
    gap. The gap varies far less between sentences than the bounds do, so that a few hundred say what thousands would. On all
    sentences it is the plain mean of the IW bound (the papers' protocol).

    Args:
        model: in evaluation mode.
        corpus: the split.
        scores: of the split, by `scores.score`.
        samples: K; a language model needs none.
        sentences: how many, or None for all.
        seed: of the choice and of the noise.
        track: shows the progress.
        precision: of the decoder's arithmetic.
        draw: how the weights are drawn: K of q for every sentence by default, or `adaptive.adaptive_draws`.
    """
    every = sentences is None or sentences >= len(corpus)
    indices = subsample_indices(len(corpus), None if every else sentences, seed)
    samples = samples if model.latent else 1
    how: dict[str, Any] = {"seed": seed, "track": track, "precision": precision}
    drawn = draw(model, corpus, indices, samples=samples, **how)
    bound = drawn.bound()
    gap = -drawn.elbo.double() - bound
    elbo = scores.nll_elbo.double()
    n = len(indices)
    nll = float(bound.mean()) if every else float(elbo.mean() - gap.mean())
    error = standard_error(bound) if every else math.hypot(standard_error(elbo), standard_error(gap))
    return ImportanceWeighted(
        nll, error, float(gap.mean()), standard_error(gap), n, samples, drawn.spent, drawn.se(), bound, indices
    )


def relative_variance(log_w: Tensor) -> float:
    """Return the variance of the weights w over their squared mean, from their logarithms `[K]`; 0 for one draw."""
    weights = (log_w.double() - log_w.max()).exp()
    return float(weights.var() / weights.mean() ** 2) if len(weights) > 1 else 0.0


def subsample_indices(total: int, count: int | None, seed: int) -> np.ndarray:
    """Return `count` of `total` positions, seeded and sorted, or all."""
    if count is None or count >= total:
        return np.arange(total)
    return np.sort(np.random.default_rng(seed).permutation(total)[:count])


def standard_error(values: Tensor) -> float:
    """Return the standard error of a mean over sentences."""
    return float(values.double().std() / math.sqrt(len(values))) if len(values) > 1 else 0.0
