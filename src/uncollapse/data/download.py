"""Public corpora: downloaded, checked against what is known of them, unpacked, and put into a folder that `data.path` takes."""

import hashlib
import json
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from uncollapse.data.catalogue import CATALOGUE, Source, entries
from uncollapse.errors import UserError, suggest
from uncollapse.files import write_atomically

PIECE = 2**20
"""Bytes read at a time."""
TRIES = 3
"""Connections that a file may take before the command gives up."""
FINAL = ("401", "403", "404", "410")
"""Answers of a server that another try does not change."""
WAIT = 30.0
"""Seconds without an answer after which a connection is given up."""
MOST_BYTES = 2**31
"""Bytes above which a file, or a member of an archive, is refused."""
DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, ValueError,
)  # fmt: skip
"""What reading a damaged archive raises."""
Advance = Callable[[str, int, int], None]
"""Shows progress: the name of a file, bytes so far, bytes in all (0: not known)."""


def get(name: str, folder: Path, *, given: Path | None = None, advance: Advance, path: Path = CATALOGUE) -> list[Path]:
    """Put the files of a corpus into a folder; those that are there already are checked and left alone.

    Args:
        name: of the catalogue.
        folder: where to.
        given: the file that a user has, or the folder of the files; nothing is downloaded then.
        advance: shows progress.
        path: of the catalogue.

    Returns:
        the files.

    Raises:
        UserError: an unknown name; a file that cannot be had or is another; an archive that does not hold what it should.
    """
    known = entries(path)
    if name not in known:
        raise UserError(f"unknown corpus {name!r}: {suggest(name, known)}")
    entry = known[name]
    missing = [source for source in entry.files if not _there(source, folder)]
    if given and missing and given.is_file() and len(entry.files) > 1:
        names = ", ".join(_last_part(source) for source in entry.files)
        raise UserError(f"--from {given}: expected the folder of {names}, got one file")
    try:
        if given:
            found = [_given(source, given) for source in missing]  # all are checked before one is written
            for source, mine in zip(missing, found, strict=True):
                _prepare(source, mine, folder, f"{mine}")
        else:
            for source in missing:
                part = _download(source, folder, advance)
                try:
                    _prepare(source, part, folder, source.address)
                finally:
                    part.unlink()
    except UserError as error:
        with suppress(OSError):  # it is not empty
            folder.rmdir()
        names = ", ".join(dict.fromkeys(_last_part(source) for source in entry.files))
        what = "FOLDER" if len(entry.files) > 1 else "FILE or FOLDER"
        raise UserError(f"{error}; with the files at hand ({names}): --from {what}") from None
    about = f"# {entry.title}\n\nLicence: {entry.licence}.\n\nCite: {entry.cite}.\n\nFrom:\n\n"
    about += "".join(f"- {source.address}\n" for source in entry.files)
    write_atomically(folder / "ABOUT.md", about.encode())
    return [folder / result for source in entry.files for result in source.results]


def _there(source: Source, folder: Path) -> bool:
    """Return whether all files that come of a source are in the folder; their checksums are compared where they are known.

    Raises:
        UserError: one is another file.
    """
    paths = [folder / result for result in source.results]
    if not all(path.exists() for path in paths):
        return False
    try:
        for path in paths:
            if source.members:
                checksum = hashlib.sha256(path.read_bytes())
                _compare("sha256", source.member_sha256.get(path.name, ""), checksum, f"{path}")
            else:
                _check(source, path, f"{path}")
    except UserError as error:
        raise UserError(f"{error}; delete it, and the same command gets it anew") from None
    return True


def _last_part(source: Source) -> str:
    """Return the name of a file at its address, or here where the address shows none."""
    last = urlsplit(source.address).path.rsplit("/", 1)[-1]
    return last if "." in last else source.name


def _given(source: Source, given: Path) -> Path:
    """Return the user's own copy of a file, checked, or the folder of an archive that is unpacked already.

    Raises:
        UserError: it is not there, or it is another.
    """
    names = [given] if given.is_file() else [given / name for name in (_last_part(source), source.name)]
    for path in names:
        if path.is_file():
            _check(source, path, f"{path}")
            return path
    if source.members and all((given / name).is_file() for name in source.members):
        return given
    unpacked = " or what it holds" if source.members else ""
    raise UserError(
        f"{given}: expected {' or '.join(dict.fromkeys(path.name for path in names))}{unpacked}, got no such file"
    )


def _download(source: Source, folder: Path, advance: Advance) -> Path:
    """Download a file beside its place; what an earlier, interrupted download left is gone on with.

    Raises:
        UserError: no connection, a refusal, something else than the file.
    """
    part, problem = folder / f".{source.name}.part", ""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for _ in range(TRIES):
            problem = _problem(source, part, advance)
            if not problem or problem.startswith(FINAL):
                break
        if not problem:
            _check(source, part, source.address)
    except UserError:  # it is another file
        part.unlink(missing_ok=True)
        raise
    if problem:
        kept = (
            f" after {part.stat().st_size:,} bytes, which are kept; the same command goes on" if part.exists() else ""
        )
        raise UserError(f"{source.address}: cannot be downloaded ({problem}){kept}")
    return part


