"""`uncollapse recipes`."""

from uncollapse.cli.listing import list_named


def run(arguments: list[str]) -> None:
    """List the recipes."""
    list_named("recipes", "one experiment each, with its source and settings", arguments)
