"""Networks of pictures: the order of the pixels, stepping, exact likelihoods of models that can be enumerated."""

import itertools
import math

import numpy as np
import pytest
import torch

from uncollapse.data.corpus import Corpus
from uncollapse.data.pictures import arrays_of, texts_of
from uncollapse.data.vocabulary import BOS, EOS, INK, PAPER, PIXELS
from uncollapse.distributions.posteriors import Gaussian
from uncollapse.distributions.priors import StandardNormal
from uncollapse.evaluation.bounds import iw_bound, log_weights
from uncollapse.evaluation.scores import score
from uncollapse.generation.decode import decode
from uncollapse.generation.decoding import Decoding
from uncollapse.model import VAE
from uncollapse.nn.interfaces import Encoder, EncoderOutput
from uncollapse.nn.pictures import Deconvolution, MaskedBlock, MaskedConv2d, PixelCNN
from uncollapse.nn.resnet import ResNetEncoder, canvas

SIDE, LATENT = 6, 3


def lively(module, scale=0.6, seed=0):
    torch.manual_seed(seed)
    for parameter in module.parameters():
        torch.nn.init.uniform_(parameter, -scale, scale)
    return module.eval()


def decoder(kind, side=SIDE, latent=LATENT):
    made = PixelCNN(side, latent, 6, (5, 3, 3), maps=2) if kind == "pixelcnn" else Deconvolution(side, latent, 5)
    return lively(made)


def corpus_of(pictures):
    return Corpus.from_texts(texts_of(np.asarray(pictures)), PIXELS)


def drawn(count, side=SIDE, seed=0):
    return np.random.default_rng(seed).integers(2, size=(count, side, side))


def sees(function, side, channels):
    """Return whether the output at pixel i changes with the input at pixel j, `[pixels, pixels]`."""
    x = torch.rand(1, channels, side, side, requires_grad=True)
    out = function(x)
    out = out.sum(1).flatten()
    return torch.stack(
        [torch.autograd.grad(value, x, retain_graph=True)[0].abs().sum((0, 1)).flatten() > 0 for value in out]
    )


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("kind", ["A", "B", "block"])
def test_no_layer_looks_ahead_and_each_looks_as_far_as_it_may(kind, kernel):
    layer = lively(MaskedBlock(4, kernel) if kind == "block" else MaskedConv2d(kind, 4, 4, kernel))
    result = sees(layer, SIDE, 4)
    later = torch.ones(SIDE**2, SIDE**2).triu(diagonal=0 if kind == "A" else 1).bool()
    assert not result[later].any()
    half, rows = kernel // 2, torch.arange(SIDE**2) // SIDE
    columns = torch.arange(SIDE**2) % SIDE
    near = ((rows[:, None] - rows).abs() <= half) & ((columns[:, None] - columns).abs() <= half)
    assert torch.equal(result, near & ~later)


def test_a_pixel_depends_on_those_before_it_and_on_nothing_after():
    net, z = decoder("pixelcnn"), torch.randn(1, LATENT)
    x = torch.rand(1, 1, SIDE, SIDE, requires_grad=True)
    out = net.logits(x, z)[0].flatten()
    grads = torch.stack([torch.autograd.grad(value, x, retain_graph=True)[0].flatten().abs() > 0 for value in out])
    assert not grads.triu().any()
    assert grads[-1].sum() > SIDE  # and it looks beyond its own line


@pytest.mark.parametrize("kind", ["pixelcnn", "deconvolution"])
def test_stepping_is_the_whole_picture_at_once(kind):
    net, z = decoder(kind), torch.randn(4, LATENT)
    corpus = corpus_of(drawn(4))
    batch = corpus.batch(range(4))
    whole = net(batch, z[:, None])[:, 0]
    state, token, total = net.start(z), torch.full((4,), BOS), torch.zeros(4)
    for position in range(SIDE**2 + 1):
        logits, state = net.step(token, state)
        token = batch.targets[:, position]
        total -= logits.log_softmax(-1).gather(1, token[:, None])[:, 0]
    assert torch.allclose(whole, total, rtol=1e-5)
    assert (token == EOS).all()


@pytest.mark.parametrize("kind", ["pixelcnn", "deconvolution"])
def test_a_picture_depends_on_its_code(kind):
    net, batch = decoder(kind), corpus_of(drawn(1)).batch([0])
    one, other = (net(batch, z[None, None])[0, 0] for z in torch.randn(2, LATENT))
    assert abs(one - other) > 1e-3


def test_a_batch_of_one_is_trained_on(capsys):
    encoder = ResNetEncoder(8, LATENT, channels=2, hidden=4).train()
    assert encoder(corpus_of(drawn(1, 8)).batch([0])).posterior.mu.isfinite().all()
    assert encoder.body.training


