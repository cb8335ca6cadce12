import math

import pytest
import torch

import uncollapse as uc
from tests.conftest import SENTENCES, tiny_vae
from uncollapse.data.corpus import Corpus
from uncollapse.data.vocabulary import build_vocabulary
from uncollapse.evaluation import scores
from uncollapse.evaluation.evaluate import evaluate
from uncollapse.evaluation.posterior import posteriors
from uncollapse.evaluation.verdict import judge

PROMISED = (
    "sentences tokens distortion rate nll_elbo nll_elbo_se nll_iw nll_iw_se iw_samples iw_sentences ppl_elbo ppl_iw "
    "mi mi_se mi_cap au latent protocol"
).split()


@pytest.fixture
def measured():
    corpus = Corpus.from_texts(SENTENCES, build_vocabulary(SENTENCES))
    model = tiny_vae(len(corpus.vocabulary)).train()
    return model, corpus, evaluate(model, corpus, iw_samples=30, iw_sentences=None)


def test_everything_promised_is_there_and_adds_up(measured):
    _, corpus, result = measured
    m = result.metrics
    assert set(PROMISED) <= set(m)
    assert m["nll_elbo"] == pytest.approx(m["distortion"] + m["rate"], abs=1e-5)
    assert m["tokens"] == sum(len(s.split()) + 1 for s in SENTENCES) and m["sentences"] == 8
    assert m["ppl_elbo"] == pytest.approx(math.exp(m["nll_elbo"] * 8 / m["tokens"]))
    assert m["ppl_iw"] == pytest.approx(math.exp(m["nll_iw"] * 8 / m["tokens"]))
    assert m["nll_iw"] < m["nll_elbo"] + 1 and m["mi_cap"] == pytest.approx(math.log(8))
    assert (m["iw_samples"], m["iw_sentences"], m["latent"]) == (30, 8, 3)
    assert corpus.predicted == m["tokens"]


def test_the_model_keeps_its_mode_and_dropout_is_off(measured):
    model, corpus, result = measured
    assert model.training
    model.decoder.dropout_out.p = 0.9
    assert evaluate(model, corpus, iw_samples=30, iw_sentences=None).metrics == result.metrics


def test_reported_numbers_do_not_move_with_the_weights_of_the_objective(tmp_path):
    """Two runs with the same weights and other objectives in their settings report the same."""
    import shutil

    import uncollapse as uc
    from tests.conftest import TINY

    one = uc.train("grammar", out=tmp_path / "one", **TINY)
    other = shutil.copytree(tmp_path / "one", tmp_path / "other")
    config = (other / "config.yaml").read_text()
    for before, after in (
        ("weight: '1'", "weight: '0.01'"),
        ("floor: 0.0", "floor: 7.0"),
        ("target: '0'", "target: 9.0"),
    ):
        assert before in config
        config = config.replace(before, after)
    (other / "config.yaml").write_text(config)
    assert one.evaluate("test", 3, 50) == uc.load(other).evaluate("test", 3, 50)


def test_a_language_model_has_no_rate_and_its_bounds_coincide():
    from uncollapse.distributions.priors import StandardNormal
    from uncollapse.model import VAE
    from uncollapse.nn.decoders import RecurrentDecoder
    from uncollapse.nn.interfaces import NoEncoder

    corpus = Corpus.from_texts(SENTENCES, build_vocabulary(SENTENCES))
    torch.manual_seed(0)
    m = evaluate(
        VAE(NoEncoder(), RecurrentDecoder(len(corpus.vocabulary), 5, 7, 0), StandardNormal(0)),
        corpus,
        iw_samples=30,
        iw_sentences=None,
    ).metrics
    assert m["rate"] == m["mi"] == m["au"] == m["latent"] == 0
    assert m["nll_iw"] == pytest.approx(m["nll_elbo"]) and m["iw_samples"] == 1


def test_without_samples_there_is_no_iw_bound(measured):
    model, corpus, _ = measured
    assert "nll_iw" not in evaluate(model, corpus, iw_samples=0).metrics
    with pytest.raises(uc.UserError, match="iw_samples: expected 0 or more, got -1"):
        evaluate(model, corpus, iw_samples=-1)
    with pytest.raises(uc.UserError, match="iw_sentences: expected None .all. or at least 2, got 1"):
        evaluate(model, corpus, iw_samples=1, iw_sentences=1)


def test_memory_does_not_grow_with_the_length_of_sentences(measured, monkeypatch):
    model, corpus, _ = measured
    monkeypatch.setattr(scores, "TOKENS_AT_A_TIME", 16)
    sizes, of = [], model.posterior
    monkeypatch.setattr(type(model), "posterior", lambda model, batch: sizes.append(len(batch)) or of(batch))
    posteriors(model, corpus)
    assert max(sizes) * int(corpus.lengths.max()) <= 16 and sum(sizes) == len(corpus)


@pytest.mark.parametrize(
    ("rate", "mi", "se", "au", "latent", "state"),
    [
        (0.01, 0.0, 0.01, 0, 32, "collapsed"),
        (3.0, 0.05, 0.01, 2, 32, "collapsed"),
        (0.3, 0.2, 0.15, 2, 32, "collapsed"),
        (0.8, 0.7, 0.02, 3, 32, "partly alive"),
        (9.0, 8.0, 0.02, 3, 32, "partly alive"),
        (9.0, 8.0, 0.02, 32, 32, "alive"),
        (1.3, 1.2, 0.02, 1, 1, "alive"),
        (9.0, 8.0, 0.02, 1, 3, "partly alive"),
        (9.0, 8.0, 0.02, 2, 3, "alive"),
        (0.0, 0.0, 0.0, 0, 0, "no latent"),
    ],
)
def test_the_verdict(rate, mi, se, au, latent, state):
    verdict = judge({"rate": rate, "mi": mi, "mi_se": se, "au": au, "latent": latent})
    assert verdict.state == state and verdict.evidence


@pytest.mark.parametrize(("distinct", "state"), [(0.01, "partly alive"), (0.49, "partly alive"), (0.5, "alive")])
def test_a_space_whose_reconstructions_are_alike_is_not_alive(distinct, state):
    metrics = {"rate": 4.8, "mi": 1.48, "mi_se": 0.02, "au": 32, "latent": 32, "distinct": distinct, "z_use": 2.5}
    verdict = judge(metrics)
    assert verdict.state == state and f"z_use 2.50 nats, {distinct:.0%} of reconstructions differ" in verdict.evidence


@pytest.mark.parametrize("samples", [8, 100])
def test_the_protocol_says_how_the_bound_was_drawn(measured, samples):
    model, corpus, _ = measured
    fixed, adaptive = (
        evaluate(model, corpus, iw_samples=samples, iw_sentences=None, adaptive=way).metrics for way in (False, True)
    )
    assert fixed["protocol"]["nll_iw"] == f"K = {samples} on all {len(corpus)} sentences"
    assert adaptive["protocol"]["nll_iw"].startswith(f"adaptive to the error of K = {samples} (")
    error = adaptive["iw_draws_se"] + fixed["iw_draws_se"]
    assert adaptive["nll_iw"] == pytest.approx(fixed["nll_iw"], abs=5 * error)
