import itertools
from functools import partial

import pytest
import torch

from tests.conftest import tiny_vae
from uncollapse.data.corpus import Corpus
from uncollapse.data.vocabulary import BOS, EOS, PAD, SPECIALS, UNK, Vocabulary
from uncollapse.errors import UserError
from uncollapse.generation import decoding
from uncollapse.generation.beam import beam_search
from uncollapse.generation.decode import decode
from uncollapse.generation.decoding import ancestral, repeats, top_k_filter, top_p_filter

Decoding = partial(decoding.Decoding, no_unknown=False)  # the decoders of these tests know no other tokens
SAMPLE = Decoding("sample")
EVERY = [
    Decoding(),
    SAMPLE,
    Decoding("top-k", top_k=3, temperature=1.5),
    Decoding("nucleus", top_p=0.7),
    Decoding("beam", beam_width=3),
    Decoding("beam", beam_width=3, length_penalty=1.0),
    Decoding("sample", min_length=3, no_repeat=2),
    Decoding("beam", beam_width=4, min_length=3, no_repeat=2),
]


def codes(n, seed=0):
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))


def best(decoder, z, decoding=None, longest=8, seed=0):
    return [result[0] for result in decode(decoder, z, decoding or Decoding(), length_limit=longest, seed=seed)]


def vivid(vocabulary, cell, seed=0):
    """Return a decoder of random weights whose probabilities are far from even."""
    decoder = tiny_vae(vocabulary, cell=cell, seed=seed).decoder
    with torch.no_grad():
        decoder.output.weight.mul_(6)
        decoder.embedding.weight.mul_(3)
    return decoder


def log_prob(decoder, z, ids):
    """Return log p(sentence, EOS) by stepping through it."""
    state, token, total = decoder.start(z[None]), torch.tensor([BOS]), 0.0
    for following in [*ids, EOS]:
        logits, state = decoder.step(token, state)
        total += logits.double().log_softmax(-1)[0, following].item()
        token = torch.tensor([following])
    return total


def test_greedy_takes_the_best_token_at_every_step(cell):
    decoder = tiny_vae(9, cell=cell).decoder
    for z, sentence in zip(codes(12), best(decoder, codes(12)), strict=True):
        state, token, expected = decoder.start(z[None]), torch.tensor([BOS]), []
        while len(expected) < 8:
            logits, state = decoder.step(token, state)
            logits[:, [PAD, BOS]] = -torch.inf  # never written
            token = logits.argmax(-1)
            if token == EOS:
                break
            expected.append(token.item())
        assert sentence == expected


@pytest.mark.parametrize("decoding", EVERY, ids=lambda d: f"{d.strategy}-{d.length_penalty:g}-{d.min_length}")
def test_results_do_not_depend_on_the_batch(cell, decoding, monkeypatch):
    from uncollapse.generation import decode as module

    decoder = vivid(9, cell)
    whole = best(decoder, codes(30), decoding, 10, seed=4)
    assert best(decoder, codes(30), decoding, 10, seed=4) == whole
    monkeypatch.setattr(module, "ROWS_AT_A_TIME", 7)
    assert best(decoder, codes(30), decoding, 10, seed=4) == whole
    assert best(decoder, codes(30)[:11], decoding, 10, seed=4) == whole[:11]
    assert max(map(len, whole)) <= 10 and len({tuple(ids) for ids in whole}) >= 3


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_a_beam_of_one_and_top_1_are_greedy(cell, penalty):
    decoder = vivid(9, cell)
    greedy = best(decoder, codes(40))
    assert best(decoder, codes(40), Decoding("beam", beam_width=1, length_penalty=penalty)) == greedy
    assert best(decoder, codes(40), Decoding("top-k", top_k=1), seed=3) == greedy
    assert best(decoder, codes(40), Decoding("nucleus", top_p=1e-6), seed=3) == greedy


@pytest.mark.parametrize("penalty", [0.0, 0.7])
def test_a_wide_beam_is_the_best_of_all_sentences(cell, penalty):
    words, longest = (4, 5, 6), 4
    decoder = vivid(7, cell)
    with torch.no_grad():  # a vocabulary of three words: the special tokens are never written
        forbidden = torch.zeros(7, requires_grad=False)
        forbidden[[0, 1, 3]] = -1e9
        decoder.output.bias = torch.nn.Parameter(forbidden)
    everything = [ids for n in range(longest + 1) for ids in itertools.product(words, repeat=n)]
    result = beam_search(
        decoder, codes(3), Decoding("beam", 1.0, beam_width=200, n_best=6, length_penalty=penalty), length_limit=longest
    )
    for z, beams in zip(codes(3), result, strict=True):
        ranked = sorted(
            ((log_prob(decoder, z, ids) / (len(ids) + 1) ** penalty, ids) for ids in everything), reverse=True
        )
        assert [tuple(one.ids) for one in beams] == [ids for _, ids in ranked[:6]]
        assert [one.score for one in beams] == pytest.approx([score for score, _ in ranked[:6]], abs=1e-4)


