"""The bounds, against models whose exact answer is known."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from tests.conftest import SENTENCES, tiny_vae
from uncollapse.data.corpus import Corpus
from uncollapse.data.vocabulary import build_vocabulary
from uncollapse.distributions.posteriors import Gaussian
from uncollapse.distributions.priors import StandardNormal
from uncollapse.evaluation.bounds import importance_weighted, iw_bound, log_weights, subsample_indices
from uncollapse.evaluation.scores import score
from uncollapse.model import VAE
from uncollapse.nn.interfaces import Decoder, Encoder, EncoderOutput


class Fixed(Decoder):
    """A decoder that only knows the whole."""

    def start(self, z):
        raise NotImplementedError

    def step(self, token, state):
        raise NotImplementedError


class LinearDecoder(Fixed):
    """x given z ~ N(W z + b, s^2 I), where x are the token ids of a sentence of four tokens."""

    def __init__(self, scale):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.nn.Parameter(torch.randn(4, 2, generator=generator))
        self.scale = scale

    def observed(self, batch):
        return batch.tokens[:, 1:5].float() - 5

    def forward(self, batch, z):
        return -Normal(z @ self.weight.T, self.scale).log_prob(self.observed(batch)[:, None]).sum(-1)


class ExactEncoder(Encoder):
    """The exact posterior of the linear model where W^T W is diagonal, so that it factorises."""

    def __init__(self, decoder, error=0.0):
        super().__init__()
        self.decoder, self.error = decoder, error

    def forward(self, batch):
        gram = self.decoder.weight.T @ self.decoder.weight / self.decoder.scale**2
        variance = 1 / (1 + gram.diagonal())
        mu = variance * (self.decoder.observed(batch) @ self.decoder.weight) / self.decoder.scale**2
        return EncoderOutput(Gaussian(mu + self.error, variance.log().expand_as(mu) + self.error))


@pytest.fixture
def linear():
    """Return a model, its corpus and the exact -log p(x) of every sentence."""
    decoder = LinearDecoder(1.5)
    with torch.no_grad():
        q, _ = torch.linalg.qr(decoder.weight)
        decoder.weight.copy_(q * torch.tensor([2.0, 0.7]))
    texts = ["a b c d", "d d b a", "c a a b", "b c d d", "a a a a"]
    corpus = Corpus.from_texts(texts, build_vocabulary(["a b c d"]))
    x = decoder.observed(corpus.batch(range(5)))
    marginal = MultivariateNormal(torch.zeros(4), decoder.weight @ decoder.weight.T + 1.5**2 * torch.eye(4))
    return decoder, corpus, -marginal.log_prob(x)


@pytest.mark.parametrize("samples", [1, 2, 17])
def test_with_the_exact_posterior_every_weight_is_p_of_x(linear, samples):
    decoder, corpus, exact = linear
    model = VAE(ExactEncoder(decoder), decoder, StandardNormal(2))
    log_w = log_weights(model, corpus, np.arange(5), samples=samples)
    torch.testing.assert_close(-log_w, exact[:, None].expand(5, samples), atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(iw_bound(log_w), exact.double(), atol=1e-4, rtol=1e-5)
    iw = importance_weighted(model, corpus, score(model, corpus), samples=samples, sentences=None)
    assert iw.nll == pytest.approx(exact.mean().item(), abs=1e-4) and iw.gap == pytest.approx(0, abs=1e-4)


def test_the_bound_tightens_with_more_samples_and_the_elbo_is_the_loosest(linear):
    decoder, corpus, exact = linear
    model = VAE(ExactEncoder(decoder, error=0.5), decoder, StandardNormal(2))
    many = corpus.subset(np.arange(1000) % 5)
    bounds = [
        iw_bound(log_weights(model, many, np.arange(1000), samples=k, seed=3)).mean().item() for k in (1, 10, 100, 1000)
    ]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[-1] == pytest.approx(exact.mean().item(), abs=0.02) and bounds[0] > exact.mean().item() + 0.1


def test_distortion_and_rate_add_up_to_the_exact_elbo(linear):
    decoder, corpus, exact = linear
    model = VAE(ExactEncoder(decoder, error=0.3), decoder, StandardNormal(2))
    wrong, right = (
        VAE(ExactEncoder(decoder, e), decoder, StandardNormal(2)).posterior(corpus.batch(range(5))) for e in (0.3, 0.0)
    )
    from uncollapse.distributions.divergences import kl

    truth = exact + kl(wrong, right).sum(-1)  # ELBO = log p(x) - KL(q, exact posterior)
    draws = torch.stack([score(model, corpus, seed).nll_elbo for seed in range(800)])
    error = draws.std(0) / 800**0.5
    assert ((draws.mean(0) - truth).abs() < 4 * error).all()


class SignDecoder(Fixed):
    """p(x | z) depends only on the sign of z: p(x) is the mean of two table entries, exactly."""

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Parameter(torch.tensor([[1.0, 9.0], [4.0, 2.0]]))

    def forward(self, batch, z):
        which = batch.tokens[:, 1] % 2
        return self.table[which][:, None, :].expand(-1, z.shape[1], -1).gather(2, (z > 0).long()).squeeze(2)


class WideEncoder(Encoder):
    """A posterior that is neither."""

    def __init__(self):
        super().__init__()
        self.mu = torch.nn.Parameter(torch.tensor(0.4))

    def forward(self, batch):
        mu = self.mu.expand(len(batch.tokens), 1)
        return EncoderOutput(Gaussian(mu, torch.full_like(mu, 0.3)))


def test_the_bound_converges_on_an_enumerable_discrete_model():
    model, corpus = (
        VAE(WideEncoder(), SignDecoder(), StandardNormal(1)),
        Corpus.from_texts(["a", "b"], build_vocabulary(["a b"])),
    )
    tables = model.decoder.table[corpus.batch([0, 1]).tokens[:, 1] % 2]
    exact = -((-tables).logsumexp(1) - math.log(2)).detach().double()
    result = iw_bound(log_weights(model, corpus, np.arange(2), samples=200_000))
    torch.testing.assert_close(result, exact, atol=0.02, rtol=0)
    few = torch.stack(
        [iw_bound(log_weights(model, corpus, np.arange(2), samples=5, seed=seed)) for seed in range(200)]
    ).mean(0)
    assert (few > exact).all()


@pytest.fixture
def model_and_corpus(cell):
    corpus = Corpus.from_texts(SENTENCES, build_vocabulary(SENTENCES))
    return tiny_vae(len(corpus.vocabulary), cell=cell), corpus


def test_noise_belongs_to_the_sentence_not_to_the_batch(model_and_corpus, monkeypatch):
    from uncollapse.evaluation import bounds, scores

    model, corpus = model_and_corpus
    before = score(model, corpus), log_weights(model, corpus, np.arange(8), samples=6)
    for module in (bounds, scores):
        monkeypatch.setattr(module, "TOKENS_AT_A_TIME", 20)
    after = score(model, corpus), log_weights(model, corpus, np.arange(8), samples=6)
    torch.testing.assert_close(after[0].nll_elbo, before[0].nll_elbo)
    torch.testing.assert_close(after[0].posterior.mu, before[0].posterior.mu)
    torch.testing.assert_close(after[1], before[1])
    torch.testing.assert_close(log_weights(model, corpus, np.array([5, 2]), samples=6), before[1][[5, 2]])


def test_evaluation_does_not_touch_the_random_state(model_and_corpus):
    model, corpus = model_and_corpus
    before = torch.get_rng_state()
    importance_weighted(model, corpus, score(model, corpus), samples=3, sentences=4)
    assert torch.equal(before, torch.get_rng_state())


def test_some_sentences_estimate_the_gap_of_all(model_and_corpus):
    model, corpus = model_and_corpus
    corpus = corpus.subset(np.arange(400) % 8)
    scores = score(model, corpus)
    whole, part = (importance_weighted(model, corpus, scores, samples=20, sentences=n, seed=1) for n in (None, 100))
    assert (part.sentences, whole.sentences) == (100, 400)
    assert abs(part.nll - whole.nll) < 4 * (part.gap_se + scores.nll_elbo.std().item() / 20)
    assert part.gap >= 0 and whole.gap >= 0
    assert whole.nll == pytest.approx(whole.per_sentence.mean().item())


def test_chosen_sentences_are_seeded_distinct_and_sorted():
    one = subsample_indices(1000, 50, 3)
    assert len(set(one)) == 50 and (np.diff(one) > 0).all()
    assert (one == subsample_indices(1000, 50, 3)).all() and (one != subsample_indices(1000, 50, 4)).any()
    assert (subsample_indices(5, 50, 3) == np.arange(5)).all() and (subsample_indices(5, None, 3) == np.arange(5)).all()
