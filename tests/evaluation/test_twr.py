"""The TWR paper's own numbers, against a plain computation."""

import itertools
import math

import pytest
import torch

from tests.conftest import SENTENCES, TINY
from uncollapse.data.corpus import Corpus
from uncollapse.data.vocabulary import build_vocabulary
from uncollapse.distributions.divergences import kl
from uncollapse.distributions.posteriors import Gaussian
from uncollapse.evaluation.evaluate import evaluate
from uncollapse.evaluation.twr import twr_protocol
from uncollapse.nn.padding import last_timesteps
from uncollapse.runs.builders.model import build_model
from uncollapse.runs.builders.objective import SHARES, build_objective
from uncollapse.runs.compose import compose
from uncollapse.runs.config import merge

CORPUS = Corpus.from_texts(SENTENCES, build_vocabulary(SENTENCES))


def model_of(remedy):
    model = build_model(compose("grammar", [remedy], TINY), len(CORPUS.vocabulary), CORPUS.lengths + 1)
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, -0.6, 0.6, generator=torch.Generator().manual_seed(parameter.numel()))
    return model.eval()


@pytest.mark.parametrize(
    ("remedy", "share"),
    [
        ("vanilla", 1.0),
        ("twr", 1.0),
        ("twr", 0.5),
        ("twr", 0.25),
        ("twr-mean", 0.0),
        ("twr-mean", 1.0),
        ("twr-sum", 1.0),
    ],
)
def test_it_is_the_plain_computation(remedy, share):
    """The KL is averaged over the timesteps that the objective penalises, as their `-par` cuts mu and sigma in evaluation, too."""
    model, nll, divergence = model_of(remedy), 0.0, 0.0
    for i in range(len(CORPUS)):
        batch = CORPUS.batch([i])
        inference = model.encode(batch)
        nll += model.distortion(batch, inference.posterior.mu[:, None]).item()
        q = inference.posterior if inference.steps is None else inference.steps
        every = kl(q, q.base).sum(-1).flatten()
        divergence += every[-max(1, round(len(every) * share)) :].mean().item()
    result = twr_protocol(model, CORPUS, share)
    assert result["twr_nll"] == pytest.approx((nll + divergence) / 8, rel=1e-5)
    assert result["twr_kl"] == pytest.approx(divergence / 8, rel=1e-5)
    assert result["twr_ppl"] == pytest.approx(
        math.exp((nll + divergence) / sum(len(s.split()) + 2 for s in SENTENCES)), rel=1e-5
    )


def amari(mu, logvar, alpha=0.3):
    """Return (1 - integral q^alpha p^(1 - alpha)) / (alpha (1 - alpha)) of Gaussians q and p = N(0, I), by their closed integral."""
    var = logvar.exp()
    wide = alpha + (1 - alpha) * var
    inside = var.sqrt() ** (1 - alpha) / wide.sqrt() * (-alpha * (1 - alpha) * mu**2 / (2 * wide)).exp()
    return (1 - inside.prod()) / (alpha * (1 - alpha))


def gaussian_kl(mu, logvar):
    return -0.5 * (1 + logvar - mu**2 - logvar.exp()).sum()


ALPHA = {"objective": {"alpha": 0.3, "weight": "0.015625"}}


