"""The proposals: the design of the probes, the regression, the mixture."""

import math

import pytest
import torch
from torch.distributions import Independent, Normal

from uncollapse.distributions.posteriors import Gaussian, StudentT
from uncollapse.evaluation.proposal import DEFENSIVE, WIDEST, Proposal, fitted, probes, regression


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def standard(n, latent):
    return Gaussian(torch.zeros(n, latent), torch.zeros(n, latent))


@pytest.mark.parametrize("count", [6, 16, 40])
def test_probes_are_pairs_in_orthogonal_directions(count):
    half, mirrored = probes(standard(1, 8), count, seeded())[0].chunk(2)
    assert len(half) == count // 2
    torch.testing.assert_close(mirrored, -half)
    for block in half.split(8):
        cosines = torch.nn.functional.normalize(block) @ torch.nn.functional.normalize(block).T
        torch.testing.assert_close(cosines, torch.eye(len(block)), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("df", "second"), [(0.0, 1.0), (8.0, 8 / 6)])
def test_each_probe_is_distributed_as_the_noise_of_q(df, second):
    generator, zeros = seeded(), torch.zeros(1, 3)
    base = StudentT(zeros, zeros, df) if df else Gaussian(zeros, zeros)
    drawn = torch.cat([probes(base, 6, generator) for _ in range(4000)]).flatten(0, 1)
    torch.testing.assert_close(drawn.T @ drawn / len(drawn), second * torch.eye(3), atol=0.05, rtol=0)
    lengths = base.noise(1, 24000, generator)[0].norm(dim=-1)
    quantiles = torch.tensor([0.1, 0.5, 0.9])
    torch.testing.assert_close(
        drawn.norm(dim=-1).quantile(quantiles), lengths.quantile(quantiles), atol=0.05, rtol=0.03
    )


def test_the_regression_finds_coefficients_without_noise():
    x, beta = torch.randn(30, 40, 12, generator=seeded()).double(), torch.randn(30, 12, generator=seeded(1)).double()
    result = regression(x, (x @ beta[..., None])[..., 0] + 5)
    torch.testing.assert_close(result, beta, atol=1e-3, rtol=0)


def test_what_all_sentences_share_is_found_from_fewer_probes_than_coefficients():
    x, shared = torch.randn(60, 10, 20, generator=seeded()).double(), torch.randn(20, generator=seeded(1)).double()
    own = shared + 0.01 * torch.randn(60, 20, generator=seeded(2)).double()
    result = regression(x, (x @ own[..., None])[..., 0])
    assert (result - own).square().mean() < 0.05 * own.square().mean()
    alone = torch.cat([regression(x[i : i + 1], (x @ own[..., None])[i : i + 1, :, 0]) for i in range(60)])
    assert (alone - own).square().mean() > 0.2 * own.square().mean()


def test_equal_weights_leave_q_as_it_is():
    e = torch.cat([probes(standard(1, 4), 16, seeded(i)) for i in range(5)])
    proposal = fitted(standard(5, 4), e, torch.full((5, 16), -70.0))
    torch.testing.assert_close(proposal.near.mu, torch.zeros(5, 4), atol=1e-6, rtol=0)
    torch.testing.assert_close(proposal.near.logvar, torch.zeros(5, 4), atol=1e-6, rtol=0)
    torch.testing.assert_close(proposal.log_ratio(e), torch.zeros(5, 16), atol=1e-5, rtol=0)


def test_a_gaussian_posterior_is_found_exactly():
    """log w = log N(e; m, s^2) - log N(e; 0, 1) + log p(x): r without its defence is p(z | x)."""
    m, s = torch.randn(20, 4, generator=seeded()), 0.6 + 1.2 * torch.rand(20, 4, generator=seeded(1))
    e = torch.cat([probes(standard(1, 4), 64, seeded(i)) for i in range(20)])

    def log_w(e):
        exact = Independent(Normal(m[:, None], s[:, None]), 1).log_prob(e)
        return exact - Independent(Normal(torch.zeros(4), torch.ones(4)), 1).log_prob(e) - 70

    near = fitted(standard(20, 4), e, log_w(e)).near
    torch.testing.assert_close(near.mu, m, atol=0.02, rtol=0)
    torch.testing.assert_close((near.logvar / 2).exp(), s, atol=0.02, rtol=0)


def test_sentences_are_fitted_in_groups_that_memory_allows(monkeypatch):
    e = torch.cat([probes(standard(1, 2), 32, seeded(i)) for i in range(40)])
    values = e @ torch.tensor([0.7, -0.4]) + 0.3 * torch.randn(40, 32, generator=seeded())
    whole = fitted(standard(40, 2), e, values).near
    monkeypatch.setattr("uncollapse.evaluation.proposal.ENTRIES", 20 * 16)
    parts = fitted(standard(40, 2), e, values).near
    torch.testing.assert_close(parts.mu, whole.mu, atol=0.1, rtol=0)
    torch.testing.assert_close(parts[:20].mu, fitted(standard(20, 2), e[:20], values[:20]).near.mu)


def test_a_proposal_stays_within_bounds():
    e = torch.cat([probes(standard(1, 2), 32, seeded(i)) for i in range(8)])
    wide = fitted(standard(8, 2), e, 3 * (e**2).sum(-1)).near
    narrow = fitted(standard(8, 2), e, -30 * (e**2).sum(-1)).near
    torch.testing.assert_close(wide.logvar.exp(), torch.full((8, 2), WIDEST))
    torch.testing.assert_close(narrow.logvar.exp(), torch.full((8, 2), 1 / WIDEST))


@pytest.mark.parametrize("family", [Gaussian, StudentT])
def test_the_mixture_is_a_density_and_is_what_is_drawn(family):
    near = family(torch.tensor([[0.8, -0.5]]), torch.tensor([[0.4, -0.3]]))
    proposal, many = Proposal(near), 400_000
    noise, uniform = near.noise(1, many, seeded()), torch.rand(1, many, generator=seeded(1))
    assert proposal.log_ratio(noise).exp().mean().item() == pytest.approx(1, abs=0.01)  # E_q(r / q)
    drawn = proposal.draws(noise, uniform)
    ratio = proposal.log_ratio(drawn)
    assert (-ratio).exp().mean().item() == pytest.approx(1, abs=0.01)  # E_r(q / r)
    assert ratio.min() >= math.log(DEFENSIVE) - 1e-5
    mean = (1 - DEFENSIVE) * near.mu[0]
    torch.testing.assert_close(drawn[0].mean(0), mean, atol=0.01, rtol=0)
