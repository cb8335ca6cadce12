"""Distributions over the latent code: posteriors and priors.

A posterior is a *diagonal* distribution: a location mu, a scale sigma and the shape of its family. Its density depends on z only
through the squared distance m = sum_d ((z_d - mu_d) / sigma_d)^2:

    log q(z) = radial(m) - sum_d log sigma_d.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Self, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from uncollapse.torch_private import standard_gamma

LOG_TWO_PI = math.log(2 * math.pi)
D = TypeVar("D", bound="Diagonal")

Labels = Mapping[str, Tensor]
"""For each label field, the class of every sentence, `[B]`."""
UNLABELLED: Labels = MappingProxyType({})


@dataclass(frozen=True)
class Diagonal(ABC):
    """A distribution with independent scales: mu, and log sigma^2, for every sentence, `[B, Z]` (timestep-wise `[B, T, Z]`)."""

    mu: Tensor
    logvar: Tensor

    @abstractmethod
    def radial(self, squared: Tensor) -> Tensor:
        """Return the log density at a squared distance, for unit scales."""

    @property
    def latent(self) -> int:
        """Return the dimensions Z."""
        return self.mu.shape[-1]

    def __len__(self) -> int:
        """Return the number of sentences B."""
        return len(self.mu)

    def __getitem__(self, index: Any) -> Self:
        """Return the distributions of some sentences (or of some timesteps, by a mask)."""
        return replace(self, mu=self.mu[index], logvar=self.logvar[index])

    def cpu(self) -> Self:
        """Return the same on the CPU, detached from the graph; the precision stays."""
        return replace(self, mu=self.mu.detach().cpu(), logvar=self.logvar.detach().cpu())

    def standard(self) -> Self:
        """Return the standard member of the family, location 0 and scale 1, for each sentence."""
        return replace(self, mu=torch.zeros_like(self.mu), logvar=torch.zeros_like(self.logvar))

    def at(self, noise: Tensor) -> Tensor:
        """Return z = mu + sigma * noise, `[B, K, Z]`; gradients flow to mu and logvar.

        Args:
            noise: draws from the standard member, `[B, K, Z]` (see `Prior.noise`).
        """
        return self.mu.unsqueeze(1) + (0.5 * self.logvar).exp().unsqueeze(1) * noise

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log density of z `[B, K, Z]`, `[B, K]`, in nats."""
        mu, logvar = self.mu.unsqueeze(1), self.logvar.unsqueeze(1)
        squared = ((z - mu) ** 2 * (-logvar).exp()).sum(-1)
        return self.radial(squared) - 0.5 * logvar.sum(-1)


@dataclass(frozen=True)
class Gaussian(Diagonal):
    """N(mu, diag sigma^2)."""

    def radial(self, squared: Tensor) -> Tensor:
        """Return -1/2 (Z log 2 pi + m)."""
        return -0.5 * (self.latent * LOG_TWO_PI + squared)


@dataclass(frozen=True)
class StudentT(Diagonal):
    """A multivariate t with diagonal scale matrix and `df` degrees of freedom (not independent t's)."""

    df: float = 5.0

    def radial(self, squared: Tensor) -> Tensor:
        """Return the log density of the multivariate t at a squared distance."""
        nu, d = self.df, self.latent
        constant = math.lgamma((nu + d) / 2) - math.lgamma(nu / 2) - 0.5 * d * math.log(nu * math.pi)
        return constant - 0.5 * (nu + d) * torch.log1p(squared / nu)


def pool(parts: list[D]) -> D:
    """Join the posteriors of several batches into one."""
    return replace(parts[0], mu=torch.cat([p.mu for p in parts]), logvar=torch.cat([p.logvar for p in parts]))


