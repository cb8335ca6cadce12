"""The experiments of the tense lab: report A's mathematics, written plainly, against the recipe."""

import math

import pytest
import torch
from torch.nn import functional as F

import uncollapse as uc
from uncollapse.data.labels import LabelSpace
from uncollapse.generation.decode import generate_ids
from uncollapse.runs.builders.data import build_splits, read_lab_pairs
from uncollapse.runs.builders.model import build_model
from uncollapse.runs.builders.objective import build_objective
from uncollapse.runs.compose import compose
from uncollapse.schedules import Clock, parse
from uncollapse.tasks.forms.lab import bleu4, convert, lab_scores, posterior_of, retried, tense_protocol
from uncollapse.tasks.forms.morphology import base_verbs, conjugate

SIZES = {"encoder": {"emb": 6, "hidden": 12}, "decoder": {"emb": 6, "hidden": 12}, "model": {"latent": 4}}


@pytest.fixture
def lab(tmp_path):
    folder = tmp_path / "lab"
    folder.mkdir()
    rows = [" ".join(conjugate(base)) for base in base_verbs()[:30]]
    (folder / "train.txt").write_text("\n".join(rows) + "\n")
    (folder / "test.txt").write_text(
        f"{rows[0].split()[0]} {rows[0].split()[3]}\n{rows[1].split()[2]} {rows[1].split()[0]}\n"
    )
    return {"data": {"path": str(folder), "directions": "sp>p, pg>sp"}, **SIZES}


def built(settings, recipe="tense-lab-a"):
    config = compose(recipe, (), settings)
    splits = build_splits(config.data)
    model = build_model(
        config, len(splits.vocabulary), splits.train.lengths + 1, space=LabelSpace(splits.train.label_names)
    )
    objective = build_objective(config, batches=len(splits.train), splits=splits)
    return config, splits, model, objective


def cell(x, h, c, weights):
    """One step of an LSTM, gates in torch's order: input, forget, cell, output."""
    w, u, b, d = weights
    i, f, g, o = (x @ w.T + b + h @ u.T + d).chunk(4)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def weights_of(lstm):
    return lstm.weight_ih_l0, lstm.weight_hh_l0, lstm.bias_ih_l0, lstm.bias_hh_l0


def loss_of_a_word(model, ids, *, of_encoder, of_decoder, noise, forced, weight):
    """Return the loss of one word: mean cross-entropy over letters and EOS, plus the weighted sum of KL.

    The vector of its tense: `of_encoder`, the last units of the encoder's first state; `of_decoder`, next to z.
    """
    encoder, decoder = model.encoder, model.decoder
    c = torch.zeros(12)
    h = torch.cat([torch.zeros(12 - len(of_encoder)), of_encoder])
    for i in ids:
        h, c = cell(encoder.embedding.weight[i], h, c, weights_of(encoder.cell))
    mu, logvar = (encoder.posterior.weight @ h + encoder.posterior.bias).chunk(2)
    z = mu + noise * (logvar / 2).exp()
    h = decoder.first_state.weight @ torch.cat([z, of_decoder]) + decoder.first_state.bias
    c, own, losses = torch.zeros(12), None, []
    for t, target in enumerate(ids[1:]):
        read = ids[t] if t == 0 or forced[t] else own
        h, c = cell(decoder.embedding.weight[read], h, c, weights_of(decoder.cell))
        logits = decoder.output.weight @ h + decoder.output.bias
        own = int(logits.argmax())
        losses.append(F.cross_entropy(logits[None], torch.tensor([target])))
    kl = -0.5 * (1 + logvar - mu**2 - logvar.exp()).sum()
    return torch.stack(losses).mean() + weight * kl


