"""The adaptive draws against weights whose mean and variance are known."""

import math

import numpy as np
import pytest
import torch

from tests.evaluation.test_bounds import LinearDecoder, WideEncoder
from uncollapse.data.corpus import Corpus
from uncollapse.data.vocabulary import build_vocabulary
from uncollapse.distributions.posteriors import Gaussian
from uncollapse.distributions.priors import StandardNormal
from uncollapse.evaluation import adaptive
from uncollapse.evaluation.adaptive import Weighted, adaptive_draws, wanted
from uncollapse.evaluation.bounds import fixed_draws, importance_weighted, iw_bound, relative_variance
from uncollapse.evaluation.scores import score
from uncollapse.model import VAE
from uncollapse.nn.interfaces import EncoderOutput

SHIFT = 1.2
ROUGH = np.concatenate([np.full(150, 0.3), np.full(50, 1.5)])
"""How much of each sentence's log weights no proposal can follow."""
GRID = np.linspace(-8, 8, 20_001)


def moment(power):
    """Return E_q(w^power) of every sentence, by quadrature."""
    density = np.exp(-(GRID**2) / 2) / math.sqrt(2 * math.pi) * (GRID[1] - GRID[0])
    rough = np.array([(density * np.exp(power * spread * np.cos(6 * GRID))).sum() for spread in ROUGH])
    return rough * np.exp(power * (power - 1) / 2 * SHIFT**2)


EXACT = -np.log(moment(1))
"""-log p(x) of every sentence."""
OF_Q = moment(2) / moment(1) ** 2 - 1
"""The relative variance of weights of q."""
AT_BEST = moment(2) / math.exp(SHIFT**2) / moment(1) ** 2 - 1
"""The same for the proposal that knows the shift."""


@pytest.fixture
def known(monkeypatch):
    """Two dimensions: in one the true posterior lies SHIFT away, in the other the log weights are rough.

    w(e) = exp(SHIFT e_1 - SHIFT^2 / 2 + ROUGH cos 6 e_2).
    """
    vae = VAE(WideEncoder(), LinearDecoder(1.0), StandardNormal(2))

    def draw(model, corpus, indices, samples, seed=0, track=None, precision="fp32", noise=None):
        return SHIFT * noise[..., 0] - SHIFT**2 / 2 + torch.tensor(ROUGH[indices])[:, None] * (6 * noise[..., 1]).cos()

    monkeypatch.setattr(adaptive, "log_weights", draw)
    monkeypatch.setattr(adaptive, "base_of", lambda model, corpus, rows: Gaussian(*torch.zeros(2, len(rows), 2)))
    return vae


def test_the_error_is_at_most_that_of_draws_of_q_with_far_fewer(known):
    drawn = adaptive_draws(known, None, np.arange(200), samples=500)
    allowed = math.sqrt(OF_Q.sum() / 500) / 200
    bounds = np.stack(
        [adaptive_draws(known, None, np.arange(200), samples=500, seed=seed).bound().numpy() for seed in range(40)]
    )
    assert bounds.mean(1).std() < allowed
    assert drawn.se() <= 1.05 * allowed
    assert drawn.spent < 0.5 * 500
    assert drawn.spent == pytest.approx(64 + np.mean([len(w) for w in drawn.log_w]))


def test_the_bound_is_that_of_the_model(known):
    bounds = np.stack(
        [adaptive_draws(known, None, np.arange(200), samples=500, seed=seed).bound().numpy() for seed in range(40)]
    )
    looseness = bounds.mean() - EXACT.mean()
    error = bounds.mean(1).std() / math.sqrt(40)
    assert -3 * error < looseness < OF_Q.mean() / 1000 + 3 * error


def test_the_mean_weight_is_without_bias(known, monkeypatch):
    monkeypatch.setattr(adaptive, "wanted", lambda drawn, samples: np.zeros(len(drawn), dtype=int))
    means = torch.stack(
        [
            torch.stack(
                [
                    w.double().exp().mean()
                    for w in adaptive_draws(known, None, np.arange(140, 160), samples=16, seed=seed).log_w
                ]
            )
            for seed in range(400)
        ]
    )
    error = means.std(0) / math.sqrt(400)
    assert ((means.mean(0) - torch.tensor(moment(1)[140:160])).abs() < 4 * error).all()


def test_uneven_sentences_get_more_draws(known, monkeypatch):
    monkeypatch.setattr(adaptive, "FIRST", 8)
    counts = np.array([len(w) for w in adaptive_draws(known, None, np.arange(200), samples=4000).log_w])
    assert counts[150:].mean() > 2.5 * counts[:150].mean()
    ideal = np.sqrt(AT_BEST[-1] / AT_BEST[0])
    assert counts[150:].mean() / counts[:150].mean() == pytest.approx(ideal, rel=0.35)


