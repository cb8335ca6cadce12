"""`uncollapse remedies`."""

from collections.abc import Sequence

from uncollapse.cli.parser import Parser
from uncollapse.cli.recipes import list_named


def run(arguments: Sequence[str]) -> None:
    """List the remedies."""
    Parser("remedies", "List the remedies: named settings against posterior collapse, with their papers.").parse(
        arguments
    )
    list_named("remedies")
