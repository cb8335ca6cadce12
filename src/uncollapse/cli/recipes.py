"""`uncollapse recipes`."""

from collections.abc import Sequence
from typing import Literal

from uncollapse.cli.parser import Parser
from uncollapse.config import available, flatten, load_named


def list_named(kind: Literal["recipes", "remedies"]) -> None:
    """Print each name with its title, its paper and its settings."""
    for name in available(kind):
        found = load_named(kind, name)
        print(f"{name}: {found.title}")
        if found.purpose:
            print(f"    purpose   {found.purpose}")
        if found.paper:
            print(f"    paper     {found.paper}")
        if found.published:
            print(f"    published {found.published}")
        print("    settings  " + ", ".join(f"{key} {value}" for key, value in flatten(found.settings)) + "\n")


def run(arguments: Sequence[str]) -> None:
    """List the recipes."""
    Parser("recipes", "List the recipes: one experiment each, with its source and settings.").parse(arguments)
    list_named("recipes")