def test_draws_of_the_proposal_tell_the_variance_of_q(known):
    seen = []
    original = adaptive.wanted

    def listen(drawn, samples):
        seen.append(np.mean([each.variance_of_q() for each in drawn]))
        return original(drawn, samples) * 0

    adaptive.wanted = listen
    try:
        adaptive_draws(known, None, np.arange(200), samples=500)
    finally:
        adaptive.wanted = original
    assert seen[0] == pytest.approx(OF_Q.mean(), rel=0.15)


def test_equal_weights_need_no_more():
    assert not wanted([Weighted(torch.zeros(32), torch.zeros(32))] * 5, 500).any()
    noise = 1e-6 * torch.randn(32, generator=torch.Generator().manual_seed(0))
    assert not wanted([Weighted(noise, -noise)] * 5, 500).any()  # rounding, of an exact posterior


def test_never_more_than_a_sentence_may_have(monkeypatch, known):
    monkeypatch.setattr(adaptive, "MOST", 0.1)
    monkeypatch.setattr(adaptive, "FIRST", 8)
    assert max(len(w) for w in adaptive_draws(known, None, np.arange(200), samples=500).log_w) <= 50 * adaptive.STEP


@pytest.mark.parametrize("samples", [4, 5, 10, 50, 500])
def test_the_first_draws_are_no_more_than_those_of_the_fixed_protocol(known, monkeypatch, samples):
    monkeypatch.setattr(adaptive, "wanted", lambda drawn, samples: np.zeros(len(drawn), dtype=int))
    assert adaptive_draws(known, None, np.arange(3), samples=samples).spent <= samples


@pytest.mark.parametrize("spread", [0.1, 1.0])
def test_the_relative_variance_is_that_of_the_log_normal(spread):
    draws = spread * torch.randn(400_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert relative_variance(draws + 700) == pytest.approx(math.exp(spread**2) - 1, rel=0.03)
    assert relative_variance(draws[:1]) == 0


class ShiftedEncoder(WideEncoder):
    """A posterior that knows nothing of the sentence."""

    def forward(self, batch):
        mu = self.mu.expand(len(batch.tokens), 2)
        return EncoderOutput(Gaussian(mu, torch.full_like(mu, -0.5)))


@pytest.fixture
def far():
    """A linear model, whose p(x) is known, with a posterior far from the true one."""
    texts = ["a b c", "c b a", "b b b", "a a c"]
    corpus = Corpus.from_texts(texts * 50, build_vocabulary(texts))
    model = VAE(ShiftedEncoder(), LinearDecoder(1.5), StandardNormal(2)).eval()
    with torch.no_grad():
        weight = model.decoder.weight
        covariance = weight @ weight.T + 1.5**2 * torch.eye(4)
        observed = model.decoder.observed(corpus.batch(range(4)))
        exact = -torch.distributions.MultivariateNormal(torch.zeros(4), covariance).log_prob(observed)
    return model, corpus, exact.double().repeat(50)


def test_a_real_model_and_its_exact_likelihood(far):
    model, corpus, exact = far
    adaptively = adaptive_draws(model, corpus, np.arange(200), samples=100)
    fixed = fixed_draws(model, corpus, np.arange(200), samples=100)
    error = (adaptively.bound() - exact).square().mean().sqrt()
    assert error < 0.3 * (fixed.bound() - exact).square().mean().sqrt()
    assert abs((adaptively.bound() - exact).mean()) < 4 * max(adaptively.se(), 1e-3)


def test_the_gap_is_from_the_elbo_of_q(far):
    """nll_iw of a part is nll_elbo of all less the mean gap: the ELBO there is that of q, not of the proposal."""
    model, corpus, exact = far
    scores = score(model, corpus)
    result = importance_weighted(model, corpus, scores, samples=100, sentences=150, draw=adaptive_draws)
    assert result.nll == pytest.approx(
        float(exact.mean()), abs=4 * result.gap_se + 4 * float(scores.nll_elbo.std()) / 200**0.5
    )
    everything = adaptive_draws(model, corpus, np.arange(200), samples=100)
    elbo = fixed_draws(model, corpus, np.arange(200), samples=2000).elbo
    assert float((everything.elbo - elbo).mean()) == pytest.approx(0, abs=0.03)
    assert float(-everything.elbo.mean() - everything.bound().mean()) > 0.5
    assert iw_bound(everything.log_w[0][None]) < -everything.elbo[0] + 1
