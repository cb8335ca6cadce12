"""The aggregate posterior, by brute force and by models whose answer is known."""

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal, kl_divergence

from tests.conftest import SENTENCES, tiny_vae
from uncollapse.data.corpus import Corpus
from uncollapse.data.splits import Splits
from uncollapse.data.vocabulary import build_vocabulary
from uncollapse.distributions.priors import LabelNormal
from uncollapse.errors import UserError
from uncollapse.evaluation.aggregate import aggregate_divergence, aggregate_protocol, mismatch
from uncollapse.evaluation.posterior import mutual_information
from uncollapse.evaluation.scores import log_likelihoods, score
from uncollapse.evaluation.use import use_protocol, z_use

CORPUS = Corpus.from_texts(SENTENCES, build_vocabulary(SENTENCES))
SPLITS = Splits(CORPUS, CORPUS, CORPUS, {})


def vae(**options):
    return tiny_vae(len(CORPUS.vocabulary), **options)


def test_the_divergence_of_the_aggregate_is_that_of_the_mixture_of_all_posteriors():
    model = vae()
    scores = score(model, CORPUS, seed=3)
    q = scores.posterior
    parts = Independent(Normal(q.mu.double(), (0.5 * q.logvar.double()).exp()), 1)
    mixture = MixtureSameFamily(Categorical(torch.ones(len(CORPUS), dtype=torch.double)), parts)
    expected = mixture.log_prob(scores.z.double()) - Normal(0.0, 1.0).log_prob(scores.z.double()).sum(1)
    assert torch.allclose(aggregate_divergence(model, CORPUS, scores), expected, atol=1e-5)


def test_rate_is_mi_and_the_divergence_of_the_aggregate():
    model = vae()
    scores = score(model, CORPUS, seed=1)
    z = scores.z[:, None]
    rate = scores.posterior.log_prob(z) - model.prior.log_prob(z)  # at the same draws
    parts = mutual_information(scores.posterior, scores.z).value + float(
        aggregate_divergence(model, CORPUS, scores).mean()
    )
    assert float(rate.mean()) == pytest.approx(parts, abs=1e-5)


def test_the_mismatch_is_the_divergence_of_two_gaussians():
    draw = torch.Generator().manual_seed(0)
    mean, root = torch.randn(4, generator=draw).double(), torch.randn(4, 6, generator=draw).double()
    covariance = root @ root.T
    expected = kl_divergence(
        MultivariateNormal(mean, covariance), MultivariateNormal(torch.zeros(4).double(), torch.eye(4).double())
    )
    assert mismatch(mean, covariance) == pytest.approx(expected.item())


def test_z_use_is_what_another_sentences_code_costs():
    model = vae()
    scores = score(model, CORPUS)
    use = z_use(model, CORPUS, scores, seed=2)
    table = torch.stack([-log_likelihoods(model, CORPUS, z.expand(len(CORPUS), -1)) for z in scores.z], 1)
    rises = table.double() - scores.distortion.double()[:, None]
    given = [(rises[i] - use[i]).abs().argmin().item() for i in range(len(CORPUS))]
    assert all(rises[i, j] == pytest.approx(use[i].item(), abs=1e-4) for i, j in enumerate(given))
    assert all(i != j for i, j in enumerate(given)) and sorted(given) == list(range(len(CORPUS)))


@torch.no_grad()
def test_a_collapsed_model_is_told_from_a_live_one():
    dead, live = vae(), vae()
    dead.encoder.posterior.weight.zero_()  # q = p for every sentence
    for part in (dead.decoder.first_state.weight, dead.decoder.cell.weight_ih_l0[:, 5:]):
        part.zero_()  # and the decoder does not look at z
    result = aggregate_protocol(dead, SPLITS, "test")
    assert result["aggregate_kl"] == pytest.approx(0, abs=1e-6)
    assert use_protocol(dead, SPLITS, "test")["z_use"] == pytest.approx(0, abs=1e-5)
    assert abs(use_protocol(live, SPLITS, "test")["z_use"]) > 0.1  # of random weights: a wrong code may fit better
    assert result["rate_by_dimension"] == pytest.approx([0, 0, 0])
    alive = aggregate_protocol(live, SPLITS, "test")
    rate = score(live, CORPUS).rate.mean().item()
    assert sum(alive["rate_by_dimension"]) == pytest.approx(rate, rel=1e-5) and rate > 0.1


def test_moments_are_those_of_a_known_aggregate():
    texts = [SENTENCES[i % 8] for i in range(4000)]
    many = Corpus.from_texts(texts, CORPUS.vocabulary)
    model = vae()
    result = aggregate_protocol(model, Splits(many, many, many, {}), "test", seed=1)
    q = score(model, CORPUS).posterior
    mu, variance = q.mu.double(), q.logvar.double().exp()
    mean = mu.mean(0)
    covariance = torch.diag(variance.mean(0)) + (mu - mean).T @ (mu - mean) / len(mu)  # law of total covariance
    assert result["aggregate_logdet"] == pytest.approx(torch.logdet(covariance).item(), abs=0.05)
    assert result["aggregate_mean_sq"] == pytest.approx(mean.square().sum().item(), abs=0.05)
    assert result["aggregate_mismatch"] == pytest.approx(mismatch(mean, covariance), abs=0.05)


def test_a_prior_for_every_label_is_no_single_prior_to_diverge_from():
    model = vae()
    model.prior = LabelNormal(3, {})
    model.prior.prior_for = lambda posterior, labels=None: posterior.base
    model.prior.log_prob = lambda z, labels=None: Normal(0.0, 1.0).log_prob(z).sum(-1)
    result = aggregate_protocol(model, SPLITS, "test")
    assert "aggregate_kl" not in result and "aggregate_mismatch" not in result


def test_what_has_no_aggregate_is_refused():
    few = CORPUS.subset(np.arange(3))
    with pytest.raises(UserError, match="more sentences in test than dimensions, 3, got 3"):
        aggregate_protocol(vae(), Splits(few, few, few, {}), "test")
    with pytest.raises(UserError, match="language model"):
        aggregate_protocol(tiny_vae(len(CORPUS.vocabulary), latent=0), SPLITS, "test")