@dataclass(frozen=True)
class Source:
    """A source of random numbers: a seed, whose first numbers do not depend on how many are drawn, or torch's own random state.

    Attributes:
        seed: None for torch's random state.
        device: of what is drawn by torch; seeded numbers are on the CPU.
    """

    seed: int | None = None
    device: torch.device | None = None

    def normal(self, *shape: int) -> Tensor:
        """Draw standard normal numbers."""
        if self.seed is None:
            return torch.randn(shape, device=self.device)
        return torch.from_numpy(np.random.default_rng(self.seed).standard_normal(shape, dtype=np.float32))

    def choice(self, probabilities: Tensor, n: int) -> Tensor:
        """Draw n positions with some probabilities `[C]`, which are scaled to a sum of 1."""
        if self.seed is None:
            return torch.multinomial(probabilities, n, replacement=True)
        p = probabilities.double().cpu().numpy()
        return torch.from_numpy(np.random.default_rng([self.seed, 1]).choice(len(p), n, p=p / p.sum()))

    def chi_square(self, df: float, n: int) -> Tensor:
        """Draw n chi-square numbers, `[n, 1]`."""
        if self.seed is None:
            return 2 * standard_gamma(torch.full((n, 1), df / 2, device=self.device), None)
        return torch.from_numpy(np.random.default_rng([self.seed, 1]).chisquare(df, (n, 1)).astype(np.float32))


class Prior(nn.Module, ABC):
    """p(z), and the noise that the posteriors of its family are made with.

    A prior may depend on the labels of the sentences; those that do not, take no notice of them.
    """

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.latent = latent

    @abstractmethod
    def log_prob(self, z: Tensor, labels: Labels = UNLABELLED) -> Tensor:
        """Return log p(z) of z `[B, K, Z]`, `[B, K]`, in nats."""

    def sample(self, n: int, source: Source, labels: Labels = UNLABELLED) -> Tensor:
        """Draw `[n, Z]`, where a prior depends on labels one code for each of them."""
        return source.normal(n, self.latent)

    def beside(self, posterior: D, labels: Labels = UNLABELLED) -> D:
        """Return what a posterior is held against: the prior as a member of its family, for each sentence."""
        return posterior.standard()

    def noise(
        self, sentences: int, samples: int, generator: torch.Generator | None = None, device: torch.device | None = None
    ) -> Tensor:
        """Draw noise for posteriors, `[B, K, Z]`: standard normal."""
        return torch.randn(sentences, samples, self.latent, generator=generator, device=device)


class StandardNormal(Prior):
    """N(0, I)."""

    def log_prob(self, z: Tensor, labels: Labels = UNLABELLED) -> Tensor:
        """Return the log density."""
        return -0.5 * (self.latent * LOG_TWO_PI + (z**2).sum(-1))


class LabelNormal(Prior):
    """p(z given the labels) = N(mu_c, diag sigma_c^2), learned; mu and log sigma^2 are sums over the label fields.

    It begins as N(0, I). Source: Sohn, Lee & Yan 2015 (CVAE), section 4.1.

    Args:
        latent: dimensions Z.
        classes: for each field, how many classes it has.
    """

    def __init__(self, latent: int, classes: Mapping[str, int]) -> None:
        super().__init__(latent)
        self.fields = tuple(classes)
        self.tables = nn.ModuleList(nn.Embedding(count, 2 * latent) for count in classes.values())
        self.reset()

    def reset(self) -> None:
        """Make it N(0, I) for every label."""
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def given(self, labels: Labels) -> Gaussian:
        """Return the prior of every sentence, `[B, Z]`."""
        found = torch.stack([table(labels[field]) for field, table in zip(self.fields, self.tables, strict=True)])
        return Gaussian(*found.sum(0).chunk(2, dim=-1))

    def beside(self, posterior: D, labels: Labels = UNLABELLED) -> D:
        """Return the prior of every sentence, at every timestep where the posterior has them."""
        prior = self.given(labels)
        shape = (-1, *[1] * (posterior.mu.ndim - 2), self.latent)
        return replace(
            posterior,
            mu=prior.mu.view(shape).expand_as(posterior.mu),
            logvar=prior.logvar.view(shape).expand_as(posterior.logvar),
        )

    def log_prob(self, z: Tensor, labels: Labels = UNLABELLED) -> Tensor:
        """Return the log density."""
        return self.given(labels).log_prob(z)

    def sample(self, n: int, source: Source, labels: Labels = UNLABELLED) -> Tensor:
        """Draw one code for every sentence; n is their number."""
        noise, tables = source.normal(n, 1, self.latent), next(self.parameters()).device
        prior = self.given({field: classes.to(tables) for field, classes in labels.items()})
        return (prior if source.seed is None else prior.cpu()).at(noise)[:, 0]


