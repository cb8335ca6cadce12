"""Conditional models: what the labels reach, priors of labels, scheduled sampling, orthogonal weights."""

from dataclasses import replace

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from tests.conftest import SENTENCES, TINY
from uncollapse.data.corpus import Corpus
from uncollapse.data.labels import LabelSpace
from uncollapse.data.vocabulary import BOS, build_vocabulary
from uncollapse.distributions.posteriors import Gaussian
from uncollapse.distributions.priors import LabelNormal, Source
from uncollapse.errors import UserError
from uncollapse.evaluation.bounds import iw_bound, log_weights
from uncollapse.evaluation.scores import score
from uncollapse.nn.condition import Condition
from uncollapse.runs.builders.model import build_model
from uncollapse.runs.config import Config, merge

SPACE = LabelSpace({"tense": ("sp", "tp", "p"), "number": ("one", "many")})
PLAIN = Corpus.from_texts(SENTENCES, build_vocabulary(SENTENCES))
LABELS = {
    "tense": torch.tensor([0, 1, 2, 0, 1, 2, 0, 1]).numpy(),
    "number": torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]).numpy(),
}
CORPUS = replace(PLAIN, labels=LABELS, label_names=dict(SPACE.names))
DECODERS = ["lstm", "gru", "rnn", "cnn", "cnn-bottleneck"]


def model_of(**changes):
    conditioned = {"model": {"condition": "tense, number"}, "decoder": {"dropout_in": 0.0, "dropout_out": 0.0}}
    if changes.get("decoder", {}).get("kind") == "cnn-bottleneck":
        changes["decoder"] = changes["decoder"] | {"dropout_block": 0.0}
    config = Config.from_settings(merge(TINY, {"data": {"name": "grammar"}}, conditioned, changes))
    model = build_model(config, len(CORPUS.vocabulary), CORPUS.lengths + 1, space=SPACE)
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, -0.7, 0.7, generator=torch.Generator().manual_seed(parameter.numel()))
    return model.eval()


def test_a_condition_is_an_embedding_or_one_hot():
    labels = {"tense": torch.tensor([2, 0]), "number": torch.tensor([1, 0])}
    assert Condition(SPACE.sizes, 0)(labels).tolist() == [[0, 0, 1, 0, 1], [1, 0, 0, 1, 0]]
    embedded = Condition(SPACE.sizes, 4)
    assert embedded(labels).shape == (2, 8) == (2, embedded.width)
    assert embedded(labels)[0, :4].equal(embedded.tables[0].weight[2])


@pytest.mark.parametrize("decoder", DECODERS)
def test_labels_reach_the_posterior_the_first_state_and_every_step(decoder):
    model = model_of(decoder={"kind": decoder})
    batch = CORPUS.batch([0, 1, 2])
    other = replace(batch, labels=batch.labels | {"tense": torch.tensor([1, 2, 0])})
    z = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(model.posterior(batch).mu, model.posterior(other).mu)
    assert (model.distortion(batch, z) - model.distortion(other, z)).abs().min() > 1e-4
    # stepping sees the same labels as the whole sentence at once
    state, total = model.decoder.start(model.decoder_input(z[:, 0], batch.labels)), torch.zeros(3)
    for t in range(batch.inputs.shape[1]):
        logits, state = model.decoder.step(batch.inputs[:, t], state)
        picked = logits.log_softmax(-1).gather(1, batch.targets[:, t : t + 1])[:, 0]
        total -= picked * batch.mask[:, t]
    torch.testing.assert_close(total, model.distortion(batch, z)[:, 0])


def test_an_unconditional_model_takes_no_notice_of_labels():
    model = model_of(model={"condition": ""})
    batch, z = CORPUS.batch([0, 1]), torch.zeros(2, 1, 4)
    bare = replace(batch, labels={})
    assert model.posterior(batch).mu.equal(model.posterior(bare).mu)
    assert model.distortion(batch, z).equal(model.distortion(bare, z))


def test_a_condition_that_the_data_lack_is_refused():
    with pytest.raises(UserError, match="no label field 'mood'; they have tense, number"):
        model_of(model={"condition": "mood"})
    with pytest.raises(UserError, match="model.prior label: expected Gaussian posteriors"):
        model_of(model={"condition": "", "prior": "label"})


def test_a_prior_of_labels_begins_standard_and_has_the_closed_form_rate():
    fresh = LabelNormal(4, SPACE.sizes)
    batch = CORPUS.batch(range(8))
    q = Gaussian(torch.randn(8, 4), torch.randn(8, 4))
    torch.testing.assert_close(fresh.prior_for(q, batch.labels).mu, torch.zeros(8, 4))
    model = model_of(model={"prior": "label"})
    prior = model.prior.conditional(batch.labels)
    expected = kl_divergence(Normal(q.mu, (0.5 * q.logvar).exp()), Normal(prior.mu, (0.5 * prior.logvar).exp())).sum(-1)
    torch.testing.assert_close(model.rate(q, q.mu[:, None], batch.labels), expected)
    draws = q.transform(torch.randn(8, 40_000, 4, generator=torch.Generator().manual_seed(0)))
    by_draws = (q.log_prob(draws) - model.prior.log_prob(draws, batch.labels)).mean(1)
    torch.testing.assert_close(by_draws, expected, rtol=0.02, atol=0.05)
    steps = Gaussian(torch.randn(8, 5, 4), torch.randn(8, 5, 4))
    every = model.prior.prior_for(steps, batch.labels)
    assert every.mu.shape == (8, 5, 4) and every.mu[:, 3].equal(prior.mu)


