"""Posteriors q(z | x): for every sentence a map from noise to codes, and a density.

A *diagonal* posterior has a location mu, a scale sigma and the shape of its family. Its density depends on z only through the
squared distance m = sum_d ((z_d - mu_d) / sigma_d)^2:

    log q(z) = radial(m) - sum_d log sigma_d.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self, TypeVar

import torch
from torch import Tensor

from uncollapse.torch_private import standard_gamma

LOG_TWO_PI = math.log(2 * math.pi)
MEAN_DRAWS = 256
"""Draws that estimate a mean without a closed form; the noise is the same for every sentence, so that equal posteriors have equal
means."""
P = TypeVar("P", bound="Posterior")


@dataclass(frozen=True)
class Posterior(ABC):
    """q(z | x) of B sentences, over codes of any event shape: a vector `[Z]`, or M vectors `[M, Z]`.

    A subclass is a frozen dataclass of tensors whose first dimension is the sentence. Its noise is standard normal unless it says
    otherwise in `base`.
    """

    @abstractmethod
    def transform(self, noise: Tensor) -> Tensor:
        """Return z for noise `[B, K, *event]`, of the same shape; gradients flow to the parameters."""

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """Return log q(z | x) of z `[B, K, *event]`, `[B, K]`, in nats."""

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Return the parameters that belong to sentences, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    @property
    def event_shape(self) -> torch.Size:
        """Return the shape of a code: by default that of the first parameter, without its first dimension."""
        return next(iter(self.tensors.values())).shape[1:]

    @property
    def device(self) -> torch.device:
        """Return where the parameters are."""
        return next(iter(self.tensors.values())).device

    @property
    def mean(self) -> Tensor:
        """Return E[z | x], `[B, *event]`: here an estimate from draws in pairs e, -e."""
        generator = torch.Generator().manual_seed(0)
        half = self.noise(1, MEAN_DRAWS // 2, generator).to(self.device)
        noise = torch.cat([half, -half], 1).expand(len(self), *[-1] * (half.ndim - 1))
        return self.transform(noise).mean(1)

    @property
    def entropy(self) -> Tensor | None:
        """Return the entropy, `[B]`, nats; None where it has no closed form."""
        return None

    @property
    def base(self) -> "Diagonal":
        """Return the distribution of the noise, for every sentence."""
        zeros = torch.zeros(len(self), *self.event_shape, device=self.device)
        return Gaussian(zeros, zeros)

    def noise(self, sentences: int, samples: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw noise, `[sentences, samples, *event]`: on the CPU from a generator, else where the posterior is."""
        device = self.device if generator is None else None
        return torch.randn(sentences, samples, *self.event_shape, generator=generator, device=device)

    def cross_log_prob(self, z: Tensor) -> Tensor:
        """Return log q(z_i | x_j) of codes `[I, *event]` under every posterior j, `[I, B]`, in float64."""
        return self.log_prob(z.expand(len(self), *z.shape)).T.double()

    def __len__(self) -> int:
        """Return the number of sentences B."""
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, index: Any) -> Self:
        """Return the posteriors of some sentences (or of some timesteps, by a mask)."""
        return replace(self, **{name: value[index] for name, value in self.tensors.items()})

    def cpu(self) -> Self:
        """Return the same on the CPU, detached from the graph."""
        return replace(self, **{name: value.detach().cpu() for name, value in self.tensors.items()})


def cat(parts: Sequence[P]) -> P:
    """Join the posteriors of several batches into one."""
    names = parts[0].tensors
    return replace(parts[0], **{name: torch.cat([part.tensors[name] for part in parts]) for name in names})


@dataclass(frozen=True)
class Diagonal(Posterior):
    """Independent scales: mu, and log sigma^2, of every sentence, `[B, *event]` (timestep-wise `[B, T, Z]`)."""

    mu: Tensor
    logvar: Tensor

    @abstractmethod
    def radial(self, squared: Tensor) -> Tensor:
        """Return the log density at a squared distance, for unit scales."""

    @property
    def latent(self) -> int:
        """Return the dimensions Z, the numbers of a code."""
        return self.event_shape.numel()

    @property
    def mean(self) -> Tensor:
        """Return mu."""
        return self.mu

    @property
    def base(self) -> Self:
        """Return the standard member of the family, location 0 and scale 1, for each sentence."""
        return replace(self, mu=torch.zeros_like(self.mu), logvar=torch.zeros_like(self.logvar))

    def transform(self, noise: Tensor) -> Tensor:
        """Return z = mu + sigma * noise, `[B, K, *event]`."""
        return self.mu.unsqueeze(1) + (0.5 * self.logvar).exp().unsqueeze(1) * noise

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log density, `[B, K]`."""
        mu, logvar = self.mu.unsqueeze(1), self.logvar.unsqueeze(1)
        squared = ((z - mu) ** 2 * (-logvar).exp()).flatten(2).sum(-1)
        return self.radial(squared) - 0.5 * logvar.flatten(2).sum(-1)

    def cross_log_prob(self, z: Tensor) -> Tensor:
        """Return the log density by two matrix products: m_ij = sum_d (z_i^2 - 2 z_i mu_j + mu_j^2) / v_j."""
        mu, logvar, z = (part.double().flatten(1) for part in (self.mu, self.logvar, z))
        precision = (-logvar).exp()
        squared = (z**2 @ precision.T - 2 * z @ (mu * precision).T + (mu**2 * precision).sum(1)).clamp(min=0)
        return self.radial(squared) - 0.5 * logvar.sum(1)


@dataclass(frozen=True)
class Gaussian(Diagonal):
    """N(mu, diag sigma^2)."""

    def radial(self, squared: Tensor) -> Tensor:
        """Return -1/2 (Z log 2 pi + m)."""
        return -0.5 * (self.latent * LOG_TWO_PI + squared)

    @property
    def entropy(self) -> Tensor:
        """Return 1/2 (Z (log 2 pi + 1) + sum_d log sigma_d^2)."""
        return 0.5 * (self.latent * (LOG_TWO_PI + 1) + self.logvar.flatten(1).sum(1))


@dataclass(frozen=True)
class StudentT(Diagonal):
    """A multivariate t with diagonal scale matrix and `df` degrees of freedom (not independent t's)."""

    df: float = 5.0

    def radial(self, squared: Tensor) -> Tensor:
        """Return the log density of the multivariate t at a squared distance."""
        nu, d = self.df, self.latent
        constant = math.lgamma((nu + d) / 2) - math.lgamma(nu / 2) - 0.5 * d * math.log(nu * math.pi)
        return constant - 0.5 * (nu + d) * torch.log1p(squared / nu)

    def noise(self, sentences: int, samples: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw from the standard multivariate t: one chi-square a draw, shared by its dimensions."""
        normal = super().noise(sentences, samples, generator)
        half = normal.new_full((sentences, samples, *[1] * len(self.event_shape)), self.df / 2)
        return normal / (2 * standard_gamma(half, generator) / self.df).sqrt()