def weight_and_forcing(recipe, epoch, share):
    """Return what the reports say of an epoch, a share of which has passed."""
    if recipe == "tense-lab-a":  # both change from epoch to epoch
        return 0.5 * 0.5 / (1 + math.exp(-((epoch % 250) - 250 / 2) / (250 / 10))), 1 - epoch / 500
    return min(1, (epoch + share) / 30) * 0.1, 0.85 ** (epoch // 3)


@pytest.mark.parametrize("recipe", ["tense-lab-a", "tense-lab-b"])
@pytest.mark.parametrize(("epoch", "share"), [(0, 0), (4, 0.5), (40, 0), (130, 0.25), (249, 0), (300, 0.5), (480, 0)])
def test_a_step_of_the_reports_is_their_mathematics(lab, recipe, epoch, share, monkeypatch):
    """Loss and gradients of one word, at several epochs: wiring, scaling, schedule, argmax fed back letter by letter."""
    _, splits, model, objective = built(lab, recipe)
    for name, value in model.named_parameters():  # some biases begin at 0
        if "bias" in name:
            torch.nn.init.uniform_(value, -0.3, 0.3)
    step = epoch * len(splits.train) + round(share * len(splits.train))
    weight, forcing = weight_and_forcing(recipe, epoch, step / len(splits.train) - epoch)
    assert objective.teacher_forcing(step) == pytest.approx(forcing, abs=1e-9)
    batch = splits.train.batch([7])
    ids, tense = batch.tokens[0].tolist(), int(batch.labels["tense"])
    of_encoder = of_decoder = F.one_hot(torch.tensor(tense), 4).float()
    if recipe == "tense-lab-a":
        of_encoder, of_decoder = (c.tables[0].weight[tense] for c in (model.encoder.condition, model.condition))
    torch.manual_seed(epoch)
    noise, forced = torch.randn(4), torch.rand(len(ids) - 1) < forcing
    monkeypatch.setattr(uc.Gaussian, "noise", lambda self, n, k, generator=None: noise[None, None])
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.where(forced, 0.0, 1.0)[None])
    terms = objective(model.train(), batch, step)
    given = {"of_encoder": of_encoder, "of_decoder": of_decoder, "noise": noise, "forced": forced.tolist()}
    expected = loss_of_a_word(model, ids, **given, weight=weight)
    torch.testing.assert_close(terms.loss, expected, rtol=1e-5, atol=1e-6)
    parameters = list(model.parameters())
    ours = torch.autograd.grad(terms.loss, parameters, allow_unused=True)
    theirs = torch.autograd.grad(expected, parameters, allow_unused=True)
    for (name, _), one, other in zip(model.named_parameters(), ours, theirs, strict=True):
        if one is None or other is None:
            assert (one is None or not one.any()) and (other is None or not other.any()), name
        else:
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6, msg=name)


def test_the_published_schedules_of_report_a():
    clock = Clock(epoch=7, run=7 * 500)
    for cycles in (2, 10):
        schedule, period = (
            parse(f"cyclical(0, 0.25, 500 epochs, cycles={cycles}, ratio=1, shape=logistic)", clock),
            500 // cycles,
        )
        for epoch in range(0, 500, 3):
            published = 0.25 / (1 + math.exp(-(epoch % period - period / 2) / (period / 10)))
            assert schedule(7 * epoch) == pytest.approx(published, rel=1e-9)


