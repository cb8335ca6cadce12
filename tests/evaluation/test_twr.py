"""The TWR paper's own numbers, against a plain computation."""

import math

import pytest
import torch

from tests.conftest import SENTENCES, TINY
from uncollapse.data.corpus import Corpus
from uncollapse.data.vocabulary import build_vocabulary
from uncollapse.distributions.divergences import kl
from uncollapse.evaluation.evaluate import evaluate
from uncollapse.evaluation.twr import twr_protocol
from uncollapse.runs.builders.model import build_model
from uncollapse.runs.compose import compose

CORPUS = Corpus.from_texts(SENTENCES, build_vocabulary(SENTENCES))


def model_of(remedy):
    model = build_model(compose("grammar", [remedy], TINY), len(CORPUS.vocabulary), CORPUS.lengths + 1)
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, -0.6, 0.6, generator=torch.Generator().manual_seed(parameter.numel()))
    return model.eval()


@pytest.mark.parametrize("remedy", ["vanilla", "twr", "twr-mean", "twr-sum"])
def test_it_is_the_plain_computation(remedy):
    model, nll, divergence = model_of(remedy), 0.0, 0.0
    for i in range(len(CORPUS)):
        batch = CORPUS.batch([i])
        inference = model.encode(batch)
        nll += model.distortion(batch, inference.posterior.mu[:, None]).item()
        q = inference.posterior if inference.steps is None else inference.steps
        divergence += kl(q, q.base).sum(-1).mean().item()
    result = twr_protocol(model, CORPUS)
    assert result["twr_nll"] == pytest.approx((nll + divergence) / 8, rel=1e-5)
    assert result["twr_kl"] == pytest.approx(divergence / 8, rel=1e-5)
    assert result["twr_ppl"] == pytest.approx(
        math.exp((nll + divergence) / sum(len(s.split()) + 2 for s in SENTENCES)), rel=1e-5
    )


def test_t_posteriors_have_no_gaussian_kl():
    from uncollapse.errors import UserError

    with pytest.raises(UserError, match="expected Gaussian posteriors"):
        twr_protocol(model_of("twr-gamma"), CORPUS)
    assert "of the last timestep" in twr_protocol(model_of("vanilla"), CORPUS)["twr_protocol"]


@pytest.mark.parametrize("remedy", ["twr", "twr-mean", "twr-sum", "gamma", "bn", "skip"])
def test_the_reported_bound_is_a_bound(remedy):
    """The bound tightens with more samples and stays above: over all remedies whose rate is special."""
    metrics = [
        evaluate(
            model_of(remedy), CORPUS.subset(torch.arange(200).numpy() % 8), iw_samples=k, iw_sentences=None
        ).metrics
        for k in (1, 200)
    ]
    assert metrics[1]["nll_iw"] < metrics[0]["nll_iw"] + 0.05
    assert metrics[1]["nll_iw"] <= metrics[1]["nll_elbo"] + 3 * metrics[1]["nll_elbo_se"]
