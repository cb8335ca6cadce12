import gzip
import json
import os
from pathlib import Path

import pytest

import uncollapse as uc
from tests.conftest import needs_shared
from uncollapse.data import reading
from uncollapse.data.lines import Lines
from uncollapse.data.parts import read_parts
from uncollapse.data.picture_files import pictures_in, read_pictures
from uncollapse.data.reading import read_texts
from uncollapse.data.settings import DataConfig
from uncollapse.errors import UserError


def data(path, **settings):
    return DataConfig(path=str(path), **settings)


def write(path, content):
    data = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_the_three_formats_plain_and_compressed(tmp_path, suffix):
    txt = write(tmp_path / f"a.txt{suffix}", "one two\n\n  \nthree\r\n")
    assert read_texts(txt)[0].texts == ["one two", "three"]
    tsv, _ = read_texts(write(tmp_path / f"a.tsv{suffix}", "1\tgood food\n0\tbad\tfood\n"))
    assert tsv.texts == ["good food", "bad\tfood"] and tsv.labels == {"label": ["1", "0"]}
    rows = [{"text": "a b", "label": "x"}, {"text": "c", "label": "y"}]
    jsonl, _ = read_texts(write(tmp_path / f"a.jsonl{suffix}", "\n".join(map(json.dumps, rows))))
    assert jsonl.texts == ["a b", "c"] and jsonl.labels == {"label": ["x", "y"]}


def test_several_label_fields(tmp_path):
    rows = [{"text": "a", "label": {"tense": "past", "n": 1}}, {"text": "b", "label": {"n": 2, "tense": "now"}}]
    result, _ = read_texts(write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows))))
    assert result.labels == {"n": ["1", "2"], "tense": ["past", "now"]}


TABLE = """id,mr,ref,stars
1,name[X],"A cheap place, near the river.",5
2,name[Y],"It said ""no"".",1
3,name[X], ,5
"""


def test_a_table_under_a_header(tmp_path):
    result, messages = read_texts(write(tmp_path / "e2e.csv", TABLE))
    assert result.texts == ["A cheap place, near the river.", 'It said "no".']
    assert result.labels == {"id": ["1", "2"], "mr": ["name[X]", "name[Y]"], "stars": ["5", "1"]}
    assert "the text is 'ref' of id, mr, ref, stars" in messages[0]
    asked, _ = read_texts(tmp_path / "e2e.csv", text_column="mr", label_columns=["stars"])
    assert asked.texts == ["name[X]", "name[Y]", "name[X]"] and asked.labels == {"stars": ["5", "1", "5"]}
    for fields, said in (
        ({"text_column": "reff"}, "no field 'reff'; did you mean ref"),
        ({"label_columns": ["sta"]}, "no field 'sta' on every line; there are id, mr, stars"),
    ):
        with pytest.raises(UserError, match=said):
            read_texts(tmp_path / "e2e.csv", **fields)
    with pytest.raises(UserError, match=r"are for \.csv"):
        read_parts(data(write(tmp_path / "a.txt", "a b\n"), text_column="ref"))


def test_the_only_column_that_looks_like_text_is_taken_and_what_takes_many_values_is_no_label(tmp_path):
    rows = "".join(f"{i},w{i} of the words,{i % 2}\n" for i in range(60))
    result, _ = read_texts(write(tmp_path / "a.csv", "number,said,kind\n" + rows))
    assert result.texts[1] == "w1 of the words" and list(result.labels) == ["kind"]


@pytest.mark.parametrize("name", ["snli.txt", "snli.tsv"])
def test_a_table_with_tabs_is_known_by_its_header(tmp_path, name):
    rows = (
        'gold_label\tsentence1\tsentence2\nneutral\tA man runs.\tA man is "late.\nentailment\tIt rains.\tIt is dry.\n'
    )
    result, _ = read_texts(write(tmp_path / name, rows))
    assert result.texts == ["A man runs.", "It rains."] and result.labels["gold_label"] == ["neutral", "entailment"]


@pytest.mark.parametrize(
    "content",
    ["text,stars\na b,1\nc d,2\n", "text;stars\na b;1\nc d;2\n", ",text,stars\n0,a b,1\n1,c d,2\n",
     'text,stars\n"a\nb",1\nc  d,2\n'],
)  # fmt: skip
def test_tables_as_spreadsheets_and_pandas_write_them(tmp_path, content):
    result, _ = read_texts(write(tmp_path / "a.csv", content))
    assert result.texts == ["a b", "c d"] and result.labels["stars"] == ["1", "2"] and result.column == "text"


