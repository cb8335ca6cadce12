"""A posterior of one's own, and codes of any event shape: every number against its integral on an enumerable model."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

import uncollapse as uc
from tests.evaluation.test_bounds import Fixed
from tests.test_examples import EXAMPLES
from uncollapse.data.corpus import Corpus
from uncollapse.data.vocabulary import build_vocabulary
from uncollapse.distributions.divergences import kl_by_dimension, penalised, rate
from uncollapse.distributions.posteriors import Diagonal, StudentT
from uncollapse.distributions.priors import StandardT
from uncollapse.errors import TrainingError
from uncollapse.evaluation.bounds import importance_weighted
from uncollapse.evaluation.posterior import active_units, mutual_information
from uncollapse.evaluation.scores import score

KINDS, COPIES = 4, 600
namespace: dict = {}
exec((EXAMPLES / "own_posterior.py").read_text().split("splits =")[0], namespace)
Flow = namespace["Flow"]


class Categorical(Fixed):
    """p(x | z) = softmax(z W) over the four sentences there are."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([[2.0, -2.0, 0.5, 0.0], [0.5, 1.0, -2.0, 1.5]]))

    def forward(self, batch, z):
        logits = z.flatten(2) @ self.weight
        return -logits.log_softmax(-1)[torch.arange(len(batch)), :, batch.tokens[:, 1] - 4]


class Table(torch.nn.Module):
    """q(z | x) by the sentence, from a table of the parameters of the four."""

    def __init__(self, family, shape):
        super().__init__()
        self.family, self.shape = family, shape
        generator = torch.Generator().manual_seed(3)
        count = 3 if family is Flow else 2
        self.table = torch.nn.Parameter(0.8 * torch.randn(KINDS, count, *shape, generator=generator))

    def forward(self, batch):
        mu, logvar, *more = self.table[batch.tokens[:, 1] - 4].unbind(1)
        return self.family(mu, 0.3 * logvar + 0.4, *more)


@pytest.fixture(params=[(Flow, (2,)), (uc.Gaussian, (2,)), (uc.Gaussian, (2, 1))], ids=["flow", "vector", "matrix"])
def enumerable(request):
    """Return a model, a corpus in which each of four sentences occurs equally often, and the exact numbers."""
    family, shape = request.param
    corpus = Corpus.from_texts(["a", "b", "c", "d"] * COPIES, build_vocabulary(["a b c d"]))
    model = uc.VAE(Table(family, shape), Categorical(), uc.StandardNormal(*shape)).eval()
    line = torch.linspace(-9, 9, 601, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(line, line, indexing="ij"), -1).view(1, -1, *shape)
    cell = float((line[1] - line[0]) ** 2)
    model.double()
    with torch.no_grad():
        batch = corpus.batch(range(KINDS))
        q = model.posterior(batch)
        z = grid.expand(KINDS, *grid.shape[1:])
        log_q, log_p, log_x = q.log_prob(z), model.prior.log_prob(z), -model.distortion(batch, z)
        density = log_q.exp() * cell
        flat = grid.flatten(2)[0]
        exact = {
            "mass": density.sum(1),
            "nll": -((log_p + log_x).logsumexp(1) + np.log(cell)),
            "distortion": -(density * log_x).sum(1),
            "rate": (density * (log_q - log_p)).sum(1),
            "mi": float((density * (log_q - log_q.logsumexp(0) + np.log(KINDS))).sum(1).mean()),
            "mean": density @ flat,
        }
    return (
        model.float(),
        corpus,
        {name: value.float() if torch.is_tensor(value) else value for name, value in exact.items()},
    )


def within(estimate, exact, se, times=4.0):
    return abs(float(estimate) - float(exact)) < times * float(se) + 1e-3


def test_the_density_integrates_to_one(enumerable):
    _, _, exact = enumerable
    assert torch.allclose(exact["mass"], torch.ones(KINDS), atol=1e-4)


def test_distortion_rate_and_the_elbo(enumerable):
    model, corpus, exact = enumerable
    scores = score(model, corpus)
    for i in range(KINDS):
        for name in ("distortion", "rate"):
            values = getattr(scores, name)[i::KINDS]
            assert within(values.mean(), exact[name][i], values.std() / COPIES**0.5), (name, i)
    assert (exact["distortion"] + exact["rate"] > exact["nll"]).all()