@pytest.mark.parametrize("kind", ["pixelcnn", "deconvolution"])
def test_the_probabilities_of_all_pictures_sum_to_one(kind):
    net = decoder(kind, side=3) if kind == "deconvolution" else lively(PixelCNN(3, LATENT, 4, (3, 3), 2))
    every = np.array(list(itertools.product((0, 1), repeat=9))).reshape(-1, 3, 3)
    z = torch.randn(1, 1, LATENT).expand(len(every), 1, -1)
    log_p = -net(corpus_of(every).batch(range(len(every))), z)[:, 0]
    assert log_p.double().logsumexp(0).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("kind", ["pixelcnn", "deconvolution"])
@pytest.mark.parametrize("strategy", ["greedy", "sample", "beam"])
def test_every_decoding_writes_whole_pictures(kind, strategy):
    net, z = decoder(kind), torch.randn(5, LATENT)
    result = [best[0] for best in decode(net, z, Decoding(strategy, beam_width=2), length_limit=SIDE**2, seed=1)]
    assert all(len(ids) == SIDE**2 and set(ids) <= {PAPER, INK} for ids in result)
    again = [best[0] for best in decode(net, z[:2], Decoding(strategy, beam_width=2), length_limit=SIDE**2, seed=1)]
    assert again == result[:2]


def test_draws_have_the_probabilities_of_the_model():
    net, z = lively(PixelCNN(2, LATENT, 4, (3, 3), 2)), torch.randn(1, LATENT)
    every = np.array(list(itertools.product((0, 1), repeat=4))).reshape(-1, 2, 2)
    p = (-net(corpus_of(every).batch(range(16)), z.expand(16, 1, -1))[:, 0]).exp()
    rows = [best[0] for best in decode(net, z.expand(20_000, -1), Decoding("sample"), length_limit=4, seed=3)]
    counts = {}
    for ids in rows:
        counts[tuple(ids)] = counts.get(tuple(ids), 0) + 1
    for ids, chance in zip(corpus_of(every).flat.reshape(16, 4).tolist(), p.tolist(), strict=True):
        assert abs(counts.get(tuple(ids), 0) / 20_000 - chance) < 5 * (chance * (1 - chance) / 20_000) ** 0.5 + 1e-4


def test_the_importance_weighted_bound_is_that_of_an_enumerable_2x2_model():
    """log p(x) by quadrature over a scalar z; the bound comes down to it, and the probabilities of all 16 pictures sum to one."""
    net = lively(PixelCNN(2, 1, 4, (3, 3), 2), scale=0.9)

    class Count(Encoder):
        def forward(self, batch):
            mu = 0.1 * (batch.tokens[:, 1:5] == INK).sum(1, keepdim=True).float()
            return EncoderOutput(Gaussian(mu, torch.zeros_like(mu)))

    model = VAE(Count(), net, StandardNormal(1)).eval()
    every = np.array(list(itertools.product((0, 1), repeat=4))).reshape(-1, 2, 2)
    corpus = corpus_of(every)
    grid = torch.linspace(-8, 8, 801)
    log_joint = (
        -net(corpus.batch(range(16)), grid.expand(16, -1)[..., None]).double()
        - grid.double() ** 2 / 2
        - 0.5 * math.log(2 * math.pi)
    )
    exact = log_joint.logsumexp(1) + math.log(16 / 800)
    assert exact.logsumexp(0).item() == pytest.approx(0, abs=1e-3)
    bound = iw_bound(log_weights(model, corpus, np.arange(16), samples=3000, seed=1))
    assert torch.allclose(bound, -exact.detach(), atol=0.02)
    elbo = score(model, corpus).nll_elbo
    assert float(elbo.mean()) > float(-exact.detach().mean()) - 0.05


def test_the_encoder_knows_nothing_of_the_batch_and_reads_the_picture():
    torch.manual_seed(0)
    encoder = ResNetEncoder(14, LATENT, channels=4, hidden=8).eval()
    corpus = corpus_of(drawn(6, 14))
    whole = encoder(corpus.batch(range(6))).posterior.mu
    one = encoder(corpus.batch([2])).posterior.mu
    assert torch.allclose(whole[2:3], one, atol=1e-5) and (whole[0] - whole[1]).abs().max() > 1e-3


@pytest.mark.parametrize("side", [8, 14, 28, 30])
def test_every_side_has_its_networks(side):
    corpus = corpus_of(drawn(2, side))
    batch = corpus.batch(range(2))
    assert torch.equal(canvas(batch.tokens, side)[:, 0].int(), torch.from_numpy(drawn(2, side)).int())
    encoder = ResNetEncoder(side, LATENT, channels=2, hidden=4).eval()
    z = encoder(batch).posterior.mu[:, None]
    for net in (PixelCNN(side, LATENT, 4, (7, 3), 2), Deconvolution(side, LATENT, 3)):
        assert net(batch, z).shape == (2, 1)
    assert (arrays_of(corpus.texts()) == drawn(2, side)).all()
