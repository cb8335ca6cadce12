"""Distributions over the latent code: posteriors and priors."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

LOG_TWO_PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Gaussian:
    """A diagonal Gaussian for every sentence of a batch.

    Attributes:
        mu: mean, `[B, Z]`.
        logvar: logarithm of the variance, `[B, Z]`.
    """

    mu: Tensor
    logvar: Tensor

    @staticmethod
    def standard(sentences: int, latent: int, like: Tensor | None = None) -> "Gaussian":
        """Return N(0, I) for each of `sentences`, on the device and in the type of `like`."""
        zeros = torch.zeros(sentences, latent) if like is None else like.new_zeros(sentences, latent)
        return Gaussian(zeros, zeros)

    def sample(self, samples: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """Draw z = mu + sigma * noise, `[B, K, Z]`; gradients flow to mu and logvar."""
        noise = torch.randn(
            len(self.mu),
            samples,
            self.mu.shape[-1],
            generator=generator,
            dtype=self.mu.dtype,
            device=self.mu.device,
        )
        return self.at(noise)

    def at(self, noise: Tensor) -> Tensor:
        """Return mu + sigma * noise for standard normal noise `[B, K, Z]`."""
        return self.mu.unsqueeze(1) + (0.5 * self.logvar).exp().unsqueeze(1) * noise

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log density of z `[B, K, Z]`, `[B, K]`, in nats."""
        mu, logvar = self.mu.unsqueeze(1), self.logvar.unsqueeze(1)
        # log N(z; mu, v) = -1/2 sum [ log 2 pi + log v + (z - mu)^2 / v ]
        return -0.5 * (LOG_TWO_PI + logvar + (z - mu) ** 2 * (-logvar).exp()).sum(-1)

    def __len__(self) -> int:
        """Return the number of sentences B."""
        return len(self.mu)


def pool(parts: list[Gaussian]) -> Gaussian:
    """Join the posteriors of several batches into one."""
    return Gaussian(torch.cat([p.mu for p in parts]), torch.cat([p.logvar for p in parts]))
