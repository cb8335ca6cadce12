"""Readers: from a file to texts and labels."""

import gzip
import io
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

import numpy as np

from uncollapse.data.lines import Lines
from uncollapse.data.tables import choose_columns, is_table, read_jsonl, read_table
from uncollapse.errors import UserError

SUFFIXES = {".txt": "txt", ".tsv": "tsv", ".jsonl": "jsonl", ".csv": "csv"}
HELD_BYTES = 2**27
"""A larger file of sentences, decompressed, is read line by line whenever it is needed, and never held."""
LABELLED_BYTES = 2**31
"""The memory that sentences with labels, or rows of forms, may take by estimate: they are always held."""
LINE_BYTES = 128
"""Bytes of a line in memory besides its letters."""
LONGEST_LINE = 2**20
"""The most bytes of a line."""


@dataclass
class Texts:
    """Sentences as they stand in a file, with the label fields they carry.

    Attributes:
        texts: one a sentence; of a very large file, `Lines`.
        labels: for each label field, the label of every sentence.
        rows: for each sentence the row of parallel forms that it stands in; empty where there are no such rows.
        column: of a table or of objects, the field that the texts stand in.
    """

    texts: Sequence[str] = field(default_factory=list)
    labels: dict[str, list[str]] = field(default_factory=dict)
    rows: list[int] = field(default_factory=list)
    column: str = ""

    @staticmethod
    def of_rows(rows: Iterable[Sequence[str]], field: str, names: Sequence[str]) -> "Texts":
        """Lay out rows of parallel forms as sentences, each labelled with the name of its column."""
        texts: list[str] = []
        read = Texts(texts, labels={field: []})
        for number, forms in enumerate(rows):
            texts += forms
            read.labels[field] += names
            read.rows += [number] * len(forms)
        return read

    @property
    def units(self) -> np.ndarray:
        """Return what must not be parted, by number: the row of every sentence, or the sentence itself."""
        return np.asarray(self.rows) if self.rows else np.arange(len(self.texts))

    def take(self, indices: np.ndarray) -> "Texts":
        """Return the sentences at `indices`."""
        labels = {name: [values[i] for i in indices] for name, values in self.labels.items()}
        if isinstance(self.texts, Lines):
            return replace(self, texts=self.texts.take(indices), labels=labels)
        rows = [self.rows[i] for i in indices] if self.rows else []
        return replace(self, texts=[self.texts[i] for i in indices], labels=labels, rows=rows)


@dataclass(frozen=True)
class Columns:
    """The columns of a file of parallel rows: the label field that tells them apart, and their names."""

    field: str
    names: tuple[str, ...]

    @staticmethod
    def parse(text: str) -> "Columns":
        """Read `field: name, name, …`, such as `tense: sp, tp, pg, p`.

        Raises:
            UserError: not of that form, or fewer than two different names.
        """
        field, colon, names = text.partition(":")
        forms = tuple(name.strip() for name in names.split(","))
        if not colon or not field.strip() or len(set(forms)) < max(2, len(forms)) or "" in forms:
            raise UserError(
                f"data.columns: expected a label field and the names of its columns, such as 'tense: sp, tp, pg, p', got {text!r}"
            )
        return Columns(field.strip(), forms)


def read_texts(
    path: Path, format: str = "auto", columns: str = "", *, text_column: str = "", label_columns: Sequence[str] = ()
) -> tuple[Texts, list[str]]:
    """Read one file.

    Args:
        path: `.txt` (a sentence a line), `.tsv` (label, tab, text; or a table under a header), `.csv` (a table under a header) or
            `.jsonl` (objects with a text and perhaps labels); each also with `.gz`.
        format: txt, tsv, csv or jsonl, or auto: by the suffix (txt where it says nothing); parallel: a row of forms a line.
        columns: of a parallel file, as `Columns.parse` reads them.
        text_column: of a table or of objects, and of nothing else, the field of the text; as a rule it is chosen
            (`tables.choose_columns`).
        label_columns: likewise the label fields.

    Returns:
        the sentences without blank lines, and messages for the user.

    Raises:
        UserError: an absent, empty or blank file, one too large for labels, undecodable bytes, a line not of the format.
    """
    kind = format if format != "auto" else SUFFIXES.get(suffix_of(path), "txt")
    if kind == "parallel":
        return _read_parallel(path, Columns.parse(columns))
    # The Stanford NLI corpus is a table named .txt; a label and a text are no table.
    if kind in ("csv", "jsonl") or (
        (kind == "tsv" or format == "auto") and is_table(lines_of(path), 2 if kind == "tsv" else 3)
    ):
        return _read_records(path, kind, text_column, label_columns)
    texts = _read_tsv(path) if kind == "tsv" else _read_txt(path)
    _validate_not_empty(texts, path)
    messages = []
    if kind == "txt" and all(text.count("\t") == 1 for text in texts.texts):
        messages.append(
            f"{path.name}: every line holds one tab; if it separates a label from the text, add --data.format tsv"
        )
    return texts, messages


