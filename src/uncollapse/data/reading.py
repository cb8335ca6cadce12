"""Readers: from files to texts and labels, and from a path to three splits."""

import gzip
import json
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from uncollapse.errors import UserError

SUFFIXES = {".txt": "txt", ".tsv": "tsv", ".jsonl": "jsonl"}
PARTS = {"train": ("train",), "valid": ("valid", "val", "dev"), "test": ("test",)}


@dataclass
class Texts:
    """Sentences as they stand in a file, with the label fields they carry.

    Attributes:
        texts: one a sentence.
        labels: for each label field, the label of every sentence.
        rows: for each sentence the row of parallel forms that it stands in; empty where there are no such rows.
    """

    texts: list[str] = field(default_factory=list)
    labels: dict[str, list[str]] = field(default_factory=dict)
    rows: list[int] = field(default_factory=list)

    @staticmethod
    def of_rows(rows: Iterable[Sequence[str]], field: str, names: Sequence[str]) -> "Texts":
        """Lay out rows of parallel forms as sentences, each labelled with the name of its column."""
        found = Texts(labels={field: []})
        for number, forms in enumerate(rows):
            found.texts += forms
            found.labels[field] += names
            found.rows += [number] * len(forms)
        return found

    @property
    def units(self) -> np.ndarray:
        """Return what must not be parted, by number: the row of every sentence, or the sentence itself."""
        return np.asarray(self.rows) if self.rows else np.arange(len(self.texts))

    def take(self, indices: np.ndarray) -> "Texts":
        """Return the sentences at `indices`."""
        labels = {name: [values[i] for i in indices] for name, values in self.labels.items()}
        return Texts([self.texts[i] for i in indices], labels, [self.rows[i] for i in indices] if self.rows else [])


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
        found = tuple(name.strip() for name in names.split(","))
        if not colon or not field.strip() or len(set(found)) < max(2, len(found)) or "" in found:
            raise UserError(
                f"data.columns: expected a label field and the names of its columns, such as 'tense: sp, tp, pg, p', got {text!r}"
            )
        return Columns(field.strip(), found)


def read_texts(path: Path, format: str = "auto", columns: str = "") -> tuple[Texts, list[str]]:
    """Read one file.

    Args:
        path: `.txt` (a sentence a line), `.tsv` (label, tab, text) or `.jsonl` (`text` and, if there is one, `label`: a
            name, or several fields with a name each); each also with `.gz`.
        format: txt, tsv or jsonl, or auto: by the suffix (txt where it says nothing); parallel: a row of forms a line.
        columns: of a parallel file, as `Columns.parse` reads them.

    Returns:
        the sentences without blank lines, and remarks for the user.

    Raises:
        UserError: an absent, empty or blank file, undecodable bytes, a line that is not of the format.
    """
    kind = format if format != "auto" else SUFFIXES.get(_suffix(path), "txt")
    if kind == "parallel":
        return _read_parallel(path, Columns.parse(columns))
    read = {"txt": _read_txt, "tsv": _read_tsv, "jsonl": _read_jsonl}[kind]
    found = read(path)
    _refuse_empty(found, path)
    remarks = []
    if kind == "txt" and all(text.count("\t") == 1 for text in found.texts):
        remarks.append(
            f"{path.name}: every line holds one tab; if it separates a label from the text, add --data.format tsv"
        )
    return found, remarks


def _refuse_empty(found: Texts, path: Path) -> None:
    if not found.texts:
        raise UserError(
            f"{path}: expected a sentence a line, got {'an empty file' if not path.stat().st_size else 'only blank lines'}"
        )


def _suffix(path: Path) -> str:
    return Path(path.stem).suffix if path.suffix == ".gz" else path.suffix


