import numpy as np
import pytest

from uncollapse.data.corpus import ordered_batches, shuffled_batches
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


def test_a_subset_keeps_sentences_and_labels(corpus):
    from dataclasses import replace

    labelled = replace(corpus, labels={"x": np.arange(len(corpus))})
    part = labelled.subset(np.array([5, 1]))
    assert part.texts() == corpus.texts([5, 1]) and part.labels["x"].tolist() == [5, 1]
