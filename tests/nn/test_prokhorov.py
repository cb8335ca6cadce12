"""The networks of Prokhorov et al. 2019, against their mathematics written plainly."""

import pytest
import torch

import uncollapse as uc
from tests.conftest import TINY
from tests.evaluation.test_twr import STEPS
from uncollapse.data.corpus import Corpus
from uncollapse.data.vocabulary import build_vocabulary
from uncollapse.distributions.posteriors import Gaussian
from uncollapse.nn.decoders import BottleneckDecoder
from uncollapse.runs.builders.model import build_model
from uncollapse.runs.builders.objective import build_objective
from uncollapse.runs.compose import compose
from uncollapse.runs.config import merge

SMALL = {"encoder": {"emb": 6, "hidden": 8}, "decoder": {"emb": 6, "hidden": 8}, "model": {"latent": 4}}


def chain(x, t, into, across, out_of, context):
    """Return the three convolutions at place t of inputs `[T, hidden]`: nothing is seen before the first."""
    total = across[1].clone()
    for back in range(context):
        if t - back >= 0:
            total = total + across[0][:, :, context - 1 - back] @ (into[0][:, :, 0] @ x[t - back] + into[1])
    return out_of[0][:, :, 0] @ total + out_of[1]


def halves(convolution):
    """Return weight and bias of value and of gate."""
    return list(zip(convolution.weight.chunk(2), convolution.bias.chunk(2), strict=True))


def plain_bottleneck(decoder, x, context):
    """Return the states of the two gated blocks at the inputs `[T, emb + latent]` of one sentence."""
    for block in range(2):
        x = x @ decoder.project[block].weight.T + decoder.project[block].bias
        parts = [halves(kind[block]) for kind in (decoder.into, decoder.across, decoder.out_of)]
        value, gate = (
            [chain(x, t, *(part[half] for part in parts), context) for t in range(len(x))] for half in (0, 1)
        )
        x = torch.stack([x[t] + value[t] * torch.sigmoid(gate[t]) for t in range(len(x))])
    return x


def test_the_bottleneck_is_value_and_gate_each_of_three_convolutions():
    torch.manual_seed(0)
    decoder, context = BottleneckDecoder(11, 5, 8, 3, context=3).eval(), 3
    tokens, z = torch.randint(4, 11, (1, 7)), torch.randn(1, 3)
    with torch.no_grad():
        x = plain_bottleneck(decoder, torch.cat([decoder.embedding(tokens[0]), z.expand(7, -1)], -1), context)
        states, _ = decoder.run(decoder.embedding(tokens), z[:, None], decoder.memory(z))
    torch.testing.assert_close(states[0], x)


def test_the_dropout_of_the_blocks_is_for_training_alone():
    torch.manual_seed(0)
    decoder, tokens, z = BottleneckDecoder(11, 5, 8, 3), torch.randint(4, 11, (1, 7)), torch.randn(1, 1, 3)
    embedded = decoder.embedding(tokens)
    one, other = (decoder.run(embedded, z, decoder.memory(z[:, 0]))[0] for _ in range(2))
    assert not torch.equal(one, other)
    one, other = (decoder.eval().run(embedded, z, decoder.memory(z[:, 0]))[0] for _ in range(2))
    assert torch.equal(one, other)


@pytest.mark.parametrize(("kind", "cell"), [("lstm", torch.nn.LSTM), ("gru", torch.nn.GRU)])
def test_the_recipe_reads_one_table_and_z_next_to_the_inputs_alone(kind, cell):
    changes = merge(SMALL, {"encoder": {"kind": kind}, "decoder": {"kind": kind}, "data": {"name": "grammar"}})
    model = build_model(compose("prokhorov", (), changes), 20).eval()
    assert model.encoder.embedding is model.decoder.embedding
    names = [name for name, _ in model.named_parameters()]
    assert names.count("encoder.embedding.weight") == 1 and "decoder.embedding.weight" not in names
    tokens, z = torch.randint(4, 20, (2, 5)), torch.randn(2, 4)
    plain = cell(10, 8, batch_first=True)
    plain.load_state_dict(model.decoder.cell.state_dict())
    with torch.no_grad():
        embedded = model.encoder.embedding(tokens)
        expected, _ = plain(torch.cat([embedded, z[:, None].expand(-1, 5, -1)], -1))  # from a state of zeros
        states, _ = model.decoder.run(embedded, z[:, None], model.decoder.memory(z))
    torch.testing.assert_close(states, expected)


