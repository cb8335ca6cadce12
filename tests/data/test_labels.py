"""Labels as users name them, and rows of parallel forms."""

import numpy as np
import pytest

from uncollapse.data.labels import LabelSpace
from uncollapse.data.reading import Columns, Texts, read_texts
from uncollapse.errors import UserError
from uncollapse.runs.builders.data import build_splits
from uncollapse.runs.config import Config
from uncollapse.tasks.forms.pairs import read_pairs

SPACE = LabelSpace({"tense": ("sp", "p"), "number": ("one", "many")})
TENSE = LabelSpace({"tense": ("sp", "p")})
ROWS = "walk walks walking walked\nsing sings singing sang\n"
COLUMNS = "tense: sp, tp, pg, p"


def test_labels_are_read_as_users_write_them():
    assert TENSE.read("p") == {"tense": "p"} == TENSE.read("tense=p") == TENSE.read({"tense": "p"})
    assert SPACE.read("tense=p, number=one") == {"tense": "p", "number": "one"}
    result = SPACE.of_sentences({"tense": ["sp", "p", "p"], "number": "many"}, 3)
    assert result["tense"].tolist() == [0, 1, 1] and result["number"].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("space", "asked", "count", "match"),
    [
        (SPACE, "p", 2, "expected field=label, of the fields tense, number"),
        (TENSE, "past", 2, "unknown label 'past' of tense: .*sp"),
        (TENSE, "tens=p", 2, "unknown label field 'tens': .*tense"),
        (SPACE, {"tense": "p"}, 2, "expected a label for number, got tense"),
        (TENSE, {"tense": 3}, 2, "labels of tense: expected text, got 3"),
        (TENSE, 3, 2, "labels: expected text, or names and values, got 3"),
        (TENSE, {"tense": ["p"]}, 2, r"one a sentence \(2\), got 1"),
    ],
)
def test_wrong_labels_are_said_in_one_line(space, asked, count, match):
    with pytest.raises(UserError, match=match):
        space.of_sentences(asked, count)


def test_rows_become_labelled_sentences_and_double_rows_count_once(tmp_path):
    path = tmp_path / "rows.txt"
    path.write_text(ROWS + "walk walks walking walked\n")
    result, messages = read_texts(path, "parallel", COLUMNS)
    assert result.texts[:4] == ["walk", "walks", "walking", "walked"] and result.rows == [0] * 4 + [1] * 4
    assert result.labels == {"tense": ["sp", "tp", "pg", "p"] * 2}
    assert messages == ["rows.txt: 1 rows that occur twice were taken once"]


def test_tabs_separate_forms_of_several_words(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_text("good morning\tguten Morgen\ngood night\tgute Nacht\n")
    result, _ = read_texts(path, "parallel", "language: en, de")
    assert result.texts == ["good morning", "guten Morgen", "good night", "gute Nacht"]


def test_bad_rows_name_their_line(tmp_path):
    path = tmp_path / "rows.txt"
    path.write_text(ROWS + "ring rings rang\n")
    with pytest.raises(
        UserError, match=r"rows.txt, line 3: expected 4 forms \(sp, tp, pg, p\), got 3: 'ring rings rang'"
    ):
        read_texts(path, "parallel", COLUMNS)
    for columns in ("", "tense", "tense: sp", "tense: sp, sp", ": sp, p", "tense: sp,, p"):
        with pytest.raises(UserError, match="data.columns: expected a label field"):
            Columns.parse(columns)


def test_whole_rows_are_held_out_but_never_those_of_the_pairs(tmp_path):
    words = [f"w{i}" for i in range(60)]
    (tmp_path / "train.txt").write_text("".join(f"{w} {w}s\n" for w in words))
    (tmp_path / "test.txt").write_text("".join(f"{w} {w}s\n" for w in words[:40]))
    data = {"path": str(tmp_path), "format": "parallel", "columns": "form: a, b", "level": "char", "held_out": 0.1}
    splits = build_splits(
        Config.from_settings({"data": data | {"pairs": "test.txt", "directions": ", ".join(["a>b"] * 40)}}).data
    )
    for part in ("valid", "test"):
        corpus = splits[part]
        assert len(corpus) == 12 and corpus.forms.shape == (6, 2)
        assert all(f"{corpus.text(int(a))}s" == corpus.text(int(b)) for a, b in corpus.forms)
        assert not set(corpus.texts()) & set(words[:40])
    assert splits.train.form_field == "form" and splits.train.label_names == {"form": ("a", "b")}


def test_siblings_are_forms_of_the_same_row_each_as_often():
    texts = Texts.of_rows([["a", "aa", "aaa"], ["b", "bb", "bbb"]], "form", ["x", "y", "z"])
    from uncollapse.data.corpus import Corpus
    from uncollapse.data.vocabulary import build_vocabulary

    corpus = Corpus.from_texts(texts.texts, build_vocabulary(texts.texts, "char"))
    corpus = Corpus(corpus.flat, corpus.offsets, corpus.vocabulary, rows=np.array([5, 5, 5, 9, 9, 9]))
    index = np.repeat(np.arange(6), 300)
    result = corpus.siblings(index, np.random.default_rng(0).random(len(index)))
    assert (corpus.rows[result] == corpus.rows[index]).all()
    for i in range(6):
        counts = np.bincount(result[index == i] % 3, minlength=3)
        assert counts.min() > 70


def test_pairs_are_read_with_their_directions(tmp_path):
    path = tmp_path / "pairs.txt"
    path.write_text("walk walked\nsang sing\n")
    pairs = read_pairs(path, "sp>p, p>sp")
    assert [(p.source, p.target, p.word, p.reference) for p in pairs] == [
        ("sp", "p", "walk", "walked"), ("p", "sp", "sang", "sing"),
    ]  # fmt: skip
    for directions, match in (("sp>p", "expected 1 pairs"), ("sp-p, p-sp", "directions such as 'sp>p")):
        with pytest.raises(UserError, match=match):
            read_pairs(path, directions)
    path.write_text("walk walked walking\n")
    with pytest.raises(UserError, match="line 1: expected a pair of forms"):
        read_pairs(path, "sp>p")


def test_the_verbs_corpus_holds_whole_verbs_out():
    splits = build_splits(Config.from_settings({"data": {"name": "verbs", "level": "char"}}).data)
    bases = [{splits[part].text(int(row[0])) for row in splits[part].forms} for part in ("train", "valid", "test")]
    assert not bases[0] & bases[1] and not bases[0] & bases[2] and not bases[1] & bases[2]
    assert len(bases[0]) + len(bases[1]) + len(bases[2]) >= 1500 and len(bases[1]) == len(bases[2]) > 100
    assert splits.train.label_names == {"tense": ("sp", "tp", "pg", "p")}
