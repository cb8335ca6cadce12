"""The numbers of the TWR-VAE paper by its own protocol, for comparison with its tables. They are not a bound."""

import math

import torch
from torch import Tensor

from uncollapse.data.corpus import Corpus, ordered_batches
from uncollapse.divergences import kl
from uncollapse.errors import UserError
from uncollapse.latent import LengthMixture, StandardNormal
from uncollapse.model import VAE
from uncollapse.nn.interfaces import Inference


@torch.inference_mode()
def twr_protocol(model: VAE, corpus: Corpus) -> dict[str, float | str]:
    """Return nll, kl and ppl as the reference implementation of Li et al. 2020 counts them.

    z is the posterior mean, the KL is averaged over timesteps, BOS counts as a predicted token in the perplexity. A mean is no
    draw from q, and the averaged KL is not that of what is decoded: the sum bounds nothing.

    Args:
        model: in evaluation mode.
        corpus: the split.
    """
    if not isinstance(model.prior, StandardNormal | LengthMixture):
        raise UserError("protocol twr: expected Gaussian posteriors and the prior N(0, I), whose KL has a closed form")
    distortion = divergence = 0.0
    timestepwise = False
    for index in ordered_batches(corpus.lengths, 128):
        batch = corpus.batch(index).to(model.device)
        inference = model.infer(batch)
        timestepwise = inference.steps is not None
        distortion += float(model.distortion(batch, inference.posterior.mu[:, None]).sum())
        divergence += float(averaged_kl(inference).sum())
    n, tokens = len(corpus), corpus.predicted + len(corpus)
    nll = (distortion + divergence) / n
    where = "averaged over timesteps" if timestepwise else "of the last timestep"
    return {
        "twr_nll": nll,
        "twr_kl": divergence / n,
        "twr_ppl": math.exp(min(nll * n / tokens, 700)),
        "twr_tokens": tokens,
        "twr_protocol": f"z = mu, KL {where}, BOS counted: not a bound",
    }


def averaged_kl(inference: Inference) -> Tensor:
    """Return the KL of each sentence, averaged over its timesteps (or of the one posterior there is), `[B]`, nats."""
    steps, mask = inference.steps, inference.mask
    if steps is None or mask is None:
        return kl(inference.posterior, inference.posterior.standard()).sum(-1)
    return (kl(steps, steps.standard()).sum(-1) * mask).sum(1) / mask.sum(1)
