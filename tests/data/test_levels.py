"""What a token is, chosen by the text."""

import numpy as np
import pytest

from tests.conftest import needs_shared
from uncollapse.data.grammar import english
from uncollapse.data.levels import choose_tokens
from uncollapse.data.settings import DataConfig
from uncollapse.data.splits import CUT, load_splits
from uncollapse.errors import UserError
from uncollapse.tasks.forms.morphology import verbs

RAW = [f"Sentence {i} isn't like number {i * 7}." for i in range(3000)]


def words(count, seed=0):
    """Return sentences of words drawn by Zipf's law, in which many are rare."""
    draws = np.random.default_rng(seed).zipf(1.3, size=(count, 10))
    return [" ".join(f"w{word}" for word in row) for row in draws]


@pytest.mark.parametrize(
    ("texts", "level"),
    [
        (verbs(0, 500)["train"].texts, "char"),
        (english().sample(2000, np.random.default_rng(0))[0], "word"),
        ([f"a cut text , of {i} and <unk>" for i in range(3000)], "word"),
        ([f"a cut text , of {i} and _UNK" for i in range(3000)], "word"),
        (RAW, "bpe"),
        (words(500), "bpe"),
    ],
)
def test_the_level_is_chosen_by_the_text(texts, level):
    assert choose_tokens(texts, len(texts)).level == level


def test_more_text_gives_more_subwords_and_a_level_that_is_said_is_kept():
    assert [choose_tokens(RAW, n).most for n in (3000, 30_000, 10**5, 10**7)] == [1000, 2000, 4000, 8000]
    for level in ("word", "char", "bpe"):
        assert choose_tokens(RAW, len(RAW), level).level == level


def test_what_is_chosen_is_said_and_taken(tmp_path):
    path = tmp_path / "raw.txt"
    path.write_text("\n".join(RAW))
    splits = load_splits(DataConfig(path=str(path), level="auto", max_vocab=300))
    assert splits.vocabulary.level == "bpe" and len(splits.vocabulary) == 304
    assert any("tokens: subwords, at most 300 (" in remark for remark in splits.messages)
    assert splits.train.texts(range(3))[0].startswith("Sentence ")  # every text comes back as it was written


def test_paragraphs_are_refused_with_the_command_that_cuts_them(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text("\n".join([" ".join(["word"] * 300)] * 30 + ["short"] * 25))
    with pytest.raises(UserError, match=r"lines are longer than data.max_length \(256 tokens\)") as error:
        load_splits(DataConfig(path=str(path)))
    assert CUT in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("ptb/ptb.train.txt", "word"),
        ("yahoo/val.txt", "word"),
        ("tatoeba/english.txt", "bpe"),
        ("synthetic/synthetic_train.txt", "word"),
    ],
)
def test_real_corpora(name, level):
    texts = needs_shared(name).read_text().splitlines()
    assert choose_tokens(texts, len(texts)).level == level
