"""Closed forms against quadrature in one dimension, Monte Carlo in 32, limits and gradients."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import multivariate_t

from uncollapse.distributions.divergences import alpha_divergence, gamma_divergence, kl, log_overlap, renyi
from uncollapse.distributions.posteriors import Gaussian, StudentT
from uncollapse.distributions.priors import Source, StandardT
from uncollapse.errors import TrainingError

ALPHAS = [0.0, 0.1, 0.5, 0.9, 1.0]


def gaussian(mu, variance):
    mu = torch.tensor(mu, dtype=torch.float64)
    return Gaussian(mu, torch.tensor(variance, dtype=torch.float64).log().expand_as(mu))


def random(cls, sentences, latent, seed, spread=1.0, **shape):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(2, sentences, latent, generator=generator, dtype=torch.float64) * spread
    return cls(values[0], values[1], **shape)


ONE, OTHER = gaussian([[0.7]], [[0.5]]), gaussian([[-0.4]], [[1.3]])


def density(q):
    return lambda x: math.exp(q.log_prob(torch.tensor([[[x]]], dtype=torch.float64)).item())


def integral(function):
    return quad(function, -20, 20, limit=300)[0]


def test_kl_is_its_integral():
    q, p = density(ONE), density(OTHER)
    assert kl(ONE, OTHER).sum().item() == pytest.approx(
        integral(lambda x: q(x) * math.log(q(x) / p(x)) if q(x) > 1e-300 else 0)
    )


@pytest.mark.parametrize("alpha", [0.1, 0.3, 0.5, 0.7, 0.95, 1.2, -0.3])
def test_overlap_alpha_and_renyi_are_their_integrals(alpha):
    q, p = density(ONE), density(OTHER)
    j = integral(lambda x: q(x) ** alpha * p(x) ** (1 - alpha))
    assert log_overlap(ONE, OTHER, alpha).item() == pytest.approx(math.log(j))
    assert alpha_divergence(ONE, OTHER, alpha).item() == pytest.approx((1 - j) / (alpha * (1 - alpha)))
    assert renyi(ONE, OTHER, alpha).item() == pytest.approx(math.log(j) / (alpha - 1))


@pytest.mark.parametrize("nu", [3.0, 5.0, 12.0])
def test_gamma_is_its_integral(nu):
    """D = H_gamma(q, p) - H_gamma(q, q) up to the constant that makes it the Gaussian KL in the limit, in one dimension.

    H_gamma(q, p) = -(1/gamma) [ln of the integral of q p^gamma] + 1/(1 + gamma) ln of the integral of p^(1 + gamma).
    """
    one, other = (StudentT(d.mu, d.logvar, nu) for d in (ONE, OTHER))
    q, p, g = density(one), density(other), -2 / (nu + 1)

    def line(f):
        return quad(f, -np.inf, np.inf, limit=500)[0]

    def cross(a, b):
        return -math.log(line(lambda x: a(x) * b(x) ** g)) / g + math.log(line(lambda x: b(x) ** (1 + g))) / (1 + g)

    # t_nu^(1 + gamma) has the second moments of t: the closed form is the difference of the cross entropies
    assert gamma_divergence(one, other).item() == pytest.approx(cross(q, p) - cross(q, q), rel=1e-6)


def test_monte_carlo_in_32_dimensions():
    generator = torch.Generator().manual_seed(0)
    q = random(Gaussian, 1, 32, 1, 0.3)
    p = random(Gaussian, 1, 32, 2, 0.3)
    z = q.transform(torch.randn(1, 400_000, 32, generator=generator, dtype=torch.float64))
    ratio = (p.log_prob(z) - q.log_prob(z))[0]
    error = ratio.std() / len(ratio) ** 0.5
    assert abs(-ratio.mean() - kl(q, p).sum()) < 4 * error
    for alpha in (0.3, 0.7, 0.9):
        weights = ((1 - alpha) * ratio).exp()  # E_q[(p/q)^(1 - alpha)] = J
        error = weights.std() / len(weights) ** 0.5
        assert abs(weights.mean() - log_overlap(q, p, alpha).sum().exp()) < 4 * error


def test_gamma_monte_carlo_in_32_dimensions():
    nu, d = 5.0, 32
    q, p = (random(StudentT, 1, d, seed, 0.3, df=nu) for seed in (3, 4))
    z = q.transform(
        StudentT(torch.zeros(1, d), torch.zeros(1, d), nu).noise(1, 400_000, torch.Generator().manual_seed(0)).double()
    )
    g = -2 / (nu + d)

    def power_norm(r):
        """Return ln of the integral of r^(1 + gamma), by draws from r."""
        draws = r.transform(
            StudentT(torch.zeros(1, d), torch.zeros(1, d), nu)
            .noise(1, 400_000, torch.Generator().manual_seed(1))
            .double()
        )
        return (g * r.log_prob(draws)[0]).exp().mean().log()

    cross = -(g * p.log_prob(z)[0]).exp().mean().log() / g + power_norm(p) / (1 + g)
    own = -(g * q.log_prob(z)[0]).exp().mean().log() / g + power_norm(q) / (1 + g)
    assert gamma_divergence(q, p).item() == pytest.approx((cross - own).item(), rel=0.02)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_zero_at_home_and_never_negative(alpha):
    for seed in range(20):
        q, p = random(Gaussian, 5, 4, seed), random(Gaussian, 5, 4, seed + 100)
        for divergence in (kl, lambda a, b: alpha_divergence(a, b, alpha), lambda a, b: renyi(a, b, alpha)):
            assert divergence(q, q).abs().max() < 1e-12 and divergence(q, p).min() > -1e-12
        s, t = (random(StudentT, 5, 4, n, df=4.0) for n in (seed, seed + 100))
        assert gamma_divergence(s, s).abs().max() < 1e-12 and gamma_divergence(s, t).min() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_limits_keep_their_digits(dtype):
    q, p = (
        Gaussian(r.mu.to(dtype), r.logvar.to(dtype))
        for r in (random(Gaussian, 6, 8, 1, 0.5), random(Gaussian, 6, 8, 2, 0.5))
    )
    near = 1 - 1e-6
    forward, backward = kl(q, p).sum(-1), kl(p, q).sum(-1)
    close = {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 5e-5, "atol": 1e-6}
    torch.testing.assert_close(alpha_divergence(q, p, near), forward, **close)
    torch.testing.assert_close(alpha_divergence(q, p, 1 - near), backward, **close)
    torch.testing.assert_close(renyi(q, p, near).sum(-1), forward, **close)
    torch.testing.assert_close(renyi(q, p, 1e-6).sum(-1) / 1e-6, backward, **close)
    assert renyi(q, p, 0.0).abs().max() == 0


def test_alpha_one_is_kl_to_a_millionth_near_the_prior():
    q = random(Gaussian, 50, 4, 3, 0.2)
    exact = kl(q, q.base).sum(-1)
    assert (alpha_divergence(q, q.base, 1 - 1e-6) - exact).abs().max() < 1e-6
    assert (alpha_divergence(q, q.base, 1.0) == exact).all()


def test_gamma_tends_to_the_gaussian_kl():
    q = random(Gaussian, 20, 4, 5, 0.5)
    t = StudentT(q.mu, q.logvar, 1e6)
    assert (gamma_divergence(t, t.base) - kl(q, q.base).sum(-1)).abs().max() < 1e-3


def test_renyi_does_not_fall_with_its_order():
    q, p = random(Gaussian, 10, 3, 6), random(Gaussian, 10, 3, 7)
    values = [renyi(q, p, a).sum(-1) for a in np.linspace(0.05, 1, 20)]
    assert all((b >= a - 1e-12).all() for a, b in itertools.pairwise(values))


def test_alpha_saturates():
    far = gaussian([[50.0]], [[1.0]])
    assert alpha_divergence(far, far.base, 0.5).item() == pytest.approx(4)


def test_a_divergence_that_does_not_exist_is_refused():
    wide = gaussian([[0.0]], [[5.0]])
    with pytest.raises(TrainingError, match="order 2 does not exist"):
        alpha_divergence(wide, wide.base, 2.0)
    with pytest.raises(TrainingError, match="order -1 does not exist"):
        alpha_divergence(wide.base, wide, -1.0)
    narrow = gaussian([[0.3]], [[0.5]])
    assert alpha_divergence(narrow, narrow.base, 2.0).item() > 0


@pytest.mark.parametrize(
    "divergence",
    [
        kl,
        lambda q, p: alpha_divergence(q, p, 0.3),
        lambda q, p: alpha_divergence(q, p, 0.8),
        lambda q, p: renyi(q, p, 0.5),
        gamma_divergence,
    ],
)
def test_gradients_are_those_of_finite_differences(divergence):
    cls, shape = (StudentT, {"df": 4.0}) if divergence is gamma_divergence else (Gaussian, {})
    p = random(cls, 3, 2, 9, **shape)
    leaves = [t.clone().requires_grad_() for t in (random(cls, 3, 2, 8).mu, random(cls, 3, 2, 8).logvar)]
    assert torch.autograd.gradcheck(lambda m, v: divergence(cls(m, v, **shape), p), leaves)


def test_the_t_density_is_that_of_scipy_and_its_draws_have_its_moments():
    t = random(StudentT, 2, 3, 10, df=6.0)
    z = torch.randn(2, 4, 3, dtype=torch.float64)
    for row in range(2):
        reference = multivariate_t(t.mu[row].numpy(), np.diag(t.logvar[row].exp().numpy()), df=6.0).logpdf(
            z[row].numpy()
        )
        np.testing.assert_allclose(t.log_prob(z)[row].numpy(), reference)
    noise = StudentT(torch.zeros(1, 3), torch.zeros(1, 3), 6.0).noise(1, 400_000, torch.Generator().manual_seed(0))[0]
    torch.testing.assert_close(noise.var(0), torch.full((3,), 6 / 4.0), rtol=0.03, atol=0)
    # one chi-square a draw: the squares of two dimensions rise together
    assert np.corrcoef(noise[:, 0] ** 2, noise[:, 1] ** 2)[0, 1] > 0.15
    drawn = StandardT(3, 6.0).sample(50_000, Source(0))
    torch.testing.assert_close(drawn.var(0), torch.full((3,), 6 / 4.0), rtol=0.06, atol=0)
    assert torch.equal(StandardT(3, 6.0).sample(5, Source(0)), drawn[:5])
