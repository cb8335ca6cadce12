"""Exactness of encoder and decoder, for every cell."""

import numpy as np
import pytest
import torch

from tests.conftest import tiny_vae
from uncollapse.data.corpus import Batch, Corpus
from uncollapse.data.vocabulary import BOS, PAD, Vocabulary
from uncollapse.nn.decoders import RecurrentDecoder
from uncollapse.nn.encoders import RecurrentEncoder
from uncollapse.nn.initialisation import initialise_lagging


def with_more_pads(batch: Batch, junk: bool = False) -> Batch:
    """Return the batch three columns wider; with junk in the pads' embeddings' place if asked."""
    extra = torch.full((len(batch), 3), PAD)
    return Batch(torch.cat([batch.tokens, extra], 1), batch.lengths, batch.index)


def codes(n, k=2, latent=3):
    return torch.randn(n, k, latent, generator=torch.Generator().manual_seed(1))


def test_a_batch_of_two_equals_two_batches_of_one(vae, corpus):
    together = corpus.batch([0, 4])
    z = codes(2)
    for row, i in enumerate([0, 4]):
        alone = corpus.batch([i])
        torch.testing.assert_close(vae.posterior(together).mu[row], vae.posterior(alone).mu[0])
        torch.testing.assert_close(vae.posterior(together).logvar[row], vae.posterior(alone).logvar[0])
        torch.testing.assert_close(vae.distortion(together, z)[row], vae.distortion(alone, z[row : row + 1])[0])


def test_pads_change_nothing(vae, corpus):
    batch = corpus.batch([1, 2, 7])
    wider, z = with_more_pads(batch), codes(3)
    torch.testing.assert_close(vae.posterior(wider).mu, vae.posterior(batch).mu)
    torch.testing.assert_close(vae.distortion(wider, z), vae.distortion(batch, z))
    before = vae.distortion(batch, z), vae.posterior(batch).mu
    with torch.no_grad():
        vae.decoder.embedding.weight[PAD] += 100
        vae.encoder.embedding.weight[PAD] += 100
    torch.testing.assert_close(vae.distortion(batch, z), before[0])
    torch.testing.assert_close(vae.posterior(batch).mu, before[1])


def test_sentences_of_one_length_give_the_same_as_among_pads(vae):
    corpus = Corpus.from_ids(
        [[4, 5, 6], [6, 5, 4], [5, 4, 4], [4]], Vocabulary(("<pad>", "<s>", "</s>", "<unk>", *"abc"))
    )
    even, uneven = corpus.batch([0, 1, 2]), corpus.batch([0, 1, 2, 3])
    assert not even.padded and uneven.padded and not even.to("cpu").padded
    wider, z = with_more_pads(even), codes(3)
    assert wider.padded
    result, expected = vae.posterior(even), vae.posterior(wider)
    torch.testing.assert_close((result.mu, result.logvar), (expected.mu, expected.logvar))
    torch.testing.assert_close(vae.distortion(even, z), vae.distortion(wider, z))
    one, other = (
        torch.autograd.grad(vae.distortion(batch, vae.posterior(batch).mu[:, None]).sum(), list(vae.parameters()))
        for batch in (even, wider)
    )
    torch.testing.assert_close(one, other)


def log_probs(decoder, tokens, z):
    """Return log p(next token) at every step, by stepping, `[N, T, V]`."""
    state, rows = decoder.start(z), []
    for t in range(tokens.shape[1]):
        logits, state = decoder.step(tokens[:, t], state)
        rows.append(logits.log_softmax(-1))
    return torch.stack(rows, 1)


def test_stepping_is_teacher_forcing(vae, corpus):
    batch, z = corpus.batch([0, 3, 5]), codes(3, 1)
    stepped = log_probs(vae.decoder, batch.inputs, z[:, 0]).gather(2, batch.targets[..., None]).squeeze(2)
    torch.testing.assert_close(-(stepped * batch.mask).sum(1), vae.distortion(batch, z)[:, 0])


def test_a_probability_does_not_depend_on_later_tokens(vae, corpus):
    tokens = corpus.batch([0]).inputs
    z = codes(1, 1)[:, 0]
    whole = log_probs(vae.decoder, tokens, z)
    changed = tokens.clone()
    changed[:, 4:] = (changed[:, 4:] + 3) % len(corpus.vocabulary)
    torch.testing.assert_close(log_probs(vae.decoder, changed, z)[:, :4], whole[:, :4])
    # and in the batched form: the distortion of a prefix is the sum of its terms
    prefix = Batch(torch.cat([torch.tensor([[BOS]]), corpus.batch([0]).targets[:, :4]], 1), torch.tensor([4]), None)
    first = whole.gather(2, corpus.batch([0]).targets[..., None])[0, :4].sum()
    torch.testing.assert_close(vae.distortion(prefix, z[:, None])[0, 0], -first)


