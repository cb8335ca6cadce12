"""The objective: what the optimizer sees. Never reported as a bound."""

from dataclasses import dataclass

from torch import Tensor

from uncollapse import divergences
from uncollapse.model import VAE
from uncollapse.nn.interfaces import Text
from uncollapse.schedules import Schedule


@dataclass(frozen=True)
class Terms:
    """The parts of one training step.

    Attributes:
        loss: what is minimised, scalar.
        distortion: -log p(x given z) of every sentence, `[B]`, nats.
        rate: KL(q, p) of every sentence, `[B]`, nats.
        weight: the weight of the divergence at this step.
    """

    loss: Tensor
    distortion: Tensor
    rate: Tensor
    weight: float


@dataclass(frozen=True)
class Objective:
    """loss = mean(distortion) + weight(step) * mean(divergence)."""

    weight: Schedule

    def __call__(self, model: VAE, batch: Text, step: int) -> Terms:
        """Return the terms of a batch at a step, with one draw of z a sentence."""
        posterior = model.posterior(batch)
        distortion = model.distortion(batch, posterior.sample()).squeeze(1)
        rate = divergences.kl(posterior, model.prior(posterior)).sum(-1)
        weight = self.weight(step)
        # beta-VAE, Higgins et al. 2017, equation 4; weight 1 is the negative ELBO
        return Terms(distortion.mean() + weight * rate.mean(), distortion, rate, weight)