@pytest.mark.parametrize(
    ("remedy", "kind", "changes", "weight", "divergence_of"),
    [
        ("twr", "lstm", {}, 1, gaussian_kl),
        ("twr", "gru", {"objective": {"timesteps": "50%"}}, 1, gaussian_kl),
        ("twr-mean", "rnn", {}, 1, gaussian_kl),
        ("twr-sum", "gru", {"objective": {"timesteps": "75%"}}, 1, gaussian_kl),
        ("twr-alpha", "lstm", ALPHA, 1 / 64, amari),
    ],
)
def test_a_step_of_the_recipe_is_the_papers_mathematics(monkeypatch, remedy, kind, changes, weight, divergence_of):
    """Loss and gradients of `twr-ptb`: h_0 = c_0 = W z, the divergence averaged over timesteps, their biases.

    z = mu_T + sigma_T noise, or the mean or sum over timesteps of such independent codes, drawn at once.
    """
    sizes = {"emb": 5, "hidden": 6, "dropout_in": 0.0, "kind": kind}
    settings = {"encoder": sizes, "decoder": sizes, "model": {"latent": 3}, "data": {"name": "grammar"}}
    config = compose("twr-ptb", [remedy], merge(settings, changes))
    model = build_model(config, len(CORPUS.vocabulary), CORPUS.lengths + 1).train()
    encoder, decoder, total, step = model.encoder, model.decoder, 0.0, STEPS[kind]
    assert decoder.first_state.bias is None
    assert (config.optim.clip, config.optim.weight_decay) == (0, 1e-5 / 64)  # theirs: of a sum over 64 sentences
    batch = CORPUS.batch([0, 1])
    noise = torch.randn(2, 1, 3, generator=torch.Generator().manual_seed(2))
    monkeypatch.setattr(Gaussian, "noise", lambda self, n, k, generator=None: noise)
    share = SHARES[config.objective.timesteps]
    for tokens, length, own in zip(batch.tokens, batch.lengths.tolist(), noise[:, 0], strict=True):
        ids, state, path = tokens[: length + 1].tolist(), (torch.zeros(6), torch.zeros(6)), []
        for i in ids:
            state = step(encoder.embedding.weight[i], *state, encoder.cell)
            path.append((encoder.posterior.weight @ state[0] + encoder.posterior.bias).chunk(2))
        penalised = path[-round(share * len(ids)) :]
        mu, var = torch.stack([mu for mu, _ in path]), torch.stack([logvar.exp() for _, logvar in path])
        z = {
            "last": mu[-1] + own * var[-1].sqrt(),
            "mean": mu.mean(0) + own * var.sum(0).sqrt() / len(ids),
            "sum": mu.sum(0) + own * var.sum(0).sqrt(),
        }[config.encoder.pooling]
        total = total + weight * sum(divergence_of(*one) for one in penalised) / len(penalised) / 2
        state = (decoder.first_state.weight @ z,) * 2
        for i, target in itertools.pairwise(ids):
            state = step(torch.cat([decoder.embedding.weight[i], z]), *state, decoder.cell)
            log_p = (decoder.output.weight @ state[0] + decoder.output.bias).log_softmax(0)
            total = total - log_p[target] / 2
    loss = build_objective(config, batches=1)(model, batch, 0).loss
    torch.testing.assert_close(loss, total)
    gradients = [torch.autograd.grad(one, list(model.parameters()), allow_unused=True) for one in (loss, total)]
    for (name, _), ours, theirs in zip(model.named_parameters(), *gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6, msg=name)


def step_of_lstm(x, h, c, lstm):
    i, f, g, o = (lstm.weight_ih_l0 @ x + lstm.bias_ih_l0 + lstm.weight_hh_l0 @ h + lstm.bias_hh_l0).chunk(4)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def step_of_gru(x, h, c, gru):
    r, u, n = (gru.weight_ih_l0 @ x + gru.bias_ih_l0).chunk(3)
    own_r, own_u, own_n = (gru.weight_hh_l0 @ h + gru.bias_hh_l0).chunk(3)
    u = (u + own_u).sigmoid()
    return u * h + (1 - u) * (n + (r + own_r).sigmoid() * own_n).tanh(), c


def step_of_rnn(x, h, c, rnn):
    return (rnn.weight_ih_l0 @ x + rnn.bias_ih_l0 + rnn.weight_hh_l0 @ h + rnn.bias_hh_l0).tanh(), c


STEPS = {"lstm": step_of_lstm, "gru": step_of_gru, "rnn": step_of_rnn}


@pytest.mark.parametrize(
    ("share", "length", "steps"), [("25%", 10, 2), ("25%", 11, 3), ("50%", 5, 2), ("75%", 10, 8), ("25%", 2, 1)]
)
def test_a_share_of_the_timesteps_is_rounded_as_theirs(share, length, steps):
    """`round(0.25 * T)` of Python, which rounds halves to even."""
    mask = torch.arange(12)[None] < length
    kept = last_timesteps(mask, SHARES[share])[0].tolist()
    assert kept == [length - steps <= i < length for i in range(12)]
    assert steps == max(1, round(SHARES[share] * length))


def test_t_posteriors_have_no_gaussian_kl():
    from uncollapse.errors import UserError

    with pytest.raises(UserError, match="expected Gaussian posteriors"):
        twr_protocol(model_of("twr-gamma"), CORPUS)
    assert "of the last timestep" in twr_protocol(model_of("vanilla"), CORPUS)["twr_protocol"]
    for share, said in (
        (0.0, "of the last timestep"),
        (0.5, "over the last 50% of the"),
        (1.0, "averaged over timesteps"),
    ):
        assert said in twr_protocol(model_of("twr-mean"), CORPUS, share)["twr_protocol"]


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