def _validate_not_empty(texts: Texts, path: Path) -> None:
    if not texts.texts:
        raise UserError(
            f"{path}: expected a sentence a line, got {'an empty file' if not path.stat().st_size else 'only blank lines'}"
        )


def suffix_of(path: Path) -> str:
    """Return the suffix of a file, that before `.gz` where it is gzipped."""
    return Path(path.stem).suffix if path.suffix == ".gz" else path.suffix


def existing(path: Path) -> Path:
    """Return a path at which there is a regular file or a folder.

    Raises:
        UserError: nothing is there, or what cannot be read, or a pipe or device, which may never end.
    """
    try:
        path.stat()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file or folder") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({getattr(error, 'strerror', error)})") from None
    if not path.is_file() and not path.is_dir():
        raise UserError(f"{path}: expected a file or folder, got a pipe or device; write what it gives to a file first")
    return path


def decode_lines(file: BinaryIO | io.BufferedIOBase, source: str) -> Iterator[tuple[int, str]]:
    """Yield the number (from 1) and the text of every line that is not blank.

    Raises:
        UserError: a line above `LONGEST_LINE`, or bytes that are not UTF-8, with the line number.
    """
    for number, line in enumerate(iter(partial(file.readline, LONGEST_LINE + 1), b""), 1):
        if len(line) > LONGEST_LINE:
            raise UserError(
                f"{source}, line {number}: expected a line of at most {LONGEST_LINE:,} bytes, got more; put a sentence on a line"
            )
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise UserError(
                f"{source}, line {number}: expected UTF-8, got the byte 0x{line[error.start]:02x}; convert the text, "
                "for example with iconv"
            ) from None
        if text.strip():
            yield number, text


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of every line of a file, plain or gzipped, that is not blank.

    Raises:
        UserError: an absent, damaged or undecodable file.
    """
    try:
        with gzip.open(existing(path)) if path.suffix == ".gz" else existing(path).open("rb") as file:
            yield from decode_lines(file, str(path))
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None


def _read_txt(path: Path) -> Texts:
    if path.suffix == ".gz":  # its size says nothing of that of the text
        large = any(size > HELD_BYTES for size in accumulate(len(text) + 1 for _, text in lines_of(path)))
    else:
        large = existing(path).stat().st_size > HELD_BYTES
    return Texts(Lines([path], lines_of) if large else [text for _, text in lines_of(path)])


def _held_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file as `lines_of` does, but no more than may be held.

    Raises:
        UserError: there are more.
    """
    size = 0
    for number, line in lines_of(path):
        size += len(line) + LINE_BYTES
        if size > LABELLED_BYTES:
            raise UserError(
                f"{path}, line {number}: expected sentences with labels, or rows of forms, of at most {LABELLED_BYTES:,} bytes "
                "in memory, got more; take fewer, or a .txt without labels"
            )
        yield number, line


def _read_tsv(path: Path) -> Texts:
    texts: list[str] = []
    read = Texts(texts, {"label": []})
    for number, line in _held_lines(path):
        label, tab, text = line.partition("\t")
        if not tab or not text.strip():
            raise UserError(f"{path}, line {number}: expected label<TAB>text, got {line[:60]!r}")
        read.labels["label"].append(label.strip())
        texts.append(text)
    return read


def _read_records(path: Path, kind: str, text: str, labels: Sequence[str]) -> tuple[Texts, list[str]]:
    lines = _held_lines(path)
    records = read_jsonl(lines, str(path)) if kind == "jsonl" else read_table(lines, kind == "csv", str(path))
    column, texts, labelled, messages = choose_columns(records, text, labels, source=path)
    _validate_not_empty(Texts(texts), path)
    return Texts(texts, labelled, column=column), messages


def split_row(line: str) -> list[str]:
    """Cut a row of parallel forms: at tabs where there are any, else at blanks."""
    return [form.strip() for form in line.split("\t")] if "\t" in line else line.split()


def _read_parallel(path: Path, columns: Columns) -> tuple[Texts, list[str]]:
    rows: dict[tuple[str, ...], None] = {}
    read = 0
    for number, line in _held_lines(path):
        forms = tuple(split_row(line))
        if len(forms) != len(columns.names) or "" in forms:
            raise UserError(
                f"{path}, line {number}: expected {len(columns.names)} forms ({', '.join(columns.names)}), "
                f"got {len([form for form in forms if form])}: {line[:60]!r}"
            )
        read += 1
        rows[forms] = None
    parsed = Texts.of_rows(rows, columns.field, columns.names)
    _validate_not_empty(parsed, path)
    twice = read - len(rows)
    return parsed, [f"{path.name}: {twice} rows that occur twice were taken once"] if twice else []
