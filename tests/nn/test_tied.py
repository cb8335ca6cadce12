"""The embeddings as the weight of the output layer."""

import pytest
import torch
import torch.nn.functional as F

import uncollapse as uc
from tests.conftest import TINY
from uncollapse.nn.decoders import ConvolutionalDecoder, RecurrentDecoder
from uncollapse.runs.config import merge

H, Z = 6, 2
TIED = merge(TINY, {"decoder": {"tied": True, "emb": 12, "hidden": 12}, "train": {"epochs": 1}})


@pytest.mark.parametrize("kind", [RecurrentDecoder, ConvolutionalDecoder])
def test_both_uses_of_the_table_reach_its_gradient(kind, corpus):
    """The gradient is that of an untied decoder with equal tables: of the embeddings plus of the output layer."""
    torch.manual_seed(0)
    words, batch = len(corpus.vocabulary), corpus.batch([0, 1, 2])
    tied, untied = kind(words, H, H, Z, tied=True), kind(words, H, H, Z)
    assert len(list(tied.parameters())) == len(list(untied.parameters())) - 1
    untied.load_state_dict(tied.state_dict())
    z = torch.randn(3, 1, Z)
    for decoder in (tied, untied):
        decoder(batch, z).sum().backward()
    total = untied.embedding.weight.grad + untied.output.weight.grad
    torch.testing.assert_close(tied.embedding.weight.grad, total)
    assert untied.embedding.weight.grad.abs().max() > 1e-4 and untied.output.weight.grad.abs().max() > 1e-4
    # the logits of a step: the state times the table
    token, state = torch.tensor([5]), tied.start(z[0])
    states, _ = tied.run(tied.embedding(token)[:, None], z[:1, 0][:, None], tuple(state[:-1]))
    torch.testing.assert_close(tied.step(token, state)[0], F.linear(states[:, 0], tied.embedding.weight))


@pytest.mark.parametrize("share", [False, True])
def test_a_tied_decoder_is_trained_saved_and_loaded(share, tmp_path):
    settings = merge(TIED, {"model": {"share_embedding": share}, "encoder": {"emb": 12}})
    run = uc.train("grammar", "kl-target", out=tmp_path / "run", callbacks=[], **settings)
    decoder, encoder = run.model.decoder, run.model.encoder
    assert decoder.embedding.weight is decoder.output.weight
    assert (encoder.embedding.weight is decoder.output.weight) == share
    again = uc.load(tmp_path / "run")
    assert again.model.decoder.embedding.weight is again.model.decoder.output.weight
    assert torch.equal(again.model.decoder.output.weight, decoder.output.weight) and again.sample(3) == run.sample(3)


def test_a_decoder_made_anew_after_pretraining_is_tied(tmp_path):
    """Trained after it, one table has the gradient of both uses; a weight of its own would drift away."""
    settings = merge(TIED, {"train": {"epochs": 3, "pretrain_epochs": 1}})
    decoder = uc.train("grammar", "fbp", out=tmp_path / "run", **settings).model.decoder
    assert decoder.embedding.weight is decoder.output.weight


def test_widths_that_differ_are_refused(tmp_path):
    with pytest.raises(uc.UserError, match="decoder.tied: expected decoder.emb equal to decoder.hidden, got 7 and 12"):
        uc.train("grammar", out=tmp_path / "run", **merge(TIED, {"decoder": {"emb": 7}}))
