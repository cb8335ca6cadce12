"""Which version of the program this is."""

import subprocess
from contextlib import suppress
from functools import cache
from pathlib import Path

import uncollapse


@cache
def code_version() -> str:
    """Return the version and, where the program runs from its checkout, the commit: `0.1.0 8be018e`, `-dirty` if changed."""
    commit, checkout = "", Path(__file__).parents[3]
    if (checkout / ".git").exists():  # not where the package is installed, perhaps inside of another repository
        with suppress(OSError, subprocess.CalledProcessError):
            asked = ["git", "-C", str(checkout), "describe", "--always", "--dirty"]
            commit = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    return f"{uncollapse.__version__} {commit}".strip()
