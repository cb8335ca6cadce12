"""The objective: neutral settings, floors, targets, timesteps."""

from dataclasses import replace

import pytest
import torch

from tests.conftest import SENTENCES, TINY
from uncollapse.data.corpus import Corpus
from uncollapse.data.vocabulary import build_vocabulary
from uncollapse.distributions.posteriors import Gaussian
from uncollapse.distributions.priors import LengthMixture, Source, StandardNormal
from uncollapse.errors import UserError
from uncollapse.extras import MMD, discrepancy
from uncollapse.nn.encoders import combine_steps
from uncollapse.nn.interfaces import EncoderOutput
from uncollapse.objectives import ForwardPass
from uncollapse.runs.builders.model import build_model
from uncollapse.runs.builders.objective import build_objective
from uncollapse.runs.checks import validate
from uncollapse.runs.compose import available, compose
from uncollapse.runs.config import Config, merge

CORPUS = Corpus.from_texts(SENTENCES, build_vocabulary(SENTENCES))
VANILLA = merge(TINY, {"data": {"name": "grammar"}, "decoder": {"dropout_in": 0.0, "dropout_out": 0.0}})


def terms(changes=None, step=0, dtype=torch.float32, seed=0):
    """Return the terms of one batch, always with the same weights and the same noise."""
    config = Config.from_settings(merge(VANILLA, changes or {}))
    model = build_model(config, len(CORPUS.vocabulary), CORPUS.lengths + 1)
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, -0.5, 0.5, generator=torch.Generator().manual_seed(parameter.numel()))
    torch.manual_seed(seed)
    return build_objective(config, 10)(model.to(dtype).train(), CORPUS.batch(range(8)), step)


NEUTRAL = [
    {"objective": {"weight": "1"}},
    {"objective": {"floor": 0.0, "floor_kind": "batch"}},
    {"objective": {"floor": 0.0, "floor_kind": "dimension"}},
    {"objective": {"target": "0", "target_kind": "batch"}},
    {"objective": {"target": "0", "target_kind": "sentence"}},
    {"objective": {"timesteps": "last", "mmd": 0.0, "bow": 0.0}},
    {"objective": {"divergence": "alpha", "alpha": 1.0}},
    {"objective": {"divergence": "renyi", "alpha": 1.0}},
    {"encoder": {"bn": 0.0, "pooling": "last"}, "decoder": {"skip": False, "word_dropout": 0.0}},
    {"train": {"aggressive": "off", "pretrain_epochs": 0}},
]


@pytest.mark.parametrize("changes", NEUTRAL, ids=str)
def test_neutral_settings_are_the_vanilla_objective_exactly(changes):
    vanilla, other = terms(), terms(changes)
    assert torch.equal(vanilla.loss, other.loss) or torch.allclose(vanilla.loss, other.loss, rtol=1e-7, atol=0)
    assert torch.equal(vanilla.distortion, other.distortion) and torch.equal(vanilla.rate, other.rate)


def test_the_vanilla_loss_is_the_negative_elbo():
    result = terms()
    torch.testing.assert_close(result.loss, (result.distortion + result.rate).mean())


def test_limits_with_the_same_noise():
    vanilla = terms(dtype=torch.float64)
    near = terms({"objective": {"divergence": "alpha", "alpha": 1 - 1e-6}}, dtype=torch.float64)
    assert abs(near.loss - vanilla.loss) < 1e-6 * abs(vanilla.loss)


def test_gamma_tends_to_vanilla_with_the_same_weights_and_codes():
    from uncollapse.distributions import divergences
    from uncollapse.distributions.posteriors import StudentT

    q = Gaussian(torch.randn(8, 4), 0.3 * torch.randn(8, 4))
    t = StudentT(q.mu, q.logvar, 1e6)
    assert (divergences.gamma_divergence(t, t.base) - divergences.kl(q, q.base).sum(-1)).abs().max() < 1e-2