def test_probabilities_sum_to_one_over_all_short_sentences(cell):
    from itertools import product

    vae = tiny_vae(6, cell=cell)
    z = codes(1, 1)[0]
    total = 0.0
    for length in range(3):
        for words in product([0, 1, 3, 4, 5], repeat=length):
            tokens = torch.tensor([[BOS, *words, 2]])
            # a batch marks pads by id 0, so ask the steps
            logs = log_probs(vae.decoder, tokens[:, :-1], z)
            total += logs.gather(2, tokens[:, 1:, None]).sum().exp().item()
    tails = 0.0
    for words in product([0, 1, 3, 4, 5], repeat=3):
        tokens = torch.tensor([[BOS, *words]])
        tails += log_probs(vae.decoder, tokens[:, :-1], z).gather(2, tokens[:, 1:, None]).sum().exp().item()
    assert total + tails == pytest.approx(1, abs=1e-5)


def test_many_samples_equal_one_at_a_time(vae, corpus):
    batch, z = corpus.batch([2, 5, 6]), codes(3, 4)
    each = torch.cat([vae.distortion(batch, z[:, k : k + 1]) for k in range(4)], 1)
    torch.testing.assert_close(vae.distortion(batch, z), each)


def test_z_matters_at_the_first_state_and_at_every_input(vae, corpus, cell):
    batch, z = corpus.batch([0]), codes(1, 1)
    before = vae.distortion(batch, z).item()
    assert vae.distortion(batch, z + 1).item() != pytest.approx(before)
    if "cnn" in cell:
        return
    with torch.no_grad():
        vae.decoder.first_state.weight.zero_()
    assert vae.distortion(batch, z + 1).item() != pytest.approx(vae.distortion(batch, z).item())


def test_the_first_state_is_that_of_the_paper():
    decoder = tiny_vae(9).decoder
    z = torch.randn(2, 3)
    h, c, _ = decoder.start(z)
    torch.testing.assert_close(c, z @ decoder.first_state.weight.T)
    torch.testing.assert_close(h, torch.tanh(c))


def test_a_model_without_latent_is_a_language_model(corpus, recwarn):
    decoder = RecurrentDecoder(len(corpus.vocabulary), 5, 7, 0)
    empty = torch.zeros(3, 1, 0)
    batch = corpus.batch([0, 1, 2])
    decoder(batch, empty).sum().backward()
    assert decoder.output.weight.grad.abs().sum() > 0 and not recwarn.list


def test_dropout_is_for_training_only(corpus):
    vae = tiny_vae(len(corpus.vocabulary), dropout_in=0.5, dropout_out=0.5)
    batch, z = corpus.batch([0]), codes(1, 1)
    assert vae.distortion(batch, z) == vae.distortion(batch, z)
    vae.train()
    assert vae.distortion(batch, z) != vae.distortion(batch, z)


def test_the_initialisation_of_the_paper():
    encoder = RecurrentEncoder(50, 20, 30, 4)
    initialise_lagging(encoder)
    assert 0.09 < encoder.embedding.weight.abs().max() <= 0.1
    rest = [p for name, p in encoder.named_parameters() if not name.startswith("embedding")]
    assert all(p.abs().max() <= 0.01 for p in rest)


def test_gradients_reach_every_weight(vae, corpus):
    batch: Batch = corpus.batch(range(len(corpus)))
    posterior = vae.train().posterior(batch)
    (vae.distortion(batch, posterior.transform(torch.randn(len(batch), 1, 3))).mean() + posterior.mu.sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in vae.parameters())


def test_the_encoder_reads_to_the_end_of_the_sentence(vae, corpus):
    one, other = corpus.batch([0]), corpus.batch([0])
    other.tokens[0, -2] = (other.tokens[0, -2] + 1) % len(corpus.vocabulary)
    assert isinstance(corpus, Corpus) and not torch.equal(vae.posterior(one).mu, vae.posterior(other).mu)


@pytest.mark.parametrize("how", ["last", "mean", "max"])
def test_what_the_posterior_is_read_from_is_that_of_the_sentence_alone(how, corpus):
    """Pads change nothing: every sentence by itself, with the formula of its own states."""
    torch.manual_seed(0)
    encoder = RecurrentEncoder(len(corpus.vocabulary), 5, 7, 3, state_pooling=how)
    together = encoder(corpus.batch(np.arange(len(corpus)))).posterior
    for i in range(len(corpus)):
        tokens = corpus.batch(np.array([i])).tokens
        states = encoder.cell(encoder.embedding(tokens))[0][0]
        summary = {"last": states[-1], "mean": states.mean(0), "max": states.max(0).values}[how]
        expected = torch.cat([together.mu[i], together.logvar[i]])
        assert torch.allclose(encoder.posterior(summary), expected, atol=1e-6)