def test_draws_of_a_prior_of_labels_have_its_moments():
    model = model_of(model={"prior": "label"})
    labels = {"tense": torch.full((20_000,), 2), "number": torch.full((20_000,), 1)}
    prior = model.prior.conditional({name: values[:1] for name, values in labels.items()})
    z = model.prior.sample(20_000, Source(0), labels)
    torch.testing.assert_close(z.mean(0), prior.mu[0], atol=0.03, rtol=0)
    torch.testing.assert_close(z.var(0), prior.logvar[0].exp(), atol=0, rtol=0.05)
    torch.testing.assert_close(model.prior.sample(2, Source(0), {n: v[:2] for n, v in labels.items()}), z[:2])


def test_the_bound_of_a_conditional_model_is_below_its_elbo():
    model = model_of(model={"prior": "label"})
    scores = score(model, CORPUS)
    log_w = log_weights(model, CORPUS, torch.arange(8).numpy(), samples=200)
    assert (iw_bound(log_w) <= -log_w.double().mean(1) + 1e-9).all()
    assert float((scores.nll_elbo.double() - iw_bound(log_w)).mean()) > 0


def test_a_conditional_language_model_is_one_too():
    model = model_of(model={"latent": 0})
    scores = score(model, CORPUS)
    assert scores.rate.abs().max() == 0 and torch.isfinite(scores.distortion).all()


# -- scheduled sampling -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decoder", DECODERS)
def test_teacher_forcing_of_one_reads_the_truth_and_of_zero_never(decoder):
    model, batch = model_of(decoder={"kind": decoder}), CORPUS.batch(range(8))
    z = torch.randn(8, 1, 4, generator=torch.Generator().manual_seed(0))
    code = model.decoder_input(z, batch.labels)[:, 0]
    assert model.decoder.scheduled_sampling_inputs(batch, code, 1.0).equal(batch.inputs)
    torch.manual_seed(0)
    own = model.decoder.scheduled_sampling_inputs(batch, code, 0.0)
    assert (own[:, 0] == BOS).all() and (own[:, 1:] != batch.inputs[:, 1:]).float().mean() > 0.5
    half = torch.stack([model.decoder.scheduled_sampling_inputs(batch, code, 0.5) for _ in range(50)])
    same = (half == batch.inputs)[:, :, 1:].float().mean()
    by_chance = (own[:, 1:] == batch.inputs[:, 1:]).float().mean()
    assert abs(float(same) - (0.5 + 0.5 * float(by_chance))) < 0.1


def test_own_tokens_are_drawn_from_what_was_read_before():
    """A decoder that always repeats its last input must, once it has read an own token, go on from that."""
    model, batch = model_of(), CORPUS.batch([3])

    class Echo(type(model.decoder)):
        def start(self, z):
            return (torch.zeros(len(z), 1),)

        def step(self, token, state):
            return torch.nn.functional.one_hot(token + 1, 200).float() * 1e4, state

    model.decoder.__class__ = Echo
    own = model.decoder.scheduled_sampling_inputs(batch, torch.zeros(1, 4), 0.0)[0]
    assert own.tolist() == list(range(BOS, BOS + len(own)))  # each is the one before plus one


def test_the_gradient_passes_through_what_was_written_not_through_the_draw():
    model = model_of().train()
    batch, z = CORPUS.batch([0, 1]), torch.zeros(2, 1, 4, requires_grad=True)
    torch.manual_seed(0)
    model.distortion(batch, z, 0.3).sum().backward()
    assert z.grad.abs().sum() > 0 and model.decoder.output.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_orthogonal_weights_are_orthogonal_gate_by_gate(cell):
    config = Config.from_settings(
        merge(
            TINY,
            {
                "data": {"name": "grammar"},
                "model": {"init": "orthogonal"},
                "encoder": {"kind": cell},
                "decoder": {"kind": cell},
            },
        )
    )
    model = build_model(config, 20)
    for part in (model.encoder.cell, model.decoder.cell):
        for gate in part.weight_hh_l0.split(12):
            torch.testing.assert_close(gate @ gate.T, torch.eye(12), atol=1e-5, rtol=0)


@pytest.mark.parametrize("decoder", DECODERS)
def test_reading_own_tokens_cuts_no_gradient_under_autocast(decoder):
    """The casts of the weights that the draws made without gradients must not be used again where gradients are wanted."""
    model, batch = model_of(decoder={"kind": decoder}).train(), CORPUS.batch(range(8))
    z, result = torch.randn(8, 1, 4, generator=torch.Generator().manual_seed(0)), []
    for forcing in (1.0, 1 - 1e-9):  # the second draws its own tokens, and reads none of them
        model.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16):
            loss = model.distortion(batch, z, forcing).sum()
        loss.backward()
        result.append({name: parameter.grad for name, parameter in model.decoder.named_parameters()})
    for name, slope in result[0].items():
        torch.testing.assert_close(result[1][name], slope, msg=name)
