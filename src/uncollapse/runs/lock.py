"""A lock on a folder: one training at a time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from uncollapse.errors import UserError

try:
    import fcntl
except ImportError:  # not on this system
    fcntl = None  # type: ignore[assignment]


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold a folder, which is made where there is none, and removed if nothing has come into it.

    Where the system has no file locks, nothing is refused.

    Raises:
        UserError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / ".lock"
    try:
        with file.open("w") as held:
            if not locks(held.fileno(), file):
                raise UserError(
                    f"{folder}: another process is training in this folder; wait for it, or use another --out"
                )
            try:
                yield
            finally:
                file.unlink(missing_ok=True)
    finally:
        with suppress(OSError):  # it is not empty
            folder.rmdir()


def locks(descriptor: int, file: Path) -> bool:
    """Lock an open file; return whether it was free and is still there (always, where the file system has no such locks)."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError:  # such as ENOLCK of a network file system
        return True
