"""`uncollapse remedies`."""

from uncollapse.cli.listing import list_named


def run(arguments: list[str]) -> None:
    """List the remedies."""
    list_named("remedies", "named settings against posterior collapse, with their papers", arguments)
