import numpy as np
import pytest

from uncollapse.data.order import batches_an_epoch, ordered_batches, shuffled_batches
from uncollapse.data.vocabulary import BOS, EOS, PAD


def test_a_batch_holds_the_sentences_between_bos_and_eos(corpus):
    batch = corpus.batch([4, 0, 6])
    for row, i in enumerate([4, 0, 6]):
        ids = corpus.ids(i).tolist()
        expected = [BOS, *ids, EOS]
        assert batch.tokens[row].tolist() == expected + [PAD] * (batch.tokens.shape[1] - len(expected))
        assert batch.lengths[row] == len(ids) + 1 == batch.mask[row].sum()
        assert batch.tokens[row, batch.lengths[row]] == EOS
    assert batch.predicted == sum(len(corpus.ids(i)) + 1 for i in (4, 0, 6))


def test_texts_come_back(corpus):
    from tests.conftest import SENTENCES

    assert corpus.texts() == SENTENCES
    assert corpus.predicted == sum(len(s.split()) + 1 for s in SENTENCES)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_no_sentence_is_lost_or_repeated_in_an_epoch(batch_size):
    lengths = np.random.default_rng(0).integers(2, 12, 95)
    for epoch in range(3):
        batches = shuffled_batches(lengths, batch_size, seed=5, epoch=epoch)
        assert sorted(np.concatenate(batches)) == list(range(95))
        assert len(batches) == -(-95 // batch_size)
    assert sorted(np.concatenate(ordered_batches(lengths, batch_size))) == list(range(95))


def test_the_order_is_a_function_of_seed_and_epoch_and_batches_are_of_like_length():
    lengths = np.random.default_rng(1).integers(2, 30, 2000)
    one, same = shuffled_batches(lengths, 16, 3, epoch=7), shuffled_batches(lengths, 16, 3, epoch=7)
    assert all((a == b).all() for a, b in zip(one, same, strict=True))
    other = shuffled_batches(lengths, 16, 3, epoch=8)
    assert any((a != b).any() for a, b in zip(one[:-1], other[:-1], strict=True) if len(a) == len(b))
    assert max(np.ptp(lengths[b]) for b in one) <= 1
    means = [lengths[b].mean() for b in one]
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.3


def test_batches_of_one_length_are_put_together_once_and_mixed_anew():
    """As `text_data.py` of He et al. 2019 cuts them: along the sentences sorted by length, anew wherever the length changes."""
    lengths = np.random.default_rng(2).integers(2, 9, 300)
    expected, now = [], []
    for i in np.argsort(lengths, kind="stable"):
        if now and (len(now) == 16 or lengths[now[-1]] != lengths[i]):
            expected.append(now)
            now = []
        now.append(i)
    expected.append(now)

    epochs = [shuffled_batches(lengths, 16, 3, epoch=epoch, order="equal") for epoch in range(3)]
    together = [[tuple(batch) for batch in epoch] for epoch in epochs]
    assert sorted(together[0]) == sorted(together[1]) == sorted(map(tuple, expected))
    assert together[0] != together[1] != together[2] != sorted(together[2])
    assert len(expected) == batches_an_epoch(lengths, 16, "equal") > batches_an_epoch(lengths, 16) == 19


def test_sorted_batches_are_the_same_in_every_epoch():
    lengths = np.random.default_rng(3).integers(2, 30, 100)
    one, other = (np.concatenate(shuffled_batches(lengths, 16, 3, epoch=e, order="sorted")) for e in (0, 1))
    assert (one == other).all() and (lengths[one] == np.sort(lengths)).all()
    assert batches_an_epoch(lengths, 16, "sorted") == 7


def test_random_batches_are_of_all_lengths_and_others_in_every_epoch():
    lengths = np.random.default_rng(4).integers(2, 30, 1000)
    epochs = [shuffled_batches(lengths, 100, 3, epoch=epoch, order="random") for epoch in (0, 1)]
    for batches in epochs:
        assert sorted(np.concatenate(batches)) == list(range(1000)) and len(batches) == 10
        assert min(np.ptp(lengths[batch]) for batch in batches) > 20
    assert not {tuple(sorted(batch)) for batch in epochs[0]} & {tuple(sorted(batch)) for batch in epochs[1]}


def test_a_subset_keeps_sentences_and_labels(corpus):
    from dataclasses import replace

    labelled = replace(corpus, labels={"x": np.arange(len(corpus))})
    part = labelled.subset(np.array([5, 1]))
    assert part.texts() == corpus.texts([5, 1]) and part.labels["x"].tolist() == [5, 1]