def test_the_three_floors():
    divergence = torch.tensor([[0.1, 2.0], [3.0, 1.0]])

    def penalty(kind):
        objective = build_objective(
            Config.from_settings(merge(VANILLA, {"objective": {"floor": 3.0, "floor_kind": kind}})), 10
        )
        return objective.penalties[0].distance(divergence, 0).item()

    assert penalty("sentence") == pytest.approx((3.0 + 4.0) / 2)
    assert penalty("dimension") == pytest.approx((1.5 + 2.0 + 3.0 + 1.5) / 2)
    assert penalty("batch") == pytest.approx(max(3.0, (2.1 + 4.0) / 2))


def test_below_the_floor_there_is_no_gradient():
    divergence = torch.tensor([[0.1, 0.2], [0.3, 0.1]], requires_grad=True)
    for kind in ("sentence", "dimension", "batch"):
        objective = build_objective(
            Config.from_settings(merge(VANILLA, {"objective": {"floor": 3.0, "floor_kind": kind}})), 10
        )
        (gradient,) = torch.autograd.grad(objective.penalties[0].distance(divergence, 0), divergence)
        assert gradient.abs().sum() == 0


def test_targets_of_batch_and_sentence_and_their_rise():
    divergence = torch.tensor([1.0, 9.0])
    for kind, expected in (("batch", 1.0), ("sentence", (3 + 5) / 2)):
        settings = {"objective": {"target": "linear(0, 4, 2 epochs)", "target_kind": kind}}
        objective = build_objective(Config.from_settings(merge(VANILLA, settings)), 10)
        assert objective.penalties[0].distance(divergence, 20).item() == pytest.approx(expected)
        assert objective.penalties[0].target_at(5) == pytest.approx(1.0)
    # the gradient below the target pushes the rate up
    low = torch.tensor([1.0, 2.0], requires_grad=True)
    objective = build_objective(Config.from_settings(merge(VANILLA, {"objective": {"target": 4.0}})), 10)
    assert (torch.autograd.grad(objective.penalties[0].distance(low, 0), low)[0] < 0).all()


def test_the_best_weights_are_chosen_by_the_loss_that_the_schedules_end_at():
    distortion, rate = torch.tensor([10.0, 12.0]), torch.tensor([1.0, 4.0])

    def settled(**objective):
        return build_objective(Config.from_settings(merge(VANILLA, {"objective": objective})), 10).settled(
            distortion, rate, torch.tensor([2, 4])
        )

    assert settled() == settled(weight="linear(0.1, 1, 5 epochs)") == pytest.approx(11 + 2.5)
    assert settled(per_token=True) == pytest.approx((10 / 2 + 12 / 4) / 2 + 2.5)
    assert settled(weight="0.4") == pytest.approx(11 + 0.4 * 2.5)
    assert settled(target="linear(0, 4, 1 epochs)") == pytest.approx(11 + 1.5)
    assert settled(target=4.0, target_kind="sentence") == pytest.approx(11 + 1.5)
    assert settled(target=4.0, target_kind="controller", weight="0.1") == pytest.approx(11 + 1.5)
    assert settled(floor=3.0) == pytest.approx(11 + 3.5) and settled(floor=3.0, floor_kind="batch") == pytest.approx(14)


def steps_of(lengths, latent=2, longest=6):
    generator = torch.Generator().manual_seed(0)
    steps = Gaussian(
        torch.randn(len(lengths), longest, latent, generator=generator),
        torch.randn(len(lengths), longest, latent, generator=generator),
    )
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    return steps, mask


@pytest.mark.parametrize(
    ("where", "counted"),
    [("all", [4, 6, 1]), ("75%", [3, 4, 1]), ("50%", [2, 3, 1]), ("25%", [1, 2, 1]), ("last", [1, 1, 1])],
)
def test_timestep_wise_penalties_average_the_last_steps_alone(where, counted):
    from uncollapse.distributions.divergences import kl

    steps, mask = steps_of([4, 6, 1])
    objective = build_objective(Config.from_settings(merge(VANILLA, {"objective": {"timesteps": where}})), 10)
    output = EncoderOutput(combine_steps(steps, mask, "last"), steps, mask)
    result = objective.penalties[0].divergences(output, StandardNormal(2), torch.zeros(3, 1, 2)).sum(-1)
    every = kl(steps, steps.base).sum(-1)
    for row, (length, count) in enumerate(zip([4, 6, 1], counted, strict=True)):
        assert result[row].item() == pytest.approx(every[row, length - count : length].mean().item(), rel=1e-5)