def test_every_matrix_of_the_cells_is_orthogonal(lab):
    _, _, model, _ = built(lab)
    for lstm in (model.encoder.cell, model.decoder.cell):
        for matrix in (lstm.weight_ih_l0, lstm.weight_hh_l0):
            torch.testing.assert_close(matrix.T @ matrix, torch.eye(matrix.shape[1]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("z_at", ["first", "every", "both"])
@pytest.mark.parametrize("first_state", ["tanh", "hidden", "copy"])
@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
def test_z_is_read_where_the_settings_say(lab, z_at, first_state, kind):
    """The states of the cell of torch, given the first state and inputs that the settings describe, give the same distortion."""
    lab["decoder"] = {**lab["decoder"], "kind": kind, "z_at": z_at, "first_state": first_state}
    _, splits, model, _ = built(lab)
    decoder, batch = model.eval().decoder, splits.train.batch([0, 5, 9])
    code = torch.randn(3, 12, generator=torch.Generator().manual_seed(0))
    a = decoder.first_state(code) if z_at != "every" else torch.zeros(3, 12)
    h = a.tanh() if first_state == "tanh" else a
    c = torch.zeros_like(a) if first_state == "hidden" else a
    inputs = decoder.embedding(batch.inputs)
    if z_at != "first":
        inputs = torch.cat([inputs, code[:, None].expand(-1, inputs.shape[1], -1)], -1)
    states, _ = decoder.cell(inputs, (h[None], c[None]) if kind == "lstm" else h[None])
    nll = F.cross_entropy(decoder.output(states).flatten(0, 1), batch.targets.flatten(), reduction="none").view(3, -1)
    expected = (nll * batch.mask).sum(1)
    with torch.no_grad():
        torch.testing.assert_close(decoder(batch, code[:, None])[:, 0], expected)
    # and token by token
    state, total = decoder.start(code), torch.zeros(3)
    with torch.no_grad():
        for t in range(batch.inputs.shape[1]):
            logits, state = decoder.step(batch.inputs[:, t], state)
            total += F.cross_entropy(logits, batch.targets[:, t], reduction="none") * batch.mask[:, t]
    torch.testing.assert_close(total, expected.detach())


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("at", ["first", "every", "both"])
def test_the_condition_is_read_where_the_settings_say(lab, at, kind):
    lab["encoder"] = {**lab["encoder"], "kind": kind, "condition_at": at}
    _, splits, model, _ = built(lab)
    encoder, batch = model.eval().encoder, splits.train.batch([0, 5, 9])
    c = encoder.condition(batch.labels)
    embedded = encoder.embedding(batch.tokens)
    if at != "first":
        embedded = torch.cat([embedded, c[:, None].expand(-1, embedded.shape[1], -1)], -1)
    h = F.pad(c, (4, 0)) if at != "every" else torch.zeros(3, 12)
    first = (h[None], torch.zeros_like(h)[None]) if kind == "lstm" else h[None]
    states, _ = encoder.cell(embedded, first)
    last = states[torch.arange(3), batch.lengths]
    mu, logvar = (last @ encoder.posterior.weight.T + encoder.posterior.bias).chunk(2, -1)
    posterior = model.posterior(batch)
    torch.testing.assert_close(posterior.mu, mu)
    torch.testing.assert_close(posterior.logvar, logvar)


def test_a_condition_wider_than_the_state_is_refused(lab):
    lab["encoder"] = {"emb": 6, "hidden": 7}
    with pytest.raises(uc.UserError, match="condition_at first: expected hidden of at least 8, got 7"):
        built(lab)


def test_conversions_are_those_of_the_codes_that_are_given(lab):
    """Draw by draw, pair by pair: the word that greedy decoding writes from that code under the target's label."""
    config, splits, model, _ = built(lab)
    pairs, limit = read_lab_pairs(config.data), splits.longest_sentence
    posterior = posterior_of(model.eval(), splits.train, pairs)
    assert posterior.mean.shape == (2, 4)
    z = 5 * torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    names = splits.train.label_names["tense"]
    for draw, done in enumerate(convert(model, splits.train, pairs, z, length_limit=limit)):
        for pair, one, code in zip(pairs, done, z[:, draw], strict=True):
            label = {"tense": torch.tensor([names.index(pair.target)])}
            (ids,) = generate_ids(model, code[None], limit, labels=label)
            assert (one.word, one.reference) == (pair.word, pair.reference)
            assert one.written == splits.vocabulary.decode(ids)


def test_the_protocol_reports_the_mean_and_a_thousand_draws(lab):
    config, splits, model, _ = built(lab)
    numbers = tense_protocol(model.eval(), splits, read_lab_pairs(config.data))
    assert numbers["tense_retries"] == 1000 and numbers["tense_sampled_good"] == 0
    low, middle, high = numbers["tense_sampled_quantiles"]
    assert low <= middle <= high <= round(numbers["tense_retried_bleu4"], 4) and len(numbers["tense_pairs"]) == 2


def test_a_retry_stops_at_the_first_good_draw():
    result = retried([0.2, 0.79, 0.81, 0.95] + [0.1] * 996)
    assert (result["tense_retried_bleu4"], result["tense_retries"]) == (0.81, 3)
    assert result["tense_sampled_good"] == pytest.approx(2 / 1000)
    assert result["tense_sampled_bleu4"] == pytest.approx((0.2 + 0.79 + 0.81 + 0.95 + 99.6) / 1000)
    none = retried([0.3, 0.7, 0.1])
    assert (none["tense_retried_bleu4"], none["tense_retries"]) == (0.7, 3)


def test_the_scores_of_the_log_are_those_of_the_pairs_and_of_draws(lab, monkeypatch):
    from uncollapse.tasks.forms import lab as module

    config, splits, model, _ = built(lab)
    pairs, limit = read_lab_pairs(config.data), splits.longest_sentence
    rows = [tuple(conjugate(base)) for base in base_verbs()[:3]]
    monkeypatch.setattr(module, "invent", lambda *_, **__: [*rows, ("no", "such", "row", "here")])
    scores = lab_scores(model.eval(), splits.train, pairs, length_limit=limit)
    means = posterior_of(model, splits.train, pairs).mean[:, None]
    (done,) = convert(model, splits.train, pairs, means, length_limit=limit)
    assert scores["gaussian_score"] == 0.75
    assert scores["tense_bleu4"] == bleu4(done)


def test_without_held_out_the_training_part_serves_for_all(lab):
    _, splits, _, _ = built(lab)
    assert len(splits.train) == len(splits.valid) == len(splits.test) == 4 * 30
    assert sum("measures memory" in message for message in splits.messages) == 2