def test_the_training_part_chooses_the_columns_of_all(tmp_path):
    for part, count in (("train", 100), ("valid", 20), ("test", 20)):
        rows = [f"user{i},some words about {i},{i % 2},en" for i in range(count)]
        write(tmp_path / f"{part}.csv", "\n".join(["user,review,stars,lang", *rows]))
    write(tmp_path / "train_stats.csv", "a,b\n1,2\n").rename(tmp_path / "about.csv")
    parts, _ = read_parts(data(tmp_path))
    assert all(
        set(parts[part].labels) == {"stars"} for part in parts
    )  # users are too many, and one language is no label


def test_a_field_whose_name_has_a_comma_labels_all_parts(tmp_path):
    for part, count in (("train", 100), ("valid", 20), ("test", 20)):
        rows = [f"some words about {i}\t{i % 2}" for i in range(count)]
        write(tmp_path / f"{part}.tsv", "\n".join(["text\tgood, or bad", *rows]))
    parts, _ = read_parts(data(tmp_path))
    assert all(set(parts[part].labels) == {"good, or bad"} for part in parts)


def test_a_table_beside_texts_is_no_split(tmp_path):
    write(tmp_path / "train.txt", "a b\n" * 50)
    write(tmp_path / "train_results.csv", "a,b\n1,2\n")
    write(tmp_path / "eval.csv", "a,b\n1,2\n").unlink()
    assert len(read_parts(data(tmp_path))[0]["train"].texts) == 46


def test_a_number_as_label_beside_a_list(tmp_path):
    rows = [{"text": "a b c", "label": i, "tokens": ["a"]} for i in range(2)]
    result, _ = read_texts(write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows))))
    assert result.labels == {"label": ["0", "1"]}


def test_a_label_and_a_text_that_is_a_name_of_texts_are_no_header(tmp_path):
    result, _ = read_texts(write(tmp_path / "a.tsv", "1\ttext\n0\tno text\n"))
    assert result.texts == ["text", "no text"] and result.labels == {"label": ["1", "0"]}


def test_labels_named_as_a_text_are_no_header(tmp_path):
    rows = "question\tare you there\nstatement\ti am here\nquestion\twho is it\n"
    result, _ = read_texts(write(tmp_path / "a.tsv", rows))
    assert result.texts == ["are you there", "i am here", "who is it"]
    assert result.labels == {"label": ["question", "statement", "question"]}


def test_line_breaks_in_a_text_are_blanks(tmp_path):
    result, _ = read_texts(write(tmp_path / "a.jsonl", json.dumps({"text": "the first\n\n line "}) + "\n"))
    assert result.texts == ["the first line"]


def test_fewer_sentences_of_a_table_keep_its_columns(tmp_path):
    rows = "".join(f"en,a headline of number {i},{i % 3}\n" for i in range(60))
    write(tmp_path / "a.csv", "lang,headline,stars\n" + rows)
    parts, _ = read_parts(data(tmp_path / "a.csv", sentences=40, text_column="headline"))
    assert list(parts["train"].labels) == ["stars"] and sum(len(part.texts) for part in parts.values()) == 40


def test_texts_numbers_and_truth_values_beside_the_text_are_labels_and_lists_are_not(tmp_path):
    rows = [
        {"text": "a", "friendly": "no", "stars": 1, "new": True, "votes": ["x"], "rare": "y"},
        {"text": "b", "friendly": "yes", "stars": 2, "new": False, "votes": []},
    ]
    result, messages = read_texts(write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows))))
    assert result.labels == {"friendly": ["no", "yes"], "new": ["True", "False"], "stars": ["1", "2"]}
    assert messages == ["a.jsonl: 'rare' is not on line 2, so that it is no label field"]


def test_the_format_can_be_said(tmp_path):
    path = write(tmp_path / "a.txt", "1\tx\n0\ty\n")
    assert read_texts(path, "tsv")[0].labels == {"label": ["1", "0"]}
    assert read_texts(write(tmp_path / "corpus", "x\ny"))[0].texts == ["x", "y"]


