"""Pairs of forms to convert, which a folder of parallel rows may hold besides its splits."""

from dataclasses import dataclass
from pathlib import Path

from uncollapse.data.reading import lines_of, split_row
from uncollapse.errors import UserError


@dataclass(frozen=True)
class Pair:
    """A word to convert: from a label to another, and what should come out."""

    source: str
    target: str
    word: str
    reference: str


def pairs_file(path: Path, name: str) -> Path:
    """Return where a file of pairs lies: in the folder of the data.

    Raises:
        UserError: it is not there.
    """
    file = (path if path.is_dir() else path.parent) / name
    if not file.is_file():
        raise UserError(f"{file}: no such file of pairs (data.pairs); without one, add --data.pairs=")
    return file


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
    rows = [(number, split_row(line)) for number, line in lines_of(path)]
    for number, forms in rows:
        if len(forms) != 2:
            raise UserError(f"{path}, line {number}: expected a pair of forms, got {' '.join(forms)[:60]!r}")
    if len(rows) != len(wanted):
        raise UserError(f"{path}: expected {len(wanted)} pairs, one for each of data.directions, got {len(rows)}")
    return [Pair(*names, *forms) for names, (_, forms) in zip(wanted, rows, strict=True)]