def test_what_is_decoded_is_the_last_mean_or_sum():
    steps, mask = steps_of([4, 6, 1])
    generator = torch.Generator().manual_seed(1)
    for how in ("last", "mean", "sum"):
        q = combine_steps(steps, mask, how)
        noise = torch.randn(100_000, 3, 6, 2, generator=generator)
        z = (steps.mu + (0.5 * steps.logvar).exp() * noise) * mask[..., None]
        if how == "last":
            draws = z[:, torch.arange(3), torch.tensor([3, 5, 0])]
        else:
            draws = z.sum(2) / (mask.sum(1)[:, None] if how == "mean" else 1)
        torch.testing.assert_close(draws.mean(0), q.mu, atol=0.03, rtol=0.02)
        torch.testing.assert_close(draws.var(0), q.logvar.exp(), atol=0.02, rtol=0.02)


def test_a_collapsed_mean_pays_for_the_length_alone():
    """The figure of the Penn Treebank in the notes is 0.76 nats; here lengths are uniform from 2 to 60."""
    lengths = torch.arange(2, 61)
    prior = LengthMixture(32, (1 / lengths).tolist(), [1 / 59] * 59)
    q = Gaussian(torch.zeros(59, 32), -lengths[:, None].float().log().expand(59, 32))
    z = q.transform(torch.randn(59, 2000, 32, generator=torch.Generator().manual_seed(0)))
    mixture = (q.log_prob(z) - prior.log_prob(z)).mean()
    standard = (q.log_prob(z) - StandardNormal(32).log_prob(z)).mean()
    assert 0 < mixture < 1.5 and standard > 30
    drawn = prior.sample(20_000, Source(0))
    assert drawn.var().item() == pytest.approx((1 / lengths).mean().item(), rel=0.05)
    assert torch.equal(prior.sample(7, Source(0)), drawn[:7])


def test_mmd_is_zero_between_equals_and_grows_with_the_distance():
    prior = StandardNormal(4)
    torch.manual_seed(0)
    same = torch.stack([discrepancy(torch.randn(200, 4), prior) for _ in range(50)])
    assert abs(same.mean()) < 4 * same.std() / 50**0.5
    assert discrepancy(torch.randn(200, 4) + 1, prior) < discrepancy(torch.randn(200, 4) + 3, prior)
    assert discrepancy(torch.randn(1, 4), prior) == 0


def test_the_bag_of_words_is_the_plain_formula():
    from uncollapse.nn.decoders import BagOfWords

    words, batch, z = BagOfWords(len(CORPUS.vocabulary), 5, 3), CORPUS.batch(range(8)), torch.randn(8, 3)
    logs = words.output(words.hidden(z).tanh()).log_softmax(-1)
    expected = -torch.stack([logs[i, [*CORPUS.ids(i), 2]].sum() for i in range(8)])
    torch.testing.assert_close(words(batch, z), expected)


@pytest.mark.parametrize("init", ["torch", "lagging"])
def test_batch_normalisation_bounds_the_rate_from_below_from_the_first_step(init):
    config = Config.from_settings(merge(VANILLA, {"model": {"latent": 32, "init": init}, "encoder": {"bn": 0.6}}))
    model = build_model(config, len(CORPUS.vocabulary)).train()
    objective, batch = build_objective(config, 10), CORPUS.batch(range(8))
    assert objective(model, batch, 0).rate.mean() >= 32 * 0.36 / 2 * 0.99
    for _ in range(600):  # the running moments come to those of the batch
        model.posterior(batch)
    spread = model.eval().posterior(batch).mu.var(0, correction=0).mean().item()
    assert spread == pytest.approx(0.36, rel=0.2)


