import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from uncollapse.distributions.divergences import kl
from uncollapse.distributions.posteriors import Gaussian


def random_gaussian(sentences, latent, seed):
    generator = torch.Generator().manual_seed(seed)
    draw = torch.randn(2, sentences, latent, generator=generator, dtype=torch.float64)
    return Gaussian(draw[0], draw[1])


def standard(sentences, latent, dtype=torch.float32):
    zeros = torch.zeros(sentences, latent, dtype=dtype)
    return Gaussian(zeros, zeros)


def draw(q, samples, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return q.transform(torch.randn(len(q), samples, q.latent, generator=generator, dtype=q.mu.dtype))


def as_torch(q):
    return Independent(Normal(q.mu, (0.5 * q.logvar).exp()), 1)


def test_log_prob_is_that_of_torch():
    q, z = random_gaussian(4, 3, 0), torch.randn(4, 5, 3, dtype=torch.float64)
    expected = torch.stack([as_torch(q).log_prob(z[:, k]) for k in range(5)], 1)
    torch.testing.assert_close(q.log_prob(z), expected)


def test_samples_have_the_right_moments():
    q = random_gaussian(2, 3, 1)
    z = draw(q, 200_000)
    torch.testing.assert_close(z.mean(1), q.mu, atol=0.02, rtol=0)
    torch.testing.assert_close(z.var(1), q.logvar.exp(), atol=0, rtol=0.02)


def test_kl_is_that_of_torch_and_zero_at_home():
    q, p = random_gaussian(6, 4, 2), random_gaussian(6, 4, 3)
    torch.testing.assert_close(kl(q, p).sum(-1), kl_divergence(as_torch(q), as_torch(p)))
    assert kl(q, q).abs().max() == 0
    assert (kl(q, p) >= 0).all()


def test_kl_is_its_monte_carlo_estimate():
    q, p = random_gaussian(3, 8, 4), standard(3, 8, torch.float64)
    z = draw(q, 100_000, 1)
    ratio = q.log_prob(z) - p.log_prob(z)
    error = ratio.std(1) / ratio.shape[1] ** 0.5
    assert ((ratio.mean(1) - kl(q, p).sum(-1)).abs() < 4 * error).all()


def test_kl_gradient():
    mu = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    logvar = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    prior = random_gaussian(3, 2, 5)
    assert torch.autograd.gradcheck(lambda m, v: kl(Gaussian(m, v), prior), (mu, logvar))


def test_a_space_of_no_dimensions_costs_nothing():
    q = standard(5, 0)
    assert kl(q, q).sum(-1).tolist() == [0] * 5
    assert q.log_prob(draw(q, 3)).shape == (5, 3) and q.log_prob(draw(q, 3)).abs().sum() == 0


@pytest.mark.parametrize("samples", [1, 4])
def test_gradients_flow_through_samples(samples):
    mu = torch.zeros(2, 3, requires_grad=True)
    draw(Gaussian(mu, mu.detach()), samples).sum().backward()
    assert (mu.grad == samples).all()
