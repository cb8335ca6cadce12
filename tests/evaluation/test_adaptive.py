"""The adaptive draws against weights whose variance is known."""

import math

import numpy as np
import pytest
import torch

from uncollapse.evaluation import adaptive
from uncollapse.evaluation.adaptive import adaptive_log_weights, wanted
from uncollapse.evaluation.bounds import iw_bound, relative_variance

SPREAD = np.concatenate([np.full(150, 0.2), np.full(50, 1.0)])
"""Standard deviation of the log weights of each sentence; their variance is exp(s^2) - 1 over the squared mean, which is 1."""


@pytest.fixture
def known(monkeypatch):
    """Weights that are log-normal of mean 1: -log p(x) is 0 for every sentence."""
    calls = []

    def draw(model, corpus, indices, samples, seed=0, tick=None, precision="fp32"):
        calls.append((len(indices), samples))
        random = np.random.default_rng([seed, len(indices)])
        spread = SPREAD[indices][:, None]
        return torch.from_numpy(spread * random.standard_normal((len(indices), samples)) - spread**2 / 2)

    monkeypatch.setattr(adaptive, "log_weights", draw)
    return calls


def error(drawn):
    """Return the true standard error of the mean bound, to first order."""
    variance = np.exp(SPREAD**2) - 1
    return math.sqrt((variance / np.array([len(w) for w in drawn])).sum()) / len(drawn)


def test_the_error_is_that_of_the_fixed_protocol_with_the_fewest_draws(known):
    drawn = adaptive_log_weights(None, None, np.arange(200), 500)
    counts = np.array([len(w) for w in drawn])
    variance = np.exp(SPREAD**2) - 1
    fixed = math.sqrt(variance.sum() / 500) / 200
    assert error(drawn) == pytest.approx(fixed, rel=0.12)
    fewest = 500 * np.sqrt(variance).sum() ** 2 / variance.sum()
    assert counts.sum() == pytest.approx(fewest, rel=0.25) and counts.sum() < 0.7 * 500 * 200
    assert counts[:150].mean() < 0.3 * counts[150:].mean()


def test_the_looseness_is_that_of_the_fixed_protocol(known):
    found = [
        torch.stack([iw_bound(w[None])[0] for w in adaptive_log_weights(None, None, np.arange(200), 100, seed)]).mean()
        for seed in range(40)
    ]
    variance = np.exp(SPREAD**2) - 1
    expected, spread = variance.mean() / 200, math.sqrt(variance.sum() / 100) / 200
    assert torch.stack(found).mean().item() == pytest.approx(expected, abs=4 * spread / math.sqrt(40))


def test_equal_weights_need_no_more_than_the_pilot():
    assert not wanted([torch.zeros(32)] * 5, 500).any()


def test_never_more_than_a_sentence_may_have(monkeypatch, known):
    monkeypatch.setattr(adaptive, "MOST", 0.1)
    assert max(len(w) for w in adaptive_log_weights(None, None, np.arange(200), 500)) <= 50 * adaptive.STEP


@pytest.mark.parametrize("spread", [0.1, 1.0])
def test_the_relative_variance_is_that_of_the_log_normal(spread):
    draws = spread * torch.randn(400_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert relative_variance(draws + 700) == pytest.approx(math.exp(spread**2) - 1, rel=0.03)
    assert relative_variance(draws[:1]) == 0