def test_batch_normalisation_takes_a_batch_of_one():
    config = Config.from_settings(merge(VANILLA, {"encoder": {"bn": 0.6}}))
    model = build_model(config, len(CORPUS.vocabulary)).train()
    assert torch.isfinite(model.posterior(CORPUS.batch([0])).mu).all()


def test_skip_and_word_dropout_do_what_they_say():
    config = Config.from_settings(
        merge(VANILLA, {"encoder": {"hidden": 6}, "decoder": {"skip": True, "word_dropout": 0.5, "hidden": 6}})
    )
    decoder = build_model(config, len(CORPUS.vocabulary)).decoder
    inputs = CORPUS.batch([0] * 4000).inputs
    dropped = decoder.train()._drop_words(inputs)
    assert (dropped[:, 0] == 1).all() and torch.equal(decoder.eval()._drop_words(inputs), inputs)
    assert (dropped[:, 1:] == 3).float().mean().item() == pytest.approx(0.5, abs=0.02)
    batch, z = CORPUS.batch([0]), torch.randn(1, 1, 4)
    with torch.no_grad():
        before = decoder(batch, z)
        decoder.skip.weight.zero_()
    assert decoder(batch, z) != before


@pytest.mark.parametrize("name", available("remedies"))
def test_gradients_reach_the_encoder_through_the_penalty(name):
    """Finite differences in float64; a language model has no latent, and word dropout's own noise is switched off."""
    config = compose("grammar", [name], merge(VANILLA, {"decoder": {"word_dropout": 0.0}, "train": {"epochs": 20}}))
    if config.model.latent == 0:
        return
    if config.objective.floor:  # below the floor there is no gradient, by intent: go above it
        config = replace(config, objective=replace(config.objective, floor=0.01))
    model = build_model(config, len(CORPUS.vocabulary), CORPUS.lengths + 1).double().train()
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, -0.7, 0.7, generator=torch.Generator().manual_seed(parameter.numel()))
    objective, batch, weight = build_objective(config, 10), CORPUS.batch(range(8)), model.encoder.posterior.weight
    step = 7  # where no schedule is at 0

    def penalty():
        torch.manual_seed(0)
        output, penalty = model.encode(batch), objective.penalties[0]
        z = output.posterior.transform(output.posterior.noise(8, 1))
        result = penalty.weight_at(step) * penalty.distance(penalty.divergences(output, model.prior, z), step)
        for extra in objective.extras:
            if isinstance(extra, MMD):
                result = result + extra(ForwardPass(model, batch, batch, output, z), step)
        return result

    (gradient,) = torch.autograd.grad(penalty(), weight)
    assert gradient.abs().max() > 1e-8
    for index in ((0, 0), (5, 3), (7, 11)):
        values = []
        for delta in (1e-6, -1e-6):
            with torch.no_grad():
                weight[index] += delta
                values.append(penalty().item())
                weight[index] -= delta
        assert gradient[index].item() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"objective": {"divergence": "gamma", "df": 1.0}}, "objective.df: expected more than 2, got 1"),
        ({"objective": {"divergence": "gamma"}, "encoder": {"pooling": "mean"}}, "with gamma use last"),
        ({"objective": {"divergence": "alpha", "floor": 3.0, "floor_kind": "dimension"}}, "no sum over dimensions"),
        ({"objective": {"target_kind": "controller"}}, "a target above 0"),
        ({"objective": {"divergence": "renyi", "alpha": -0.5}}, "needs an order above 0, got -0.5"),
        ({"train": {"pretrain_epochs": 2}}, "fewer than train.epochs 2"),
        ({"train": {"pretrain_epochs": 1, "init_from": "runs/x"}}, "leave one out"),
        ({"train": {"aggressive": "pooled"}, "model": {"latent": 0}}, "no encoder"),
    ],
)
def test_settings_that_exclude_each_other_are_refused_in_one_line(changes, said):
    with pytest.raises(UserError, match=".") as error:
        validate(Config.from_settings(merge(VANILLA, changes)))
    assert said in str(error.value) and "\n" not in str(error.value)
