import math

import pytest
import torch

from uncollapse.distributions.posteriors import Gaussian
from uncollapse.evaluation.posterior import active_units, mutual_information


def constructed(n, spread, variance, latent=1, seed=0):
    """Return posteriors whose means are N(0, spread^2), and a draw of each."""
    generator = torch.Generator().manual_seed(seed)
    mu = spread * torch.randn(n, latent, generator=generator)
    q = Gaussian(mu, torch.full_like(mu, math.log(variance)))
    return q, q.transform(torch.randn(n, 1, latent, generator=generator))[:, 0]


@pytest.mark.parametrize(("spread", "variance", "latent"), [(1.0, 1.0, 1), (2.0, 0.5, 1), (0.5, 1.0, 3)])
def test_it_is_the_known_value_of_jointly_gaussian_codes(spread, variance, latent):
    q, z = constructed(6000, spread, variance, latent)
    exact = latent * 0.5 * math.log(1 + spread**2 / variance)
    mi = mutual_information(q, z)
    assert abs(mi.value - exact) < 4 * mi.se + 0.01


def test_it_is_zero_when_all_posteriors_are_equal():
    q, z = constructed(500, 0.0, 0.7, 8)
    mi = mutual_information(q, z)
    assert mi.value == pytest.approx(0, abs=1e-12) and mi.se == pytest.approx(0, abs=1e-12)


def test_it_is_the_cap_when_no_two_posteriors_touch_and_never_more():
    mu = torch.arange(64.0)[:, None] * 100
    q = Gaussian(mu, torch.full_like(mu, -2.0))
    mi = mutual_information(q, q.transform(torch.randn(64, 1, 1))[:, 0])
    assert mi.value == pytest.approx(math.log(64)) == mi.cap
    for seed in range(20):
        q, z = constructed(30, 50.0, 1e-4, 4, seed)
        mi = mutual_information(q, z)
        assert mi.value <= mi.cap + 1e-9


def test_chunks_change_nothing_and_it_is_the_plain_formula():
    q, z = constructed(90, 1.0, 0.5, 3)
    table = torch.stack([q.log_prob(z[i].expand(90, 1, 3)).squeeze(1) for i in range(90)]).double()
    plain = (table.diagonal() - table.logsumexp(1) + math.log(90)).mean().item()
    assert mutual_information(q, z, chunk=7).value == pytest.approx(plain, abs=1e-5)
    assert mutual_information(q, z, chunk=7).value == pytest.approx(mutual_information(q, z).value)


def test_active_units_in_the_two_extremes():
    assert active_units(torch.ones(100, 8)) == 0
    assert active_units(torch.randn(1000, 8, generator=torch.Generator().manual_seed(0))) == 8
    mixed = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([0.05, 0.2])
    assert active_units(mixed) == 1
    assert active_units(torch.zeros(10, 0)) == 0 and active_units(torch.ones(1, 3)) == 0
