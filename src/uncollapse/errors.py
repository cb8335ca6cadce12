"""The two ways in which Uncollapse says no, and the search for the name that was meant."""

from collections.abc import Iterable
from difflib import get_close_matches

MOST_SAID = 1500
"""Letters of a message; of a longer one the middle is left out."""


class UserError(ValueError):
    """A mistake of the user: one line that says what was expected, what was got and what to do.

    The command line prints it and exits with status 2.
    """

    def __init__(self, text: str) -> None:
        line = " ".join(str(text).split())
        cut = MOST_SAID // 2
        super().__init__(line if len(line) <= MOST_SAID else f"{line[:cut]} … {line[-cut:]}")


class TrainingError(RuntimeError):
    """Training could not go on (a loss that is not finite); the last good state was kept."""


def suggest(name: str, valid: Iterable[str]) -> str:
    """Return `did you mean a or b?` with at most three close matches, else `expected one of: …` with all valid names."""
    valid = sorted(valid)
    close = get_close_matches(str(name)[:100], valid, n=3, cutoff=0.6)
    comma = "; " if any("," in name for name in valid) else ", "
    return f"did you mean {' or '.join(close)}?" if close else f"expected one of: {comma.join(valid)}"


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory is spent: that of Python, of torch on the CPU, or of a GPU."""
    return (
        isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "allocate memory" in str(error)
    )