def test_the_importance_weighted_bound_converges_on_the_exact_likelihood(enumerable):
    model, corpus, exact = enumerable
    few = corpus.subset(np.arange(8))
    result = importance_weighted(model, few, score(model, few), samples=50_000, sentences=None)
    assert float(result.per_sentence.mean()) == pytest.approx(float(exact["nll"].mean()), abs=0.01)


def test_mutual_information_and_active_units(enumerable):
    model, corpus, exact = enumerable
    scores = score(model, corpus)
    result = mutual_information(scores.posterior, scores.z)
    assert within(result.value, exact["mi"], result.se)
    mean = scores.posterior.mean[:KINDS].flatten(1)
    assert torch.allclose(mean, exact["mean"], atol=0.05)
    for threshold in (0.01, 0.2, 0.5, 1.0):
        wanted = int((exact["mean"].var(0, correction=0) >= threshold).sum())
        assert active_units(scores.posterior.mean, threshold) == wanted


def test_evaluate_fit_and_generate_know_no_event_shape(enumerable):
    model, corpus, _ = enumerable
    evaluation = uc.evaluate(model, corpus, iw_sentences=20)
    assert evaluation.metrics["latent"] == 2 and evaluation.metrics["nll_iw"] < evaluation.metrics["nll_elbo"]
    few = corpus.subset(np.arange(200))
    objective = uc.Objective([uc.Penalty(uc.kl, target=1.0)])
    before = float(score(model, few).nll_elbo.mean())
    uc.fit(model, objective, (few, few), optimizer=lambda p: torch.optim.Adam(p, 0.02), epochs=10)
    assert float(score(model, few).nll_elbo.mean()) < before
    assert str(evaluation).startswith("2,400 sentences") and "nll_iw" in str(evaluation)


@dataclass(frozen=True)
class Shifted(uc.Gaussian):
    """A subclass that changes the map, and so has no closed form."""

    def transform(self, noise):
        return super().transform(noise) + 1

    def log_prob(self, z):
        return super().log_prob(z - 1)


def test_a_subclass_of_a_family_is_another_family():
    """The closed form of its parent would be silently wrong."""
    q, prior = Shifted(torch.zeros(1, 2), torch.zeros(1, 2)), uc.StandardNormal(2)
    z = q.transform(q.noise(1, 200_000, torch.Generator().manual_seed(0)))
    assert kl_by_dimension(q, prior) is None
    assert float(rate(q, prior, z)) == pytest.approx(1.0, abs=0.02)  # 2 dimensions, each shifted by 1: 2 / 2
    assert float(penalised(uc.kl, q, prior, z=z)) == pytest.approx(1.0, abs=0.02)
    assert isinstance(q, Diagonal)


def test_the_kl_of_t_posteriors_is_an_estimate_and_not_the_gaussian_formula():
    q, prior = StudentT(torch.full((1, 4), 0.5), torch.full((1, 4), -1.0), 5.0), StandardT(4, 5.0)
    z = q.transform(q.noise(1, 100_000, torch.Generator().manual_seed(0)))
    own = torch.distributions.StudentT(5.0)  # in one dimension the same family: by quadrature
    assert torch.equal(penalised(uc.kl, q, prior, z=z), rate(q, prior, z))
    x = torch.linspace(-400, 400, 2_000_001, dtype=torch.float64)
    sigma = torch.tensor(-0.5, dtype=torch.float64).exp()
    log_q, log_p = own.log_prob((x - 0.5) / sigma) - sigma.log(), own.log_prob(x)
    expected = torch.trapezoid(log_q.exp() * (log_q - log_p), x)
    one, z = StudentT(q.mu[:, :1], q.logvar[:, :1], 5.0), z[..., :1]
    z = one.transform(one.noise(1, 400_000, torch.Generator().manual_seed(1)))
    assert float(penalised(uc.kl, one, StandardT(1, 5.0), z=z)) == pytest.approx(float(expected), abs=0.01)
    steps = StudentT(torch.zeros(1, 3, 4), torch.zeros(1, 3, 4), 5.0)
    with pytest.raises(TrainingError, match="expected Gaussian posteriors at timesteps"):
        penalised(uc.kl, steps, prior, z=torch.zeros(1, 1, 4))
