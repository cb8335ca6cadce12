"""Results go to stdout, without control characters of the data."""

from uncollapse.messages import say, shown

__all__ = ["say", "show", "shown"]


def show(text: str) -> None:
    """Print a result to stdout."""
    print(shown(text))
