import pytest

from uncollapse.data.splits import EMBEDDED, embedded
from uncollapse.data.vocabulary import UNK
from uncollapse.errors import UserError
from uncollapse.runs.builders.data import EMBEDDED as CORPORA
from uncollapse.runs.builders.data import build_splits
from uncollapse.runs.config import Config


def splits_of(**data):
    return build_splits(Config.from_settings({"data": data}).data)


def test_the_vocabulary_comes_from_the_training_split_alone(tmp_path):
    (tmp_path / "train.txt").write_text("a b\n" * 30)
    (tmp_path / "valid.txt").write_text("a secret\n")
    (tmp_path / "test.txt").write_text("b hidden\n")
    splits = splits_of(path=str(tmp_path))
    assert splits.vocabulary.tokens[4:] == ("a", "b")
    assert splits.valid.ids(0)[1] == UNK and splits.valid.unknown == 1


def test_too_long_sentences_are_counted_and_reported(tmp_path):
    (tmp_path / "train.tsv").write_text("0\ta b c d\n1\ta b\n" * 20)
    (tmp_path / "valid.tsv").write_text("0\ta\n")
    (tmp_path / "test.tsv").write_text("1\ta b c\n0\ta\n")
    splits = splits_of(path=str(tmp_path), max_length=2)
    assert splits.train.left_out == 20 and splits.train.labels["label"].tolist() == [1] * 20
    assert any("train: 20 of 40 sentences are longer than data.max_length" in r for r in splits.messages)
    assert any("test: 1 of 2" in r for r in splits.messages)
    with pytest.raises(UserError, match="every sentence is longer"):
        splits_of(path=str(tmp_path), max_length=1)


@pytest.mark.parametrize("name", ["grammar", "synthetic"])
def test_embedded_corpora_are_reproducible_and_their_parts_differ(name):
    one, same, other = EMBEDDED[name](0, 300), EMBEDDED[name](0, 300), EMBEDDED[name](1, 300)
    assert one == same and one["train"].texts != other["train"].texts
    assert one["train"].texts[:50] != one["valid"].texts[:50] and len(one["train"].texts) == 300


def test_synthetic_has_the_published_shape():
    parts = EMBEDDED["synthetic"](0, 0)
    assert [len(p.texts) for p in parts.values()] == [16000, 2000, 2000]
    tokens = {token for text in parts["train"].texts for token in text.split()}
    assert all(len(text.split()) == 10 for text in parts["test"].texts) and max(map(int, tokens)) < 1000


def test_the_floor_is_known_for_the_grammar_alone():
    splits = splits_of(name="grammar", sentences=10000)
    assert 15 < splits.floor["test"] < 18 and set(splits.floor) == {"valid", "test"}
    assert splits_of(name="synthetic", sentences=300).floor == {}


@pytest.mark.parametrize("data", [{}, {"name": "grammar", "path": "x"}])
def test_exactly_one_source_is_needed(data):
    with pytest.raises(UserError, match=r"expected --data.path FILE or --data.name"):
        splits_of(**data)


def test_a_label_may_occur_in_one_split_alone(tmp_path):
    (tmp_path / "train.tsv").write_text("0\ta\n1\tb\n" * 20)
    (tmp_path / "valid.tsv").write_text("2\ta\n")
    splits = splits_of(path=str(tmp_path))
    assert splits.valid.label_names["label"] == ("0", "1", "2") and splits.valid.labels["label"].tolist() == [2]


def test_the_floor_is_that_of_the_sentences_the_model_sees():
    from uncollapse.data.grammar import english

    all_of_them = splits_of(name="grammar", sentences=10000, max_length=14)
    assert all_of_them.floor["test"] == pytest.approx(english().nll(all_of_them.test.texts()))
    # of short sentences alone log p(x) is no floor: a model that knows that they are short is better by log P(short)
    assert splits_of(name="grammar", sentences=10000, max_length=8).floor == {}
    assert splits_of(name="grammar", sentences=300, max_vocab=30).floor == {}


@pytest.mark.parametrize("name", ["grammar", "synthetic", "verbs"])
def test_sentences_beyond_memory_are_refused_and_any_seed_is_taken(name):
    with pytest.raises(UserError, match=r"data\.sentences: expected at most 10"):
        embedded(name, 0, 10**26, corpora=CORPORA)
    assert len(embedded(name, 10**26, 8, corpora=CORPORA)["train"].texts) == 8


@pytest.mark.parametrize("source", [{"name": "grammar"}, {"path": "no.txt", "format": "parallel"}])
@pytest.mark.parametrize("columns", ["a", "a:", "a: b", "a: b, b", ": b, c"])
def test_columns_without_a_field_and_two_names_are_refused(source, columns):
    with pytest.raises(UserError, match="data.columns: expected a label field and the names"):
        splits_of(columns=columns, **source)