class StandardT(Prior):
    """The standard multivariate t: the prior that goes with t posteriors (Kim et al. 2024)."""

    def __init__(self, latent: int, df: float) -> None:
        super().__init__(latent)
        self.df = df

    def log_prob(self, z: Tensor, labels: Labels = UNLABELLED) -> Tensor:
        """Return the log density."""
        zeros = z.new_zeros(len(z), self.latent)
        return StudentT(zeros, zeros, self.df).log_prob(z)

    def sample(self, n: int, source: Source, labels: Labels = UNLABELLED) -> Tensor:
        """Draw a normal vector and divide it by the root of one chi-square over df."""
        return source.normal(n, self.latent) / (source.chi_square(self.df, n) / self.df).sqrt()

    def noise(
        self, sentences: int, samples: int, generator: torch.Generator | None = None, device: torch.device | None = None
    ) -> Tensor:
        """Draw from the standard multivariate t: one chi-square a draw, shared by its dimensions."""
        normal = torch.randn(sentences, samples, self.latent, generator=generator, device=device)
        half = torch.full((sentences, samples, 1), self.df / 2, device=device)
        return normal / (2 * standard_gamma(half, generator) / self.df).sqrt()


class LengthMixture(Prior):
    """The prior of a mean or sum over T timesteps: p(z) = sum_T p(T) N(0, s_T I), s_T = 1/T (mean) or T (sum).

    A collapsed posterior at every timestep makes the mean N(0, I/T). N(0, I) as the prior would charge it for that; N(0, I/T)
    would know the length and so bound p(x given T). The mixture over the training lengths does neither.

    Args:
        latent: dimensions Z.
        scales: s_T of each length.
        probabilities: p(T) of each length.
    """

    variances: Tensor
    probabilities: Tensor

    def __init__(self, latent: int, scales: Sequence[float], probabilities: Sequence[float]) -> None:
        super().__init__(latent)
        self.register_buffer("variances", torch.tensor(list(scales)))
        self.register_buffer("probabilities", torch.tensor(list(probabilities)))

    def log_prob(self, z: Tensor, labels: Labels = UNLABELLED) -> Tensor:
        """Return log sum_T p(T) N(z; 0, s_T I)."""
        squared = (z**2).sum(-1, keepdim=True)
        each = -0.5 * (self.latent * (LOG_TWO_PI + self.variances.log()) + squared / self.variances)
        return (each + self.probabilities.log()).logsumexp(-1)

    def sample(self, n: int, source: Source, labels: Labels = UNLABELLED) -> Tensor:
        """Draw a length, then z."""
        chosen = source.choice(self.probabilities, n)
        return source.normal(n, self.latent) * self.variances.to(chosen.device)[chosen].sqrt()[:, None]


class Mixture(nn.Module):
    """A mixture of Gaussians with full covariances, such as one fitted to the codes of a corpus; it is for sampling alone.

    Args:
        weights: `[C]`, positive, of sum 1.
        means: `[C, Z]`.
        factors: lower triangular L of each covariance L L', `[C, Z, Z]`.
    """

    weights: Tensor
    means: Tensor
    factors: Tensor

    def __init__(self, weights: Tensor, means: Tensor, factors: Tensor) -> None:
        super().__init__()
        self.register_buffer("weights", weights)
        self.register_buffer("means", means)
        self.register_buffer("factors", factors)

    def sample(self, n: int, source: Source, labels: Labels = UNLABELLED) -> Tensor:
        """Draw a component, then z."""
        chosen = source.choice(self.weights, n)
        noise = source.normal(n, self.means.shape[1])[..., None]
        return self.means.to(noise.device)[chosen] + (self.factors.to(noise.device)[chosen] @ noise)[..., 0]
