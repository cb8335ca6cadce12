"""The aggregate posterior q(z), the mean over sentences of q(z | x)."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from uncollapse.data.corpus import Corpus
from uncollapse.data.splits import Splits
from uncollapse.errors import UserError
from uncollapse.evaluation.bounds import standard_error, subsample_indices
from uncollapse.evaluation.posterior import rates_by_dimension, sentence_mutual_information
from uncollapse.evaluation.scores import Scores, score, seeded
from uncollapse.model import VAE

DRAWS = 5
"""Draws of every sentence that moments are averaged over (Prokhorov et al. 2019, section 4)."""
SENTENCES = 10_000


def aggregate_protocol(model: VAE, splits: Splits, split: str, *, seed: int = 0) -> dict[str, Any]:
    """Compare the codes of a whole split with the prior.

    Args:
        model: in evaluation mode.
        splits: the run's data.
        split: which of them; at most 10,000 of its sentences.
        seed: of all draws.

    Returns:
        aggregate_logdet: log det Cov of draws from q(z), mean over 5 draws of all sentences; aggregate_mean_sq: squared norm of
        their mean, likewise; aggregate_mismatch: KL of a Gaussian of these moments from N(0, I), where that is the prior;
        aggregate_kl (and _se): Monte Carlo KL(q(z), p(z)), which is rate - mi, unless every label has a prior of its own;
        rate_by_dimension, where the prior is a standard normal. Moments of n sentences are biased: near N(0, I) the log det by
        -Z (Z + 1) / 2n and the mismatch by Z (Z + 3) / 4n.

    Raises:
        UserError: a language model, or a split of no more sentences than dimensions.
    """
    if not model.latent:
        raise UserError("protocol aggregate: a language model (model.latent 0) has no codes")
    corpus = splits[split].subset(subsample_indices(len(splits[split]), SENTENCES, seed))
    if len(corpus) <= model.latent:
        raise UserError(
            f"protocol aggregate: expected more sentences in {split} than dimensions, {model.latent}, got {len(corpus)}"
        )
    scores = score(model, corpus, seed)
    posterior = scores.posterior
    draws = posterior.transform(posterior.noise(len(corpus), DRAWS, seeded(seed + 1))).flatten(2)
    moments = [_moments(draws[:, k].double()) for k in range(DRAWS)]
    numbers: dict[str, Any] = {
        "aggregate_logdet": _mean(float(torch.logdet(covariance)) for _, covariance in moments),
        "aggregate_mean_sq": _mean(float(mean.square().sum()) for mean, _ in moments),
    }
    if not model.prior.labelled:  # one prior for all sentences
        divergence = aggregate_divergence(model, corpus, scores)
        numbers["aggregate_kl"], numbers["aggregate_kl_se"] = float(divergence.mean()), standard_error(divergence)
        rates = rates_by_dimension(model, corpus, posterior)
        if rates is not None:  # the prior is N(0, I)
            numbers["aggregate_mismatch"] = _mean(mismatch(mean, covariance) for mean, covariance in moments)
            numbers["rate_by_dimension"] = rates
    return numbers


def _moments(z: Tensor) -> tuple[Tensor, Tensor]:
    return z.mean(0), torch.atleast_2d(torch.cov(z.T))


def mismatch(mean: Tensor, covariance: Tensor) -> float:
    """Return KL(N(m, C), N(0, I)) = 1/2 (tr C + |m|^2 - Z - log det C), nats."""
    return 0.5 * float(covariance.trace() + mean.square().sum() - len(mean) - torch.logdet(covariance))


@torch.inference_mode()
def aggregate_divergence(model: VAE, corpus: Corpus, scores: Scores) -> Tensor:
    """Return log q(z_i) - log p(z_i) of the draw of every sentence, `[N]`, nats: its mean estimates KL(q(z), p(z)).

    log q(z_i) is pooled over all sentences; the estimate is biased upwards as the pooled MI is downwards, since

        log q(z_i) - log p(z_i) = [log q(z_i | x_i) - log p(z_i)] - mi_i.

    Source: Hoffman & Johnson 2016, section 3.
    """
    z, device = scores.z[:, None], model.device
    labels = {field: torch.from_numpy(classes).to(device) for field, classes in corpus.labels.items()}
    own = scores.posterior.log_prob(z) - model.prior.log_prob(z.to(device), labels).cpu()
    return own[:, 0].double() - sentence_mutual_information(scores.posterior, scores.z)


def _mean(values: Iterable[float]) -> float:
    held = list(values)
    return math.fsum(held) / len(held)
