"""The numbers of the TWR-VAE paper by its own protocol, for comparison with its tables. They are not a bound."""

import math

import numpy as np
import torch
from torch import Tensor

from uncollapse.data.corpus import Corpus
from uncollapse.data.order import ordered_batches
from uncollapse.distributions.divergences import kl_by_dimension
from uncollapse.distributions.priors import StandardNormal
from uncollapse.errors import UserError
from uncollapse.evaluation.scores import of_each_batch, rows_at_a_time
from uncollapse.model import VAE
from uncollapse.nn.interfaces import EncoderOutput
from uncollapse.nn.padding import last_timesteps


@torch.inference_mode()
def twr_protocol(model: VAE, corpus: Corpus, timesteps: float = 1.0) -> dict[str, float | str]:
    """Return nll, kl and ppl as the reference implementation of Li et al. 2020 counts them.

    z is the posterior mean, the KL is averaged over the timesteps that were penalised in training, BOS counts as a predicted
    token in the perplexity. A mean is no draw from q, and the averaged KL is not that of what is decoded: the sum bounds nothing.

    Args:
        model: in evaluation mode.
        corpus: the split.
        timesteps: the last share of the timesteps that was penalised; 0 for the last timestep alone.
    """

    def of(index: np.ndarray) -> tuple[float, float, bool]:
        batch = corpus.batch(index).to(model.device)
        output = model.encode(batch)
        distortion = model.distortion(batch, output.posterior.mean[:, None])
        return float(distortion.sum()), float(averaged_kl(output, timesteps).sum()), output.steps is not None

    results, _ = of_each_batch(ordered_batches(corpus.lengths, rows_at_a_time(corpus)), of)
    distortions, divergences, stepwise = zip(*results, strict=True)
    distortion, divergence, timestepwise = sum(distortions), sum(divergences), all(stepwise)
    n, tokens = len(corpus), corpus.predicted + len(corpus)
    nll = (distortion + divergence) / n
    some = "" if timesteps == 1 else f"the last {timesteps:.0%} of the "
    where = f"averaged over {some}timesteps" if timestepwise and timesteps else "of the last timestep"
    return {
        "twr_nll": nll,
        "twr_kl": divergence / n,
        "twr_ppl": math.exp(min(nll * n / tokens, 700)),
        "twr_tokens": tokens,
        "twr_protocol": f"z = mu, KL {where}, BOS counted: not a bound",
    }


def averaged_kl(output: EncoderOutput, timesteps: float) -> Tensor:
    """Return the KL from N(0, I) of each sentence, averaged over its last timesteps (or of the one posterior there is), `[B]`.

    Raises:
        UserError: posteriors that are not Gaussian.
    """
    every = kl_by_dimension(output.posterior if output.steps is None else output.steps, StandardNormal(0))
    if every is None:
        raise UserError("protocol twr: expected Gaussian posteriors, whose KL from N(0, I) has a closed form")
    if output.mask is None:
        return every.sum(-1)
    kept = last_timesteps(output.mask, timesteps)
    return (every.sum(-1) * kept).sum(1) / kept.sum(1)
