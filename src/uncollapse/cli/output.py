"""What a user reads: text on stdout, messages on stderr, neither with a control character of the data in it."""

import re
import sys

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""What a terminal would obey or could not be written: C0 but tab and newline, DEL, C1, half a surrogate pair."""


def shown(text: str) -> str:
    """Return text with its control characters spelled out, as JSON does."""
    return CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def show(text: str) -> None:
    """Print a result to stdout."""
    print(shown(text))


def say(*texts: str) -> None:
    """Print messages to stderr, each on its line."""
    for text in texts:
        print(shown(text), file=sys.stderr)
