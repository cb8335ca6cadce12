"""Priors p(z), or p(z | labels), and the mixture that may be fitted to the codes of a corpus."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from uncollapse.data.labels import UNLABELLED, Labels
from uncollapse.distributions.posteriors import LOG_TWO_PI, Diagonal, Gaussian, Posterior, StudentT
from uncollapse.torch_private import standard_gamma

D = TypeVar("D", bound=Diagonal)


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
    """p(z), a module that may have weights of its own; or p(z | labels).

    Attributes:
        event_shape: the shape of a code, `[Z]` or `[M, Z]`.
        latent: the numbers of a code; 0 for a language model.
        family: the posteriors of which the prior has a member (`prior_for`).
        labelled: whether it depends on labels.
    """

    family: type[Diagonal] = Gaussian
    labelled = False

    def __init__(self, *event_shape: int) -> None:
        super().__init__()
        self.event_shape = torch.Size(event_shape)
        self.latent = self.event_shape.numel()

    @abstractmethod
    def log_prob(self, z: Tensor, labels: Labels = UNLABELLED) -> Tensor:
        """Return log p(z) of z `[B, K, *event]`, `[B, K]`, in nats."""

    def sample(self, n: int, source: Source, labels: Labels = UNLABELLED) -> Tensor:
        """Draw `[n, *event]`, where a prior depends on labels one code for each of them."""
        return source.normal(n, *self.event_shape)

    def prior_for(self, posterior: Posterior, labels: Labels = UNLABELLED) -> Diagonal | None:
        """Return the prior as a distribution of the posterior's family, for each sentence; None for another family."""
        return cast(Diagonal, posterior).base if type(posterior) is self.family else None


class StandardNormal(Prior):
    """N(0, I)."""

    def log_prob(self, z: Tensor, labels: Labels = UNLABELLED) -> Tensor:
        """Return the log density."""
        return -0.5 * (self.latent * LOG_TWO_PI + (z**2).flatten(2).sum(-1))


class LabelNormal(Prior):
    """p(z | labels) = N(mu_c, diag sigma_c^2), learned; mu and log sigma^2 are sums over the label fields.

    It begins as N(0, I). Source: Sohn, Lee & Yan 2015 (CVAE), section 4.1.

    Args:
        latent: dimensions Z.
        classes: for each field, how many classes it has.
    """

    labelled = True

    def __init__(self, latent: int, classes: Mapping[str, int]) -> None:
        super().__init__(latent)
        self.fields = tuple(classes)
        self.tables = nn.ModuleList(nn.Embedding(count, 2 * latent) for count in classes.values())
        self.reset()

    def reset(self) -> None:
        """Make it N(0, I) for every label."""
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def conditional(self, labels: Labels) -> Gaussian:
        """Return the prior of every sentence, `[B, Z]`."""
        rows = torch.stack([table(labels[field]) for field, table in zip(self.fields, self.tables, strict=True)])
        return Gaussian(*rows.sum(0).chunk(2, dim=-1))

    def prior_for(self, posterior: Posterior, labels: Labels = UNLABELLED) -> Diagonal | None:
        """Return the prior of every sentence, at every timestep where the posterior has them."""
        if type(posterior) is not Gaussian:
            return None
        prior = self.conditional(labels)
        shape = (-1, *[1] * (posterior.mu.ndim - 2), self.latent)
        mu, logvar = (part.view(shape).expand_as(posterior.mu) for part in (prior.mu, prior.logvar))
        return replace(posterior, mu=mu, logvar=logvar)

    def log_prob(self, z: Tensor, labels: Labels = UNLABELLED) -> Tensor:
        """Return the log density."""
        return self.conditional(labels).log_prob(z)

    def sample(self, n: int, source: Source, labels: Labels = UNLABELLED) -> Tensor:
        """Draw one code for every sentence; n is their number."""
        noise, tables = source.normal(n, 1, self.latent), next(self.parameters()).device
        prior = self.conditional({field: classes.to(tables) for field, classes in labels.items()})
        return (prior if source.seed is None else prior.cpu()).transform(noise)[:, 0]


class StandardT(Prior):
    """The standard multivariate t: the prior that goes with t posteriors (Kim et al. 2024)."""

    family = StudentT

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


class LengthMixture(Prior):
    """The prior of a mean or sum over T timesteps: p(z) = sum_T p(T) N(0, s_T I), s_T = 1/T (mean) or T (sum).

    A collapsed posterior at every timestep makes the mean N(0, I/T). N(0, I) as the prior would charge it for that; N(0, I/T)
    would know the length and so bound p(x | T). The mixture over the training lengths does neither.

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