@pytest.mark.parametrize(("width", "penalty"), [(2, 0.0), (3, 0.0), (3, 1.0)])
def test_beams_are_those_of_a_plain_search(cell, width, penalty):
    decoder, longest = vivid(9, cell, seed=2), 7
    decoding = Decoding("beam", beam_width=width, n_best=width, length_penalty=penalty)
    for z, beams in zip(codes(8), beam_search(decoder, codes(8), decoding, length_limit=longest), strict=True):
        in_hand, finished = [((), 0.0)], []
        for position in range(longest + 1):
            grown = []
            for ids, score in in_hand:
                log_p = log_probs_of_next(decoder, z, ids)
                next_tokens = range(2, 9) if position < longest else [EOS]
                grown += [((*ids, token), score + log_p[token]) for token in next_tokens]
            grown.sort(key=lambda one: -one[1])
            finished += [one for one in grown[:width] if one[0][-1] == EOS]
            in_hand = [one for one in grown if one[0][-1] != EOS][:width]
            if len(finished) >= width:
                break
        finished = sorted(finished[:width], key=lambda one: -one[1] / len(one[0]) ** penalty)
        assert [tuple(one.ids) for one in beams] == [ids[:-1] for ids, _ in finished]
        for one in beams:
            assert one.log_prob == pytest.approx(log_prob(decoder, z, one.ids), abs=1e-4)


def log_probs_of_next(decoder, z, ids):
    state, read = decoder.start(z[None]), [BOS, *ids]
    for one in read:
        logits, state = decoder.step(torch.tensor([one]), state)
    return logits.double().log_softmax(-1)[0].tolist()


def test_the_whole_vocabulary_and_the_whole_nucleus_are_ancestral(cell):
    decoder = vivid(9, cell)
    drawn = best(decoder, codes(200), SAMPLE, seed=5)
    assert best(decoder, codes(200), Decoding("top-k", top_k=9), seed=5) == drawn
    assert best(decoder, codes(200), Decoding("nucleus", top_p=1.0), seed=5) == drawn


@pytest.mark.parametrize(
    ("decoding", "kept"),
    [
        (SAMPLE, lambda p: p),
        (Decoding("sample", temperature=2.0), lambda p: p.sqrt()),
        (Decoding("top-k", top_k=2), lambda p: p * (p >= p.sort(descending=True).values[1])),
        (Decoding("nucleus", top_p=0.5), lambda p: p * (p.sort(descending=True).values.cumsum(0) - p.sort(descending=True).values)[p.argsort(descending=True).argsort()].lt(0.5)),
    ],
    ids=["sample", "temperature", "top-k", "nucleus"],
)  # fmt: skip
def test_draws_have_the_probabilities_they_should(cell, decoding, kept):
    decoder = tiny_vae(6, cell=cell).decoder
    z = codes(1).expand(40_000, -1)
    drawn = best(decoder, z, decoding, 1, seed=1)
    logits, _ = decoder.step(torch.tensor([BOS]), decoder.start(z[:1]))
    logits[:, [PAD, BOS]] = -torch.inf  # never written
    expected = kept(logits.softmax(-1)[0])
    for token, p in enumerate((expected / expected.sum()).tolist()):
        share = sum(s == ([] if token == EOS else [token]) for s in drawn) / 40_000
        assert abs(share - p) < 5 * (p * (1 - p) / 40_000) ** 0.5 + 1e-4


def test_ancestral_inverts_the_distribution_function():
    logits = torch.tensor([[0.1, 0.2, 0.7]]).log().expand(5, 3)
    assert ancestral(logits, torch.tensor([0.0, 0.099, 0.101, 0.299, 0.9999999])).tolist() == [0, 0, 1, 1, 2]
    certain = torch.tensor([[0.0, -torch.inf, -torch.inf]])
    assert ancestral(certain, torch.tensor([0.9999999])).tolist() == [0]
    impossible = torch.tensor([[-torch.inf, 0.0, -torch.inf]])  # at 0, too, a token of probability 0 is never taken
    assert ancestral(impossible, torch.tensor([0.0])).tolist() == [1]


