"""The catalogue of public corpora: where each is, how it is checked, its licence and what to cite."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from uncollapse.files import expect, read_yaml

CATALOGUE = Path(__file__).parent / "catalogue.yaml"


@dataclass(frozen=True)
class Source:
    """A file of a corpus.

    Attributes:
        name: here.
        address: where it is.
        size: in bytes; 0 where it is not known.
        sha256: its checksum; empty where it is not known.
        git_blob: the SHA-1 by which git names it; likewise.
        members: of an archive: which files are kept, and their names here.
        member_sha256: the checksums of these, by their names here, where they are known.
        column: of a tab-separated file: the one whose distinct values are kept; 0: the file as it is.
        fields: of a file of JSON objects, one a line: those whose distinct values are kept.
    """

    name: str
    address: str
    size: int = 0
    sha256: str = ""
    git_blob: str = ""
    members: Mapping[str, str] = field(default_factory=dict)
    member_sha256: Mapping[str, str] = field(default_factory=dict)
    column: int = 0
    fields: Sequence[str] = ()

    @property
    def results(self) -> list[str]:
        """Return the names of the files that come of it."""
        return list(self.members.values()) or [self.name]


@dataclass(frozen=True)
class Entry:
    """A corpus of the catalogue.

    Attributes:
        name: of the corpus, and of its folder.
        title: what it is.
        licence: of whom, and for what.
        cite: what a paper cites.
        train: flags of `train` besides its path.
        files: what it consists of.
    """

    name: str
    title: str
    licence: str
    cite: str
    train: str
    files: tuple[Source, ...]


def entries(path: Path = CATALOGUE) -> dict[str, Entry]:
    """Read the catalogue."""
    texts = dict.fromkeys(("title", "licence", "cite", "train"), str)
    content = expect(read_yaml(path), {str: {**texts, "files": [{"name": str, "address": str}]}}, str(path))
    return {
        name: Entry(name, **{key: entry[key] for key in texts}, files=tuple(Source(**one) for one in entry["files"]))
        for name, entry in content.items()
    }
