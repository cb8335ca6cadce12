"""Readers: from files to texts and labels, and from a path to three splits."""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from uncollapse.errors import UserError

SUFFIXES = {".txt": "txt", ".tsv": "tsv", ".jsonl": "jsonl"}
PARTS = {"train": ("train",), "valid": ("valid", "val", "dev"), "test": ("test",)}
HELD_OUT = 0.05


@dataclass
class Texts:
    """Sentences as they stand in a file, with the label fields they carry.

    Attributes:
        texts: one a sentence.
        labels: for each label field, the label of every sentence.
    """

    texts: list[str] = field(default_factory=list)
    labels: dict[str, list[str]] = field(default_factory=dict)

    def take(self, indices: np.ndarray) -> "Texts":
        """Return the sentences at `indices`."""
        labels = {name: [values[i] for i in indices] for name, values in self.labels.items()}
        return Texts([self.texts[i] for i in indices], labels)


def read_texts(path: Path, format: str = "auto") -> tuple[Texts, list[str]]:
    """Read one file.

    Args:
        path: `.txt` (a sentence a line), `.tsv` (label, tab, text) or `.jsonl` (`text` and, if there is one, `label`: a
            name, or several fields with a name each); each also with `.gz`.
        format: txt, tsv or jsonl, or auto: by the suffix (txt where it says nothing).

    Returns:
        the sentences without blank lines, and remarks for the user.

    Raises:
        UserError: an absent, empty or blank file, undecodable bytes, a line that is not of the format.
    """
    kind = format if format != "auto" else SUFFIXES.get(_suffix(path), "txt")
    read = {"txt": _read_txt, "tsv": _read_tsv, "jsonl": _read_jsonl}[kind]
    found = read(path)
    if not found.texts:
        raise UserError(
            f"{path}: expected a sentence a line, got {'an empty file' if not path.stat().st_size else 'only blank lines'}"
        )
    remarks = []
    if kind == "txt" and all(text.count("\t") == 1 for text in found.texts):
        remarks.append(
            f"{path.name}: every line holds one tab; if it separates a label from the text, add --data.format tsv"
        )
    return found, remarks


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
        labels = _label_fields(row.get("label"))
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


def _label_fields(label: Any) -> dict[str, str]:
    if label is None:
        return {}
    return {name: str(value) for name, value in label.items()} if isinstance(label, dict) else {"label": str(label)}


def find_parts(path: Path) -> dict[str, Path]:
    """Find the files of a folder's splits by their names, or take a file as the training split.

    Raises:
        UserError: nothing at `path`, no training file in the folder, or two files that both look like one split.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    if path.is_file():
        return {"train": path}
    files = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith(".") and _suffix(p) in SUFFIXES)
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
    path: Path, valid: str = "", test: str = "", format: str = "auto", seed: int = 0
) -> tuple[dict[str, Texts], list[str]]:
    """Read the three splits of a corpus; what is missing is split off the training part, 5 % each, and said.

    Args:
        path: a file, or a folder with `*train*` and perhaps `*valid*|*val*|*dev*` and `*test*`.
        valid: an explicit validation file, or empty.
        test: an explicit test file, or empty.
        format: as in `read_texts`.
        seed: of the sentences that are split off.

    Returns:
        the splits by name, and remarks for the user.

    Raises:
        UserError: as `find_parts` and `read_texts`; too few sentences to split; splits whose label fields differ.
    """
    files = find_parts(path)
    files |= {part: Path(name) for part, name in (("valid", valid), ("test", test)) if name}
    parts: dict[str, Texts] = {}
    remarks: list[str] = []
    for part, file in files.items():
        parts[part], said = read_texts(file, format)
        remarks += said
    for part in ("test", "valid"):
        if part not in parts:
            parts["train"], parts[part] = _split_off(parts["train"], seed, part, path)
            remarks.append(
                f"no {part} file: {len(parts[part].texts):,} sentences ({HELD_OUT:.0%}) were split off the training part "
                f"(seed {seed})"
            )
    for part in ("valid", "test"):
        if set(parts[part].labels) != set(parts["train"].labels):
            raise UserError(
                f"{files.get(part, path)}: expected the label fields of the training split, "
                f"{sorted(parts['train'].labels) or 'none'}, got {sorted(parts[part].labels) or 'none'}"
            )
    return parts, remarks


def _split_off(texts: Texts, seed: int, part: str, path: Path) -> tuple[Texts, Texts]:
    n = len(texts.texts)
    held = round(n * HELD_OUT)
    if held < 1:
        raise UserError(
            f"{path}: {n} sentences are too few to split off a {part} part; give at least 20, or a {part} file"
        )
    order = np.random.default_rng([seed, len(part)]).permutation(n)
    return texts.take(np.sort(order[held:])), texts.take(np.sort(order[:held]))
