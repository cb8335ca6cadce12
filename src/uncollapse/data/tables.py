"""Records with named fields, of `.csv`, `.jsonl` and tables with tabs: which field is the text, and which are labels."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path

from uncollapse.errors import UserError, suggest

TEXT_NAMES = ("text", "sentence", "sentence1", "ref", "caption", "review", "comment", "content", "body", "message",
              "question", "title", "description")  # fmt: skip
"""Names of fields that are taken for the text, the first that there is."""
TEXT_WORDS = 3
"""Words in the mean from which a field without such a name is taken for a text, if half of its values differ."""
MOST_CLASSES = 50
"""Different values up to which a field is a label field of its own accord."""
MOST_FIELDS = 1000
"""Different fields of a file."""
LONGEST_NAME = 30
"""Letters of the name of a column; what is longer is a sentence, and no header."""
LOOKED_AT = 1000
"""Records that are looked at to tell a text from a label, and lines to tell a header from a label."""

Record = Mapping[str, str]


def read_table(lines: Iterator[tuple[int, str]], quoted: bool, source: str) -> Iterator[tuple[int, Record]]:
    """Yield the number of the line and the fields of every row under a header.

    Args:
        lines: with their numbers; fields are separated by the sign that stands most often in the first.
        quoted: whether fields may stand in quotation marks (a .csv), or are what stands between tabs.
        source: for messages.

    Raises:
        UserError: no header, or a row of more or fewer fields.
    """
    first = next(lines, (0, ""))[1]
    separator = max(",;\t", key=first.count) if quoted else "\t"
    text = chain([f"{first}\n"], (f"{line}\n" for _, line in lines))
    reader = csv.reader(text, delimiter=separator, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)
    try:
        names = [name.strip() for name in next(reader, [])]
        names[:1] = [names[0] or "index"] if names else []  # as pandas writes it
        if not all(names) or len(set(names)) < len(names) or any(len(name) > LONGEST_NAME for name in names):
            raise UserError(
                f"{source}: expected a header of different column names in the first row, got {first[:60]!r}; "
                "add one, or --data.format txt for a sentence a line"
            )
        for row in reader:
            if len(row) != len(names):
                raise UserError(
                    f"{source}, row {reader.line_num}: expected {len(names)} columns ({', '.join(names)[:80]}), got {len(row)}"
                )
            yield reader.line_num, {name: " ".join(value.split()) for name, value in zip(names, row, strict=True)}
    except csv.Error as error:
        raise UserError(f"{source}, row {reader.line_num}: expected rows of a table, got {error}") from None


def read_jsonl(lines: Iterable[tuple[int, str]], source: str) -> Iterator[tuple[int, Record]]:
    """Yield the number of the line and the texts, numbers and truth values of every object; those in `label` likewise.

    Raises:
        UserError: a line that is no object, a label that is a list or has the name of a field, or text that cannot be written.
    """
    for number, line in lines:
        where = f"{source}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where}: expected JSON, got {line[:60]!r} ({getattr(error, 'msg', error)})") from None
        if not isinstance(row, dict):
            raise UserError(f'{where}: expected {{"text": …}}, got {line[:60]!r}')
        label = row.pop("label", None)
        labels = label if isinstance(label, dict) else {"label": label}
        if twice := row.keys() & labels.keys():
            raise UserError(
                f"{where}: expected another name for the label {min(twice)}, which is a field of the line too"
            )
        fields = row | labels
        for name, value in fields.items():
            if isinstance(value, list | dict) and (name == "label" or (isinstance(label, dict) and name in label)):
                raise UserError(f"{where}: expected a name or number as the label {name}, got {json.dumps(value)[:60]}")
        texts = {name: str(value) for name, value in fields.items() if isinstance(value, str | int | float)}
        record = {name: " ".join(value.split()) for name, value in texts.items()}
        try:
            "".join((*record, *record.values())).encode()
        except UnicodeEncodeError:
            raise UserError(f"{where}: expected text, got half of a surrogate pair in {line[:60]!r}") from None
        yield number, record


def is_table(lines: Iterable[tuple[int, str]], columns: int) -> bool:
    """Return whether the first line is a header with tabs, of at least so many columns, one of which is named as a text.

    A name that stands in the first column again is a label, such as `question` of labelled sentences.
    """
    rows = (line.split("\t") for _, line in lines)
    first = [name.strip().lower() for name in next(rows, [""])]
    return (
        len(first) >= columns
        and all(name[:1].isalpha() for name in first)
        and any(name in TEXT_NAMES for name in first)
        and all(row[0].strip().lower() != first[0] for row in islice(rows, LOOKED_AT))
    )


def choose_columns(
    records: Iterable[tuple[int, Record]], text: str, labels: Sequence[str], *, source: Path
) -> tuple[str, list[str], dict[str, list[str]], list[str]]:
    """Part records into texts and labels.

    Args:
        records: with the number of their line.
        text: the field of the text; by default chosen (`TEXT_NAMES`, or the only one whose values look like text).
        labels: the label fields; by default all fields of at most `MOST_CLASSES` different values.
        source: the file, for messages.

    Returns:
        the field of the texts; the texts that are not blank; for each label field, the label of each of them; messages.

    Raises:
        UserError: a field that there is not, or none or several that may be the text.
    """
    columns, lines, missing = _columns(records, source)
    if not lines:
        return "", [], {}, []
    name = _text_column(columns, text, source)
    if name in missing:
        raise UserError(f"{source}, line {missing[name]}: expected the text {name!r}, got none")
    for field in labels:
        if field not in columns or field == name or field in missing:
            there = [each for each in columns if each != name and each not in missing]
            raise UserError(
                f"{source}: data.label_column: no field {field!r} on every line; there are {', '.join(there)}"
            )
    others = {*columns} - {name, *missing}
    fields = labels or [field for field in columns if field in others and len(set(columns[field])) <= MOST_CLASSES]
    kept = [i for i, value in enumerate(columns[name]) if value.strip()]
    labelled = {field: [columns[field][i] for i in kept] for field in sorted(fields)}
    messages = [
        f"{source.name}: {field!r} is not on line {line}, so that it is no label field"
        for field, line in missing.items()
    ]
    if len(columns) > 1 and name != "text" and not text:
        labels_there = f"; label fields: {', '.join(labelled) or 'none'}"
        messages.append(
            f"{source.name}: the text is {name!r} of {', '.join(columns)} (--data.text_column){labels_there}"
        )
    return name, [columns[name][i] for i in kept], labelled, messages


def _columns(records: Iterable[tuple[int, Record]], source: Path) -> tuple[dict[str, list[str]], int, dict[str, int]]:
    """Return the values of every field, how many records there are, and for a field that is not in all, a line without it."""
    columns: dict[str, list[str]] = {}
    missing: dict[str, int] = {}
    count = 0
    for number, record in records:
        for name in columns.keys() - record.keys():
            missing.setdefault(name, number)
        for name, value in record.items():
            if count and name not in columns:
                missing[name], columns[name] = number - 1, []
            columns.setdefault(name, []).append(value)
        if len(columns) > MOST_FIELDS:
            raise UserError(f"{source}, line {number}: expected at most {MOST_FIELDS:,} different fields, got more")
        count += 1
    return columns, count, missing


def _text_column(columns: Mapping[str, list[str]], asked: str, source: Path) -> str:
    if asked:
        if asked not in columns:
            raise UserError(f"{source}: data.text_column: no field {asked!r}; {suggest(asked, columns)}")
        return asked
    lowered = {name.lower(): name for name in reversed(list(columns))}
    for name in TEXT_NAMES:
        if name in lowered:
            return lowered[name]
    candidates = [name for name, values in columns.items() if _looks_like_text(values)]
    if len(candidates) != 1:
        got = f"{', '.join(candidates)}, which all look like text" if candidates else ", ".join(columns)
        raise UserError(f"{source}: expected a field named text, got {got}; name it: --data.text_column NAME")
    return candidates[0]


def _looks_like_text(values: list[str]) -> bool:
    few = list(islice(values, LOOKED_AT))
    return sum(len(value.split()) for value in few) >= TEXT_WORDS * len(few) and 2 * len(set(few)) >= len(few)