def test_a_txt_whose_every_line_holds_one_tab_draws_a_hint(tmp_path):
    assert "--data.format tsv" in read_texts(write(tmp_path / "a.txt", "1\tx\n0\ty\n"))[1][0]
    assert read_texts(write(tmp_path / "b.txt", "1\tx\n0 y\n"))[1] == []


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"", "an empty file"),
        ("a.txt", b"\n  \n\n", "only blank lines"),
        ("a.txt", b"fine\nb\xe9d\n", "line 2: expected UTF-8, got the byte 0xe9"),
        ("a.tsv", b"1\tx\nno tab\n", "line 2: expected label<TAB>text, got 'no tab'"),
        ("a.tsv", b"1\t \n", "line 1: expected label<TAB>text"),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', "line 2: expected JSON"),
        ("a.jsonl", b'{"txt": "a"}\n', "expected a field named text, got txt; name it: --data.text_column NAME"),
        ("a.jsonl", b'["text"]\n', 'line 1: expected {"text": '),
        ("a.jsonl", b'{"text": "a"}\n{"label": "b"}\n', "line 2: expected the text 'text', got none"),
        ("a.jsonl", b'{"text": "a", "label": {"text": "b"}}\n', "line 1: expected another name for the label text"),
        ("a.jsonl", b'{"text": "a", "label": [1]}\n', "line 1: expected a name or number as the label label, got [1]"),
        (
            "a.csv",
            b"a man is standing in the pouring rain, and so am I\nno, no\n",
            "expected a header of different column names in the first row",
        ),
        ("a.csv", b"text,label\nfine,1\nfine\n", "row 3: expected 2 columns (text, label), got 1"),
        ("a.csv", b"one,two\n" + b"a b c,d e f\ng h i,j k l\n", "got one, two, which all look like text"),
        ("a.txt.gz", b"this is no gzip", "cannot be read"),
        ("a.txt.gz", gzip.compress(b"a b c d e f g\n" * 50, mtime=0)[:20] + b"\x00" * 20, "cannot be read"),
        ("a.jsonl", b'{"text": "a \\ud83d c"}\n', "line 1: expected text, got half of a surrogate pair"),
        ("a.jsonl", b'{"text": "a", "label": "\\ud800"}\n', "line 1: expected text, got half of a surrogate pair"),
        ("a.jsonl", b'{"text": "a", "label": {"\\ud800": 1}}\n', "line 1: expected text, got half of a surrogate pair"),
        ("a.jsonl", b'{"text": "a"}\n' + b"[" * 100_000, "line 2: expected JSON, got '[[["),
        ("a.jsonl", b'{"text": "a", "label": ' + b"9" * 10_000 + b"}\n", "line 1: expected JSON, got '{\"text"),
    ],
)
def test_bad_files_get_one_line(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=".") as error:
        read_texts(path)
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_line_is_read_no_further_than_its_limit(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(reading, "LONGEST_LINE", 20)
    assert read_texts(write(tmp_path / f"a.txt{suffix}", "x" * 19 + "\n" + "y" * 20))[0].texts == ["x" * 19, "y" * 20]
    with pytest.raises(UserError, match="line 2: expected a line of at most 20 bytes, got more"):
        read_texts(write(tmp_path / f"b.txt{suffix}", "x\n" + "y" * 21))


def test_a_compressed_text_is_held_or_not_by_its_size_when_decompressed(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "HELD_BYTES", 1000)
    path = write(tmp_path / "a.txt.gz", "ab\n" * 334)
    result = read_texts(path)[0].texts
    assert path.stat().st_size < 100 and isinstance(result, Lines) and list(result) == ["ab"] * 334
    assert read_texts(write(path, "ab\n" * 333))[0].texts == ["ab"] * 333


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_labels_of_too_large_a_file_are_not_held(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(reading, "LABELLED_BYTES", 1000)
    for format, columns in (("tsv", ""), ("parallel", "f: one, two")):
        assert read_texts(write(tmp_path / f"a.txt{suffix}", "a\tb\n" * 7), format, columns)[0].texts[-1] == "b"
        with pytest.raises(UserError, match="line 8: expected .* of at most 1,000 bytes in memory, got more"):
            read_texts(write(tmp_path / f"a.txt{suffix}", "a\tb\n" * 8), format, columns)


@pytest.mark.parametrize(
    "read",
    [
        lambda path: read_parts(data(path)),
        read_texts,
        lambda path: read_pictures(path, 8, 0.1, seed=0),
        lambda path: pictures_in(path, 8),
    ],
)
def test_what_may_never_end_or_is_not_there_is_not_read(tmp_path, read):
    for name in ("pipe", "pipe.npy", "pipe.png", "pipe.txt.gz"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(UserError, match="expected a file or folder, got a pipe or device"):
            read(tmp_path / name)
    for path, said in (
        ("/dev/zero", "got a pipe or device"),
        ("no\0ne", "null"),
        ("x" * 300, "too long"),
        ("none", "no such"),
    ):
        with pytest.raises(UserError, match=said):
            read(Path(path))


def test_pipes_and_folders_among_the_files_of_a_folder_are_passed_over(tmp_path):
    os.mkfifo(tmp_path / "train.txt")
    (tmp_path / "valid.txt").mkdir()
    with pytest.raises(UserError, match="expected a file named"):
        read_parts(data(tmp_path))
    with pytest.raises(UserError, match="valid.txt: cannot be read .Is a directory"):
        read_texts(tmp_path / "valid.txt")


def test_a_byte_order_mark_is_no_text(tmp_path):
    assert read_texts(write(tmp_path / "a.txt", "\ufeffword\n"))[0].texts == ["word"]


def test_a_folder_is_read_by_the_names_of_its_files(tmp_path):
    for name, text in (("x.train.txt", "a\n" * 40), ("x.dev.txt", "b\n"), ("x.test.txt", "c\n")):
        write(tmp_path / name, text)
    parts, messages = read_parts(data(tmp_path))
    assert [parts[p].texts[0] for p in ("train", "valid", "test")] == ["a", "b", "c"] and messages == []


def test_missing_parts_are_split_off_reproducibly_and_said(tmp_path):
    path = write(tmp_path / "all.txt", "\n".join(f"s{i}" for i in range(200)))
    parts, messages = read_parts(data(path, seed=3))
    assert len(parts["test"].texts) == 10 and len(parts["valid"].texts) == 10 and len(messages) == 2
    together = parts["train"].texts + parts["valid"].texts + parts["test"].texts
    assert sorted(together) == sorted(f"s{i}" for i in range(200))
    assert read_parts(data(path, seed=3))[0] == parts and read_parts(data(path, seed=4))[0] != parts


def test_labels_follow_their_sentences_when_split_off(tmp_path):
    path = write(tmp_path / "a.tsv", "\n".join(f"{i % 2}\ts{i}" for i in range(60)))
    for part in read_parts(data(path))[0].values():
        assert all(
            int(text[1:]) % 2 == int(label) for text, label in zip(part.texts, part.labels["label"], strict=True)
        )


@pytest.mark.parametrize(
    ("files", "options", "said"),
    [
        ({}, {}, "expected a file named *train*"),
        ({"a.test.txt": "x\n"}, {}, "expected a file named *train*"),
        ({"a.train.txt": "x\n" * 30, "a.val.txt": "x\n", "a.dev.txt": "x\n"}, {}, "both look like the valid split"),
        ({"a.train.txt": "x\n"}, {}, "too few to split off"),
        ({"a.train.txt": "x\n" * 30}, {"test": "/no/such/test.txt"}, "no such file"),
    ],
)
def test_bad_folders_get_one_line(tmp_path, files, options, said):
    for name, text in files.items():
        write(tmp_path / name, text)
    with pytest.raises(UserError, match=".") as error:
        read_parts(data(tmp_path, **options))
    assert said in str(error.value)


def test_an_absent_path_is_named(tmp_path):
    with pytest.raises(UserError, match="no such file or folder"):
        read_parts(data(tmp_path / "nothing"))


def test_the_penn_treebank_is_counted_as_in_the_papers():
    from uncollapse.runs.builders.data import build_splits
    from uncollapse.runs.compose import compose

    splits = build_splits(compose("ptb", flags={"data": {"path": str(needs_shared("ptb"))}}).data)
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (42068, 3370, 3761)
    assert splits.test.predicted / len(splits.test) == pytest.approx(21.917, abs=5e-4)
    assert len(splits.vocabulary) == 9998 + 4


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"level": "chars"}, "'chars': did you mean char"), ({"max_lenght": 3}, "did you mean max_length")],
)
def test_loading_refuses_what_is_no_setting(settings, said):
    with pytest.raises(UserError, match=said):
        uc.data.load(name="grammar", **settings)