def test_what_is_kept_is_exact():
    even = torch.zeros(1, 4)  # ties: still k of them
    assert top_k_filter(even, 2).isfinite().sum() == 2
    logits = torch.tensor([[0.2, 0.5, 0.05, 0.25]]).log()
    assert top_p_filter(logits, 0.5).isfinite().tolist() == [[False, True, False, False]]
    assert top_p_filter(logits, 0.51).isfinite().tolist() == [[False, True, False, True]]
    assert top_p_filter(logits, 0.96).isfinite().all()


def test_repeats_are_those_that_a_search_by_eye_finds():
    written = torch.tensor([[4, 5, 4, 6, 4], [4, 4, 4, 4, 4], [4, 5, 6, 7, 8]])
    assert [row.nonzero()[:, 0].tolist() for row in repeats(written, 2, 9)] == [[5, 6], [4], []]
    assert [row.nonzero()[:, 0].tolist() for row in repeats(written, 1, 9)] == [[4, 5, 6], [4], [4, 5, 6, 7, 8]]
    assert not repeats(written[:, :1], 2, 9).any()


@pytest.mark.parametrize("strategy", ["greedy", "sample", "beam"])
def test_lengths_and_repetition_are_kept(cell, strategy):
    decoder = vivid(9, cell)
    with torch.no_grad():  # eager to end, and to say the same again
        decoder.output.bias = torch.nn.Parameter(torch.tensor([-9.0, -9, 3, -9, 4, 0, 0, 0, 0]))
    decoding = Decoding(strategy, min_length=4, max_length=6, no_repeat=2)
    for ids in best(decoder, codes(20), decoding, 30):
        pairs = list(itertools.pairwise(ids))
        assert 4 <= len(ids) <= 6 and len(set(pairs)) == len(pairs)
    assert any(len(ids) < 4 for ids in best(decoder, codes(20), Decoding(strategy), 30))


def test_a_sentence_may_end_early_where_nothing_else_is_left():
    decoder = tiny_vae(5).decoder
    decoding = Decoding(min_length=8, no_repeat=1)  # five tokens, EOS among them
    assert all(sorted(ids) == [3, 4] for ids in best(decoder, codes(9), decoding, 20))


@pytest.mark.parametrize("strategy", ["greedy", "sample", "beam"])
def test_pads_and_beginnings_are_never_written_nor_the_unknown_if_so_asked(cell, strategy):
    decoder = vivid(6, cell)
    written = {i for ids in best(decoder, codes(60), Decoding(strategy, min_length=5), 12) for i in ids}
    assert UNK in written and not written & {PAD, BOS, EOS}
    known = {i for ids in best(decoder, codes(60), Decoding(strategy, min_length=5, no_unknown=True), 12) for i in ids}
    assert known <= {4, 5} and known


def test_draws_do_not_depend_on_how_long_they_may_be():
    decoder = tiny_vae(9).decoder
    short, long = (best(decoder, codes(40), SAMPLE, longest, seed=2) for longest in (12, 40))
    assert any(short) and all(a == b[:12] for a, b in zip(short, long, strict=True))


def test_beams_score_as_the_model_does(cell):
    model = tiny_vae(9, cell=cell)
    vocabulary = Vocabulary((*SPECIALS, *"abcde"))
    for z, beams in zip(
        codes(6), beam_search(model.decoder, codes(6), Decoding("beam", n_best=3), length_limit=6), strict=True
    ):
        for one in beams:
            lengths = [0, len(one.ids)]
            batch = Corpus(torch.tensor(one.ids).numpy(), torch.tensor(lengths).numpy(), vocabulary).batch([0])
            assert one.log_prob == pytest.approx(-model.distortion(batch, z[None, None]).item(), abs=1e-4)


def test_seeds_differ_and_nothing_else_is_drawn():
    decoder = tiny_vae(9).decoder
    before = torch.get_rng_state()
    assert best(decoder, codes(20), SAMPLE, 10, seed=1) != best(decoder, codes(20), SAMPLE, 10, seed=2)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "nuclear"}, "did you mean nucleus"),
        ({"temperature": 0.0}, "from 1e-6 to 1e6, got 0"),
        ({"temperature": 1e300}, "from 1e-6 to 1e6, got 1e"),
        ({"top_p": 1.5}, "at most 1, got 1.5"),
        ({"top_k": 0}, "at least 1, got 0"),
        ({"strategy": "beam", "n_best": 6}, "at most beam_width 5, got 6"),
        ({"n_best": 2}, "1 unless decoding by beam"),
        ({"min_length": 5, "max_length": 4}, "at most max_length 4, got 5"),
        ({"top_k": 2.5}, "top_k: expected an integer of at least 1, got 2.5"),
        ({"temperature": "1"}, "temperature: expected a number, got '1'"),
    ],
)
def test_impossible_decodings_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        Decoding(**options)