def _problem(source: Source, part: Path, advance: Advance) -> str:
    """Download what is missing of a file; return what kept it from being whole, or nothing.

    Raises:
        UserError: what comes is not the file.
    """
    begun = part.stat().st_size if part.exists() else 0
    if begun and begun == source.size:
        return ""
    try:
        with _open(source.address, begun) as answer:
            _receive(answer, source, part, begun if answer.status == 206 else 0, advance)
    except HTTPError as error:
        if error.code == 416:  # nothing is left of it, or it has changed
            part.unlink(missing_ok=True)
        return f"{error.code} {error.reason}"
    except (URLError, HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or error
        return str(getattr(reason, "strerror", None) or reason or type(error).__name__)
    return ""


def _open(address: str, begun: int) -> HTTPResponse:
    """Ask for a file from a byte on; redirections are followed, but to the web alone."""
    headers = {"User-Agent": "uncollapse"} | ({"Range": f"bytes={begun}-"} if begun else {})
    answer: HTTPResponse = urlopen(Request(address, headers=headers), timeout=WAIT)
    if urlsplit(answer.geturl()).scheme not in ("http", "https"):
        raise UserError(f"{address}: expected a file of the web, was sent to {answer.geturl()[:100]}")
    return answer


def _receive(answer: HTTPResponse, source: Source, part: Path, begun: int, advance: Advance) -> None:
    """Write what comes, from a byte on, and no more than the file may have.

    Raises:
        UserError: more than that, or a page instead of the file.
        OSError: the connection was cut; what came is kept.
    """
    left = int(answer.headers.get("Content-Length") or 0)
    total, most = begun + left if left else source.size, source.size or MOST_BYTES
    page = answer.headers.get_content_type() == "text/html" and not source.name.endswith((".html", ".htm"))
    if page or max(total, begun + left) > most:
        what = "a page of HTML" if page else f"{begun + left:,} bytes"
        raise UserError(f"{source.address}: expected {_expected(source)}, got {what}")
    done = begun
    with part.open("r+b" if begun else "wb") as file:
        file.seek(begun)
        while piece := answer.read(PIECE):
            done += len(piece)
            if done > most:
                raise UserError(f"{source.address}: expected {_expected(source)}, got more")
            file.write(piece)
            advance(source.name, done, total)
    if done < total:
        raise ConnectionError("the connection was cut")


def _expected(source: Source) -> str:
    return f"a file of {source.size:,} bytes" if source.size else f"a file below {MOST_BYTES:,} bytes"


def _check(source: Source, path: Path, where: str) -> None:
    """Compare size and checksum with the catalogue's.

    Raises:
        UserError: they differ.
    """
    size = path.stat().st_size
    if source.size and size != source.size:
        raise UserError(f"{where}: expected a file of {source.size:,} bytes, got {size:,}; it is another version")
    sums = {"sha256": hashlib.sha256(), "git_blob": hashlib.sha1(f"blob {size}\0".encode())}
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            for one in sums.values():
                one.update(piece)
    for kind, one in sums.items():
        _compare(kind, getattr(source, kind), one, where)


def _compare(kind: str, wanted: str, checksum: "hashlib._Hash", where: str) -> None:
    """Compare a checksum with the catalogue's; an empty one is not known.

    Raises:
        UserError: they differ.
    """
    if wanted and checksum.hexdigest() != wanted:
        raise UserError(
            f"{where}: expected {kind} {wanted[:12]}…, got {checksum.hexdigest()[:12]}…; it is another file"
        )


def _prepare(source: Source, path: Path, folder: Path, where: str) -> None:
    """Put the files that come of a download into the folder: all of them, each whole, or none.

    Raises:
        UserError: an archive that cannot be read, lacks a file, or has one that is too large.
    """
    if not source.members:
        write_atomically(folder / source.name, path.read_bytes())
        return
    written: set[str] = set()
    try:
        with _archive(path) as members:
            for name, opened in members:
                with opened:
                    content = opened.read(MOST_BYTES + 1) if name in source.members else None
                if content is None:
                    continue
                if len(content) > MOST_BYTES:
                    raise UserError(f"{where}: {name} is larger than {MOST_BYTES:,} bytes")
                content, result = _distinct(content, source), source.members[name]
                _compare("sha256", source.member_sha256.get(result, ""), hashlib.sha256(content), f"{where}: {name}")
                write_atomically(folder / result, content)
                written.add(result)
        if lacking := [name for name, result in source.members.items() if result not in written]:
            raise UserError(f"{where}: the archive lacks {', '.join(lacking)}")
    except (*DAMAGED, UserError) as error:
        for result in written:
            (folder / result).unlink()
        if isinstance(error, UserError):
            raise
        raise UserError(f"{where}: expected an archive, got something else ({type(error).__name__})") from None


@contextmanager
def _archive(path: Path) -> Iterator[Iterator[tuple[str, IO[bytes]]]]:
    """Open an archive, or the folder of one that is unpacked: its plain files, by their names without folders.

    Nothing is written where a name says.
    """
    if path.is_dir():
        yield ((file.name, file.open("rb")) for file in sorted(path.iterdir()) if file.is_file())
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as opened:
            yield ((_base(info.filename), opened.open(info)) for info in opened.infolist() if not info.is_dir())
    else:
        with tarfile.open(path) as archive:
            files: Any = ((_base(info.name), archive.extractfile(info)) for info in archive if info.isreg())
            yield files


def _base(name: str) -> str:
    return name.replace("\\", "/").rsplit("/", 1)[-1]


def _distinct(content: bytes, source: Source) -> bytes:
    """Return the distinct values of a column of tab-separated text, or of fields of JSON objects, one a line, in order.

    The content itself where the source names neither.
    """
    if not (source.column or source.fields):
        return content
    lines, values = content.decode("utf-8").splitlines(), dict[str, None]()
    for line in lines:
        row = json.loads(line) if source.fields else {}
        cells = [row.get(name, "") for name in source.fields] or line.split("\t")[source.column - 1 :][:1]
        values |= dict.fromkeys(" ".join(cell.split("\n")) for cell in cells if cell)
    return ("\n".join(values) + "\n").encode()