def test_the_recipe_has_their_biases_and_where_they_begin():
    config = compose("prokhorov", (), merge(SMALL, {"data": {"name": "grammar"}}))
    assert (config.optim.clip, config.train.select) == (0, "last")
    model = build_model(config, 20).eval()
    assert not model.encoder.posterior.bias.any() and not model.decoder.output.bias.any()
    for cell in (model.encoder.cell, model.decoder.cell):  # CuDNNLSTM: the forget gates begin open
        assert cell.bias_ih_l0.view(4, 8).eq(torch.tensor([0, 1, 0, 0])[:, None]).all() and not cell.bias_hh_l0.any()
    torch.nn.init.normal_(model.encoder.posterior.bias)
    torch.nn.init.normal_(model.decoder.output.bias)
    batch = Corpus.from_texts(["a b c"], build_vocabulary(["a b c"])).batch([0])
    z = torch.randn(1, 1, 4)
    with torch.no_grad():
        states, _ = model.decoder.run(model.decoder.embedding(batch.inputs), z, model.decoder.memory(z[:, 0]))
        log_p = (states[0] @ model.decoder.output.weight.T + model.decoder.output.bias).log_softmax(-1)
        expected = -log_p[torch.arange(4), batch.targets[0]].sum()
        torch.testing.assert_close(model.decoder(batch, z)[0, 0], expected)
        _, (h, _) = torch.nn.LSTM.forward(model.encoder.cell, model.encoder.embedding(batch.tokens))
        mu, logvar = (h[0, 0] @ model.encoder.posterior.weight.T + model.encoder.posterior.bias).chunk(2)
        posterior = model.posterior(batch)
    torch.testing.assert_close(posterior.mu[0], mu)
    torch.testing.assert_close(posterior.logvar[0], logvar)


@pytest.mark.parametrize(("kind", "decoder"), [("lstm", "lstm"), ("gru", "gru"), ("lstm", "cnn-bottleneck")])
def test_a_step_of_each_network_is_the_papers_mathematics(monkeypatch, kind, decoder):
    """Loss and gradients: the distortion, and |mean of the batch's KL - C|, where C rises to 15 over two epochs."""
    changes = {"encoder": {"kind": kind}, "decoder": {"kind": decoder}, "data": {"name": "grammar"}}
    config = compose("prokhorov", ("kl-target",), merge(SMALL, changes))
    corpus = Corpus.from_texts(["a b c", "c a"], build_vocabulary(["a b c"]))
    model, batch = build_model(config, len(corpus.vocabulary)), corpus.batch([0, 1])
    for weight in model.parameters():  # where biases begin at 0, a wrong one would not be seen
        torch.nn.init.uniform_(weight, -0.6, 0.6)
    model.eval()  # the convolution has dropout, and nothing else has
    noise = torch.randn(2, 1, 4)
    monkeypatch.setattr(Gaussian, "noise", lambda self, n, k, generator=None: noise)
    distortion, rates, table = 0.0, [], model.encoder.embedding.weight
    for tokens, length, own in zip(batch.tokens, batch.lengths.tolist(), noise[:, 0], strict=True):
        ids, state = tokens[: length + 1].tolist(), (torch.zeros(8), torch.zeros(8))
        for i in ids:
            state = STEPS[kind](table[i], *state, model.encoder.cell)
        mu, logvar = (model.encoder.posterior.weight @ state[0] + model.encoder.posterior.bias).chunk(2)
        rates.append(0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum())
        z = mu + own * (logvar / 2).exp()
        x = torch.stack([torch.cat([table[i], z]) for i in ids[:-1]])
        for state in plain_decoder(model.decoder, x, decoder).unbind():
            log_p = (model.decoder.output.weight @ state + model.decoder.output.bias).log_softmax(0)
            target, ids = ids[1], ids[1:]
            distortion = distortion - log_p[target] / 2
    total = distortion + (sum(rates) / 2 - 15 * 3 / 20).abs()
    loss = build_objective(config, batches=10)(model, batch, 3).loss
    torch.testing.assert_close(loss, total)
    gradients = [torch.autograd.grad(one, list(model.parameters()), allow_unused=True) for one in (loss, total)]
    for (name, weight), *both in zip(model.named_parameters(), *gradients, strict=True):
        ours, theirs = (torch.zeros_like(weight) if one is None else one for one in both)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6, msg=name)


