"""The health of a latent space: states on made numbers, the lag against exact posteriors, real small models."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from tests.conftest import tiny_vae
from tests.evaluation.test_bounds import ExactEncoder, linear  # noqa: F401
from uncollapse.distributions.priors import StandardNormal
from uncollapse.evaluation.evaluate import evaluate
from uncollapse.evaluation.health import Health, diagnose, measure_health
from uncollapse.evaluation.lag import encoder_lag
from uncollapse.model import VAE

GOOD = Health(
    distortion=80.0,
    rate=8.0,
    rates=(4.0, 4.0),
    mi=4.0,
    mi_se=0.1,
    mi_cap=5.3,
    au=2,
    latent=2,
    z_use=20.0,
    z_use_se=1.0,
    lag=1.5,
)


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "healthy"),
        ({"lag": None}, "healthy"),
        ({"lag": 4.0}, "lagging"),
        ({"lag": 3.9}, "healthy"),
        ({"lag": 5.2, "mi": 5.1}, "healthy"),  # the MI is at its cap: the lag is compared with the rate
        ({"lag": 8.1, "mi": 5.1}, "lagging"),
        ({"mi": 0.9, "lag": 0.5}, "partial"),
        ({"z_use": 0.9, "lag": 0.5, "z_use_se": 0.1}, "partial"),
        ({"rate": 0.05, "mi": 0.02}, "collapsed"),
        ({"rate": 0.3, "mi": 0.02}, "collapsed"),
        ({"mi": 0.02}, "dead rate"),
        ({"mi": 0.15, "mi_se": 0.1}, "dead rate"),
        ({"z_use": 0.01, "z_use_se": 0.001}, "dead rate"),
        ({"z_use": 1.5, "z_use_se": 1.0}, "dead rate"),
        ({"rate": 100.1}, "exploding"),
        ({"rate": 99.9, "lag": None}, "healthy"),
        ({"rate": math.nan}, "exploding"),
    ],
)
def test_the_state_of_made_numbers(changes, state):
    diagnosis = diagnose(replace(GOOD, **changes))
    assert diagnosis.state == state and diagnosis.evidence


def test_nothing_but_a_rate_that_is_not_finite_is_said_while_warming_up():
    for rate in (0.0, 200.0):  # of an autoencoder, which is trained first, the rate is free
        assert diagnose(replace(GOOD, rate=rate, mi=0.0), warming_up=True).state == "warming up"
    assert diagnose(replace(GOOD, rate=math.inf), warming_up=True).state == "exploding"


def test_a_record_gives_back_what_was_measured():
    health = replace(GOOD, mi=1.23456789)
    assert Health.of({**health.record(), "step": 3}) == replace(health, mi=1.23457)
    assert Health.of(replace(GOOD, lag=None).record()).lag is None


@pytest.mark.parametrize("error", [0.0, 0.2, 0.4])
def test_the_lag_of_a_linear_model_is_the_divergence_from_its_exact_posterior(linear, error):  # noqa: F811
    decoder, corpus, _ = linear
    exact = ExactEncoder(decoder)(corpus.batch(range(5))).posterior
    q = ExactEncoder(decoder, error)(corpus.batch(range(5))).posterior
    normals = [Normal(p.mu, (p.logvar / 2).exp()) for p in (q, exact)]
    expected = kl_divergence(*normals).sum(-1).detach()
    model = VAE(ExactEncoder(decoder, error), decoder, StandardNormal(2)).eval()
    lag = encoder_lag(model, corpus, np.arange(5))
    assert lag.divergence.numpy() == pytest.approx(expected.numpy(), abs=0.03 + 0.1 * float(expected.max()))
    assert lag.log_width == pytest.approx(error / 2, abs=0.03)


def test_the_lag_of_a_scalar_z_agrees_with_a_grid(corpus):
    model = tiny_vae(len(corpus.vocabulary), latent=1, seed=3)
    grid = torch.linspace(-12, 12, 2401)
    batch = corpus.batch(range(len(corpus)))
    with torch.no_grad():
        q = model.posterior(batch)
        z = grid.expand(len(corpus), -1)[..., None]
        log_p = (model.prior.log_prob(z) - model.distortion(batch, z)).double().log_softmax(1) - math.log(0.01)
        log_q = q.log_prob(z).double()
    exact = (log_q.exp() * (log_q - log_p)).sum(1) * 0.01
    lag = encoder_lag(model, corpus, np.arange(len(corpus))).divergence
    assert float(exact.mean()) > 0.05 and float(lag.mean()) == pytest.approx(float(exact.mean()), rel=0.15)
    assert np.corrcoef(lag, exact)[0, 1] > 0.95


def test_health_is_that_of_the_evaluation(corpus):
    model = tiny_vae(len(corpus.vocabulary), latent=3)
    health = measure_health(model, corpus, lag_sentences=4)
    metrics = evaluate(model, corpus, iw_samples=0).metrics
    for name in ("distortion", "rate", "mi", "mi_se", "au", "latent"):
        assert getattr(health, name) == pytest.approx(metrics[name], rel=1e-6)
    assert sum(health.rates) == pytest.approx(health.rate, rel=1e-5) and len(health.rates) == 3
    assert health.lag is not None and health.lag > 0
    assert measure_health(model, corpus).lag is None