def decode_lines(lines: Iterable[bytes], source: str) -> Iterator[tuple[int, str]]:
    """Yield the number (from 1) and the text of every line that is not blank.

    Raises:
        UserError: bytes that are not UTF-8, with the line number.
    """
    for number, line in enumerate(lines, 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise UserError(
                f"{source}, line {number}: expected UTF-8, got the byte 0x{line[error.start]:02x}; convert the text, "
                "for example with iconv"
            ) from None
        if text.strip():
            yield number, text


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield from decode_lines(file, str(path))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None


def _read_txt(path: Path) -> Texts:
    return Texts([text for _, text in _lines(path)])


def _read_tsv(path: Path) -> Texts:
    found = Texts([], {"label": []})
    for number, line in _lines(path):
        label, tab, text = line.partition("\t")
        if not tab or not text.strip():
            raise UserError(f"{path}, line {number}: expected label<TAB>text, got {line[:60]!r}")
        found.labels["label"].append(label.strip())
        found.texts.append(text)
    return found


def _read_jsonl(path: Path) -> Texts:
    found = Texts()
    fields: list[str] | None = None
    for number, line in _lines(path):
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{where}: expected JSON, got {line[:60]!r} ({error.msg})") from None
        if not isinstance(row, dict) or not isinstance(row.get("text"), str):
            raise UserError(f'{where}: expected {{"text": …}}, got {line[:60]!r}')
        try:
            row["text"].encode()
        except UnicodeEncodeError:
            raise UserError(f"{where}: expected text, got half of a surrogate pair in {line[:60]!r}") from None
        labels = _label_fields(row.get("label"), where)
        if fields is None:
            fields = sorted(labels)
            found.labels = {name: [] for name in fields}
        if sorted(labels) != fields:
            raise UserError(
                f"{where}: expected the label fields {fields or 'none'}, as on the first line, got {sorted(labels) or 'none'}"
            )
        if not row["text"].strip():
            continue
        found.texts.append(row["text"])
        for name, value in labels.items():
            found.labels[name].append(value)
    return found


def split_row(line: str) -> list[str]:
    """Cut a row of parallel forms: at tabs where there are any, else at blanks."""
    return [form.strip() for form in line.split("\t")] if "\t" in line else line.split()


def _read_parallel(path: Path, columns: Columns) -> tuple[Texts, list[str]]:
    rows: dict[tuple[str, ...], None] = {}
    read = 0
    for number, line in _lines(path):
        forms = tuple(split_row(line))
        if len(forms) != len(columns.names) or "" in forms:
            raise UserError(
                f"{path}, line {number}: expected {len(columns.names)} forms ({', '.join(columns.names)}), "
                f"got {len([form for form in forms if form])}: {line[:60]!r}"
            )
        read += 1
        rows[forms] = None
    found = Texts.of_rows(rows, columns.field, columns.names)
    _refuse_empty(found, path)
    twice = read - len(rows)
    return found, [f"{path.name}: {twice} rows that occur twice were taken once"] if twice else []


@dataclass(frozen=True)
class Pair:
    """A word to convert: from a label to another, and what should come out."""

    source: str
    target: str
    word: str
    reference: str


def pairs_file(path: Path, name: str) -> Path:
    """Return where a file of pairs lies: in the folder of the data, or beside their file.

    Raises:
        UserError: it is not there.
    """
    found = (path if path.is_dir() else path.parent) / name
    if not found.is_file():
        raise UserError(f"{found}: no such file of pairs (data.pairs); without one, add --data.pairs=")
    return found


def read_pairs(path: Path, directions: str) -> list[Pair]:
    """Read a pair of forms a line.

    Args:
        path: the file.
        directions: of the pairs, in order: `sp>p, sp>pg, …`.

    Raises:
        UserError: an absent file, a line without two forms, a direction that is none, or not one a pair.
    """
    wanted = [tuple(name.strip() for name in direction.split(">")) for direction in directions.split(",")]
    if any(len(names) != 2 for names in wanted):
        raise UserError(f"data.directions: expected directions such as 'sp>p, sp>pg', got {directions!r}")
    found = [(number, split_row(line)) for number, line in _lines(path)]
    for number, forms in found:
        if len(forms) != 2:
            raise UserError(f"{path}, line {number}: expected a pair of forms, got {' '.join(forms)[:60]!r}")
    if len(found) != len(wanted):
        raise UserError(f"{path}: expected {len(wanted)} pairs, one for each of data.directions, got {len(found)}")
    return [Pair(*names, *forms) for names, (_, forms) in zip(wanted, found, strict=True)]


def _label_fields(label: Any, where: str) -> dict[str, str]:
    if label is None:
        return {}
    fields = label if isinstance(label, dict) else {"label": label}
    for name, value in fields.items():
        if not isinstance(value, str | int | float):
            raise UserError(f"{where}: expected a name or number as the label {name}, got {json.dumps(value)[:60]}")
    return {name: str(value) for name, value in fields.items()}


def find_parts(path: Path, leave: str = "") -> dict[str, Path]:
    """Find the files of a folder's splits by their names, or take a file as the training split.

    Args:
        path: the folder or file.
        leave: name of a file in the folder that is no split.

    Raises:
        UserError: nothing at `path`, no training file in the folder, or two files that both look like one split.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    if path.is_file():
        return {"train": path}
    files = sorted(
        p
        for p in path.iterdir()
        if p.is_file() and not p.name.startswith(".") and _suffix(p) in SUFFIXES and p.name != leave
    )
    parts: dict[str, Path] = {}
    for part, words in PARTS.items():
        found = [p for p in files if any(word in p.name.lower() for word in words) and p not in parts.values()]
        if len(found) > 1:
            raise UserError(f"{path}: {' and '.join(p.name for p in found)} both look like the {part} split; keep one")
        if found:
            parts[part] = found[0]
    if "train" not in parts:
        raise UserError(
            f"{path}: expected a file named *train* ({', '.join(SUFFIXES)}), got {', '.join(p.name for p in files) or 'none'}"
        )
    return parts


def read_parts(
    path: Path,
    valid: str = "",
    test: str = "",
    format: str = "auto",
    seed: int = 0,
    columns: str = "",
    pairs: str = "",
    held_out: float = 0.05,
) -> tuple[dict[str, Texts], list[str]]:
    """Read the three splits of a corpus; what is missing is split off the training part, and said.

    Args:
        path: a file, or a folder with `*train*` and perhaps `*valid*|*val*|*dev*` and `*test*`.
        valid: an explicit validation file, or empty.
        test: an explicit test file, or empty.
        format: as in `read_texts`.
        seed: of the sentences that are split off.
        columns: as in `read_texts`.
        pairs: name of a file in the folder that is no split; rows that hold a form of it are not held out, for what it asks
            is whether they were learned.
        held_out: share of the training part that is split off for each missing part (whole rows of parallel forms).

    Returns:
        the splits by name, and remarks for the user.

    Raises:
        UserError: as `find_parts` and `read_texts`; too few sentences to split; splits whose label fields differ.
    """
    files = find_parts(path, pairs)
    files |= {part: Path(name) for part, name in (("valid", valid), ("test", test)) if name}
    parts: dict[str, Texts] = {}
    remarks: list[str] = []
    for part, file in files.items():
        parts[part], said = read_texts(file, format, columns)
        remarks += said
    held = round(len(np.unique(parts["train"].units)) * held_out)
    kept = {form for _, line in _lines(pairs_file(path, pairs)) for form in split_row(line)} if pairs else set()
    for part in ("test", "valid"):
        if part not in parts:
            parts["train"], parts[part] = _split_off(parts["train"], held, seed, part, path, kept)
            remarks.append(
                f"no {part} file: {len(parts[part].texts):,} sentences ({held_out:.0%}) were split off the training part "
                f"(seed {seed})"
            )
    for part in ("valid", "test"):
        if set(parts[part].labels) != set(parts["train"].labels):
            raise UserError(
                f"{files.get(part, path)}: expected the label fields of the training split, "
                f"{sorted(parts['train'].labels) or 'none'}, got {sorted(parts[part].labels) or 'none'}"
            )
    return parts, remarks


def _split_off(
    texts: Texts, held: int, seed: int, part: str, path: Path, kept: Collection[str] = ()
) -> tuple[Texts, Texts]:
    """Part the sentences (whole rows of forms) at random; those with a text to be kept stay in the first part."""
    staying = {unit for unit, text in zip(texts.units.tolist(), texts.texts, strict=True) if text in kept}
    units = np.array([unit for unit in np.unique(texts.units).tolist() if unit not in staying])
    if held < 1 or len(units) <= held:
        kind = "rows" if texts.rows else "sentences"
        beside = " beside those that data.pairs keeps in training" if kept else ""
        raise UserError(
            f"{path}: {len(units)} {kind}{beside} are too few to split off a {part} part; give more of them, a larger "
            f"data.held_out, or a {part} file"
        )
    order = np.random.default_rng([seed, len(part)]).permutation(units)
    out = np.isin(texts.units, order[:held])
    return texts.take(np.flatnonzero(~out)), texts.take(np.flatnonzero(out))