def plain_decoder(decoder, x, kind):
    """Return the states at the inputs `[T, emb + latent]` of one sentence."""
    if kind in STEPS:
        state, states = (torch.zeros(8), torch.zeros(8)), []
        for one in x:
            state = STEPS[kind](one, *state, decoder.cell)
            states.append(state[0])
        return torch.stack(states)
    return plain_bottleneck(decoder, x, decoder.across[0].weight.shape[-1])


@pytest.mark.parametrize(("kind", "decoder"), [("lstm", "cnn-bottleneck"), ("gru", "gru")])
def test_weights_begin_as_in_tensorflow(kind, decoder):
    """LeCun normal cells, He uniform convolutions, Glorot uniform maps: their variances, and the bounds of each."""
    wide = {
        "encoder": {"emb": 256, "hidden": 512, "kind": kind},
        "decoder": {"kind": decoder, "emb": 256, "hidden": 512},
    }
    model = build_model(compose("prokhorov", (), merge(wide, {"data": {"name": "grammar"}})), 2000)
    cells = [part for part in model.modules() if isinstance(part, torch.nn.RNNBase)]
    assert len(cells) == (1 if decoder == "cnn-bottleneck" else 2)
    for weight, columns in [(cells[0].weight_ih_l0, 256), (cells[0].weight_hh_l0, 512)]:
        assert weight.var().item() == pytest.approx(1 / columns, rel=0.02)
        assert weight.abs().max() <= 2 * (1 / columns) ** 0.5 / 0.879
    assert model.encoder.embedding.weight.abs().max() <= 0.05
    assert model.decoder.output.weight.var().item() == pytest.approx(2 / (512 + 2000), rel=0.02)
    for matrix in model.encoder.posterior.weight.chunk(2):
        assert matrix.var().item() == pytest.approx(2 / (512 + 64), rel=0.04)
        assert (6 / (512 + 128)) ** 0.5 < matrix.abs().max() <= (6 / (512 + 64)) ** 0.5
    if decoder == "cnn-bottleneck":
        for block in range(2):
            for layer, columns in [
                (model.decoder.project[block], (256 + 64) if block == 0 else 512),
                (model.decoder.into[block], 512),
                (model.decoder.across[block], 128 * 20),
                (model.decoder.out_of[block], 128),
            ]:
                assert layer.weight.var().item() == pytest.approx(2 / columns, rel=0.05)
                assert layer.weight.abs().max() <= (6 / columns) ** 0.5
                assert not layer.bias.any()


def test_a_shared_table_is_trained_saved_loaded_and_resumed(tmp_path):
    changes = merge(TINY, {"model": {"share_embedding": True}, "train": {"epochs": 1}})
    run = uc.train("grammar", "kl-target", out=tmp_path / "parts", callbacks=[], **changes)
    table = run.model.encoder.embedding.weight
    assert table is run.model.decoder.embedding.weight
    again = uc.load(tmp_path / "parts")
    assert torch.equal(again.model.decoder.embedding.weight, table) and again.sample(3) == run.sample(3)
    changes["train"]["epochs"] = 2
    resumed = uc.train("grammar", "kl-target", out=tmp_path / "parts", callbacks=[], resume=True, **changes)
    whole = uc.train("grammar", "kl-target", out=tmp_path / "whole", callbacks=[], **changes)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


@pytest.mark.parametrize(
    "changes",
    [
        {"decoder": {"emb": 9}},
        {"model": {"latent": 0}},
        {"train": {"pretrain_epochs": 1}},
        {"train": {"aggressive": "paper"}},
        {"encoder": {"kind": "own"}},
    ],
)
def test_where_no_table_can_be_shared(changes, tmp_path):
    settings = merge(TINY, {"model": {"share_embedding": True}}, changes)
    with pytest.raises(uc.UserError, match="model.share_embedding: expected"):
        uc.train("grammar", out=tmp_path / "run", **settings)
