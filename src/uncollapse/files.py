"""Files: written whole or not at all, read with a check of what they hold."""

import errno
import json
import os
from collections.abc import Mapping
from glob import escape
from pathlib import Path
from typing import Any

import yaml

from uncollapse.errors import UserError

MOST_YAML = 2**20
"""Characters of a YAML file; those of this package hold a few thousand."""
DEEPEST = 100
"""Levels of a YAML file; those of this package have six."""
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""That of libyaml, where it is there, is ten times as fast."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        UserError: it cannot be written, such as on a full disk.
    """
    temporary = unfinished(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_unfinished(path)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = f"{max(1, len(content) >> 20):,} MiB are needed there" if full else "write elsewhere"
        raise UserError(f"{path}: cannot be written ({error.strerror}); {advice}") from None
    finally:
        temporary.unlink(missing_ok=True)


def unfinished(path: Path) -> Path:
    """Return the name under which this process writes a file until it is whole."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def _remove_unfinished(path: Path) -> None:
    """Remove what processes that are gone have left of a file."""
    for part in path.parent.glob(f".{escape(path.name)}.*.part"):
        process = part.name.split(".")[-2]
        if process.isdecimal() and not _alive(int(process)):
            part.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # somebody else's; no number of a process
        return True
    return True


def append_line(path: Path, content: Mapping[str, Any]) -> None:
    """Append an object to a file of one JSON object a line.

    Raises:
        UserError: it cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(content) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); free some space there") from None


def keep_lines(path: Path, name: str, last: int) -> None:
    """Drop the objects of a file of one a line whose number of a name is above `last`, and a cut last line; no file is none."""
    if path.exists():
        lines = read_lines(path)
        kept = [entry for entry in lines if expect(entry, {name: int}, str(path))[name] <= last]
        if len(kept) < len(lines) or not read_text(path).endswith("\n"):
            write_atomically(path, "".join(json.dumps(entry) + "\n" for entry in kept).encode())


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, indented."""
    write_atomically(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def parse_json(text: str, where: str) -> Any:
    """Return the content of JSON text; raise UserError, naming `where`, for anything else."""
    try:
        return json.loads(text, parse_int=_small_integer)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: broken JSON (line {error.lineno}); restore the file or train again") from None
    except (ValueError, RecursionError):
        raise UserError(f"{where}: expected JSON that a run writes, got something else; restore the file") from None


def _small_integer(text: str) -> int:
    """Return an integer of 64 bits; raise ValueError for one that no run writes."""
    if len(text) > 19:
        raise ValueError(text[:20])
    return int(text)


def read_text(path: Path) -> str:
    """Return the text of a file; raise UserError where there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as text ({getattr(error, 'strerror', 'not UTF-8')})") from None


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file of one a line; none where there is no file. A last line that was cut is left out."""
    text = read_text(path) if path.exists() else ""
    lines = text[: text.rfind("\n") + 1].splitlines()
    return [expect(parse_json(line, f"{path}, line {n}"), dict, f"{path}, line {n}") for n, line in enumerate(lines, 1)]


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping with names as its keys; raise UserError if the file is absent, broken or something else."""
    text = read_text(path)
    try:
        if len(text) > MOST_YAML:
            raise ValueError
        depth = 0
        for event in yaml.parse(text, LOADER):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent) or depth > DEEPEST:  # a few lines of aliases of aliases are gigabytes
                raise ValueError
        content = yaml.load(text, LOADER)
    except Exception as error:  # whatever a tag makes its reader raise
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark else ""
        raise UserError(f"{path}: expected YAML, got something else{line}") from None
    return expect(content, {str: object}, str(path))


def expect(value: Any, schema: Any, where: str) -> Any:
    """Return a value that has a form; raise UserError, naming `where`, if it has another.

    Args:
        value: what was read.
        schema: a type, or several; `[schema]` for a list; `{str: schema}` for any names; `{"name": schema}` for these at least.
        where: the file, and the place in it.
    """
    if isinstance(schema, dict):
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise UserError(f"{where}: expected names and values, got {type(value).__name__}; restore the file")
        for name, of in schema.items():
            if name is not str and name not in value:
                raise UserError(f"{where}: {name} is missing; restore the file or train again")
            for key in value if name is str else (name,):
                expect(value[key], of, f"{where}, {key}")
    elif isinstance(schema, list):
        for number, item in enumerate(expect(value, list, where)):
            expect(item, schema[0], f"{where}, entry {number}")
    elif not isinstance(value, schema) or (isinstance(value, bool) and schema in (int, float, (int, float))):
        kinds = schema if isinstance(schema, tuple) else (schema,)
        names = " or ".join(kind.__name__ for kind in kinds)
        raise UserError(f"{where}: expected {names}, got {str(value)[:40]!r}; restore the file or train again")
    return value
