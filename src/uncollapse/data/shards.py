"""Many files as one corpus: which files a pattern names, and how their sentences are read."""

from collections.abc import Iterator, Sequence
from functools import partial
from glob import glob, has_magic
from itertools import islice
from pathlib import Path

from uncollapse.data.lines import Read
from uncollapse.data.reading import lines_of, suffix_of
from uncollapse.data.tables import LOOKED_AT, choose_columns, read_jsonl
from uncollapse.errors import UserError, suggest


def shards_of(pattern: str) -> list[Path]:
    """Return the files that a pattern with `*`, `?` or `[` names, in the order of their names; none where it is a path.

    Raises:
        UserError: a pattern that names nothing, or something else than shards.
    """
    if not has_magic(pattern) or Path(pattern).exists():
        return []
    files = [Path(name) for name in sorted(glob(pattern, recursive=True))]  # noqa: PTH207
    if not files:
        raise UserError(f"{pattern}: no file has such a name")
    if wrong := [path for path in files if suffix_of(path) not in (".txt", ".jsonl") or not path.is_file()]:
        raise UserError(f"{wrong[0]}: expected shards to be .txt or .jsonl files, each perhaps with .gz")
    return files


def read_of_shards(files: Sequence[Path], text_column: str = "") -> tuple[Read, str]:
    """Return how the sentences of one of many files are read, and the field they stand in.

    Args:
        files: `.txt` (a sentence a line) or `.jsonl` (objects), each perhaps with `.gz`.
        text_column: of objects, the field of the text; by default it is chosen by the first thousand.
    """
    if suffix_of(files[0]) == ".txt":
        return lines_of, ""
    if not text_column:
        few = read_jsonl(islice(lines_of(files[0]), LOOKED_AT), str(files[0]))
        text_column, *_ = choose_columns(few, "", (), source=files[0])
    return partial(_texts_of_objects, column=text_column), text_column


def _texts_of_objects(path: Path, column: str) -> Iterator[tuple[int, str]]:
    """Yield the number of the line and the text of every object that has one."""
    for number, record in read_jsonl(lines_of(path), str(path)):
        if column not in record:
            raise UserError(f"{path}, line {number}: {suggest(column, record)}")
        if text := " ".join(record[column].split()):
            yield number, text
