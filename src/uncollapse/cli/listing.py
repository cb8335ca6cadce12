"""The verbs `recipes` and `remedies`, which are one."""

from typing import Literal

from uncollapse.cli.output import show
from uncollapse.cli.parser import Parser
from uncollapse.runs.compose import available, load_named
from uncollapse.runs.config import flatten


def list_named(kind: Literal["recipes", "remedies"], what: str, arguments: list[str]) -> None:
    """Print each recipe or remedy with its title, its purpose, its paper and its settings."""
    Parser(kind, f"List the {kind}: {what}.").parse(arguments)
    for name in available(kind):
        named = load_named(kind, name)
        show(f"{name}: {named.title}")
        for said in ("purpose", "paper", "published", "remedy"):
            if getattr(named, said):
                show(f"    {said:<9} {getattr(named, said)}")
        show("    settings  " + ", ".join(f"{key} {value}" for key, value in flatten(named.settings)) + "\n")
