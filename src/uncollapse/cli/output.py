"""Results go to stdout, without control characters of the data."""

from uncollapse.messages import say, shown

__all__ = ["one_line", "say", "show", "shown"]


def one_line(text: str) -> str:
    """Return a sentence as a field of a table with tabs: a picture has `/` between its lines."""
    return text.replace("\t", " ").replace("\n", "/")


def show(text: str) -> None:
    """Print a result to stdout."""
    print(shown(text))
