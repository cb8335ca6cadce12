import pytest
import torch

from tests.conftest import tiny_vae
from uncollapse.data.vocabulary import BOS, EOS
from uncollapse.generation.choose import ancestral, greedy
from uncollapse.generation.decode import decode


def codes(n, seed=0):
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))


def test_greedy_takes_the_best_token_at_every_step(cell):
    decoder = tiny_vae(9, cell=cell).decoder
    for z, sentence in zip(codes(12), decode(decoder, codes(12), greedy, 8), strict=True):
        state, token, expected = decoder.start(z[None]), torch.tensor([BOS]), []
        while len(expected) < 8:
            logits, state = decoder.step(token, state)
            token = logits.argmax(-1)
            if token == EOS:
                break
            expected.append(token.item())
        assert sentence == expected


@pytest.mark.parametrize("choose", [greedy, ancestral])
def test_results_do_not_depend_on_the_batch(cell, choose, monkeypatch):
    from uncollapse.generation import decode as module

    decoder = tiny_vae(9, cell=cell).decoder
    whole = decode(decoder, codes(30), choose, 10, seed=4)
    assert decode(decoder, codes(30), choose, 10, seed=4) == whole
    monkeypatch.setattr(module, "ROWS_AT_A_TIME", 7)
    assert decode(decoder, codes(30), choose, 10, seed=4) == whole
    assert max(map(len, whole)) <= 10


def test_ancestral_draws_have_the_probabilities_of_the_model(cell):
    decoder = tiny_vae(6, cell=cell).decoder
    z = codes(1).expand(40_000, -1)
    drawn = decode(decoder, z, ancestral, 1, seed=1)
    logits, _ = decoder.step(torch.tensor([BOS]), decoder.start(z[:1]))
    for token, p in enumerate(logits.softmax(-1)[0].tolist()):
        share = sum(s == ([] if token == EOS else [token]) for s in drawn) / 40_000
        assert abs(share - p) < 5 * (p * (1 - p) / 40_000) ** 0.5 + 1e-4


def test_ancestral_inverts_the_distribution_function():
    logits = torch.tensor([[0.1, 0.2, 0.7]]).log().expand(5, 3)
    assert ancestral(logits, torch.tensor([0.0, 0.099, 0.101, 0.299, 0.9999999])).tolist() == [0, 0, 1, 1, 2]
    certain = torch.tensor([[0.0, -torch.inf, -torch.inf]])
    assert ancestral(certain, torch.tensor([0.9999999])).tolist() == [0]
    impossible = torch.tensor([[-torch.inf, 0.0, -torch.inf]])  # at 0, too, a token of probability 0 is never taken
    assert ancestral(impossible, torch.tensor([0.0])).tolist() == [1]


def test_seeds_differ_and_nothing_else_is_drawn():
    decoder = tiny_vae(9).decoder
    before = torch.get_rng_state()
    assert decode(decoder, codes(20), ancestral, 10, seed=1) != decode(decoder, codes(20), ancestral, 10, seed=2)
    assert torch.equal(before, torch.get_rng_state())
