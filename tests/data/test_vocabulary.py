import pytest

from uncollapse.data import vocabulary
from uncollapse.data.vocabulary import BOS, EOS, PAD, SPECIALS, UNK, Vocabulary, build_vocabulary
from uncollapse.errors import UserError


@pytest.mark.parametrize("level", ["word", "char"])
def test_known_text_round_trips(level):
    texts = ["the cat sat", "a  dog ran" if level == "char" else "a dog ran", "naïve café 東京"]
    vocabulary = build_vocabulary(texts, level)
    assert [vocabulary.decode(vocabulary.encode(t)) for t in texts] == texts


def test_frequency_order_size_and_count():
    texts = ["b b b a a c"]
    assert build_vocabulary(texts).tokens == (*SPECIALS, "b", "a", "c")
    assert build_vocabulary(texts, max_size=2).tokens == (*SPECIALS, "b", "a")
    assert build_vocabulary(texts, min_count=2).tokens == (*SPECIALS, "b", "a")
    assert build_vocabulary(["x y", "z x"]).tokens == (*SPECIALS, "x", "y", "z")


def test_unknown_words_and_written_unknowns_are_one():
    vocabulary = build_vocabulary(["the <unk> sat on _UNK", "the"])
    assert "_UNK" not in vocabulary.tokens[4:] and "<unk>" not in vocabulary.tokens[4:]
    assert vocabulary.encode("the <unk> _UNK never")[1:] == [UNK, UNK, UNK]
    assert vocabulary.decode([UNK]) == "<unk>"


def test_specials_are_not_written():
    vocabulary = build_vocabulary(["a b"])
    a, b = vocabulary.encode("a b")
    assert vocabulary.decode([BOS, a, PAD, b, EOS, a]) == "a b"


def test_what_a_text_writes_like_a_special_token_is_no_command():
    vocabulary = build_vocabulary(["<s> a b </s>", "a <pad> b"])
    a, b = vocabulary.encode("a b")
    assert vocabulary.encode("<s> a b </s>") == [a, b]
    assert vocabulary.encode("a <pad> b </s> <s>") == [a, UNK, b, UNK, UNK]
    assert build_vocabulary(["_UNK a", "_UNK b"], lowercase=True).encode("_UNK a") == [UNK, 4]


def test_lowercase_belongs_to_the_vocabulary():
    vocabulary = build_vocabulary(["The CAT"], lowercase=True)
    assert vocabulary.encode("THE cat") == vocabulary.encode("the Cat") and UNK not in vocabulary.encode("THE cat")


def test_characters_of_special_names_are_ordinary():
    vocabulary = Vocabulary((*SPECIALS, "<", "u"), "char")
    assert vocabulary.decode(vocabulary.encode("<u")) == "<u"


RAW = [
    "It's a test, isn't it?",
    "Les élèves naïfs — déjà vus.",
    "  outer blanks  ",
    "<s> is no command </s>",
    "日本語 🎉",
]


def test_subwords_give_every_text_back_and_know_no_unknown():
    vocabulary = build_vocabulary(RAW * 5, "bpe", max_size=300)
    assert len(vocabulary) <= 304 and vocabulary.tokens[:4] == SPECIALS
    unseen = [*RAW, "Qwxz 123 never seen ☃", ""]
    for text in unseen:
        ids = vocabulary.encode(text)
        assert (
            vocabulary.decode(ids) == text.strip()
            and min(ids, default=4) >= 4
            and max(ids, default=4) < len(vocabulary)
        )
    assert vocabulary.encode_all(unseen) == [vocabulary.encode(text) for text in unseen]


def test_subwords_are_learned_from_what_is_frequent_and_the_same_each_time():
    texts = ["the lower the newer", "the newest and the lowest"] * 30
    one, same = (build_vocabulary(texts, "bpe", max_size=290) for _ in range(2))
    assert one == same and "Ġthe" in one.tokens
    assert len(one.encode("the lowest")) < len(build_vocabulary(texts, "bpe", max_size=256).encode("the lowest")) == 11
    assert one.encode("THE") != one.encode("the") == build_vocabulary(texts, "bpe", True, max_size=290).encode("THE")


def test_an_unknown_letter_is_one_letter():
    vocabulary = build_vocabulary(["ab"], "char")
    ids = vocabulary.encode("a?b")
    assert len(vocabulary.decode(ids)) == 3 and vocabulary.encode(vocabulary.decode(ids)) == ids


def test_too_few_subwords_are_refused():
    with pytest.raises(UserError, match="at least 256 for data.level bpe.* got 255"):
        build_vocabulary(["a"], "bpe", max_size=255)


def test_a_written_unknown_that_a_vocabulary_holds_is_a_word_of_its_own():
    assert Vocabulary((*SPECIALS, "a", "_UNK")).encode("a _UNK <unk> b") == [4, 5, UNK, UNK]


def test_subwords_are_learned_from_the_beginning_of_a_long_text(monkeypatch):
    monkeypatch.setattr(vocabulary, "LEARNED", 6)
    tokens = build_vocabulary(["abcabc" + "zyzyzy"] * 5, "bpe", max_size=300).tokens
    assert "abc" in "".join(tokens) and "zy" not in tokens and "yz" not in tokens
