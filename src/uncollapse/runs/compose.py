"""Recipes and remedies, and their merging with flags into the settings of a run.

Each is a YAML file whose `settings` are merged as nested dictionaries, in this order: defaults, recipe, remedies, flags.
Nothing here imports torch.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from uncollapse.errors import UserError, suggest
from uncollapse.files import expect, read_yaml
from uncollapse.runs.config import Config, Settings, check, flatten, merge, nest, split_key


@dataclass(frozen=True)
class Named:
    """A recipe or a remedy: settings with a name, a purpose and a source; a recipe may have a remedy of its own."""

    name: str
    title: str
    paper: str
    settings: Settings
    published: str = ""
    purpose: str = ""
    remedy: str = ""


def available(kind: Literal["recipes", "remedies"]) -> list[str]:
    """Return the names of the recipes or remedies that come with the package."""
    return sorted(path.stem for path in (Path(__file__).parent / kind).glob("*.yaml"))


def load_named(kind: Literal["recipes", "remedies"], name: str) -> Named:
    """Read a recipe or remedy by its name, or from a YAML file of one's own.

    Raises:
        UserError: no such name or file, or a file without `settings`.
    """
    own = name.endswith((".yaml", ".yml"))
    if not own and name not in available(kind):
        raise UserError(
            f"unknown {'recipe' if kind == 'recipes' else 'remedy'} {name!r}: {suggest(name, available(kind))}"
        )
    path = Path(name) if own else Path(__file__).parent / kind / f"{name}.yaml"
    content = read_yaml(path)
    texts = ("title", "purpose", "paper", "published", "remedy")
    if set(content) - {*texts, "settings"} or "settings" not in content:
        raise UserError(f"{path}: expected title, paper, published and settings, got {', '.join(content) or 'nothing'}")
    expect(content, {name: str for name in texts if content.get(name) is not None}, str(path))
    settings = expect(content["settings"], {str: {str: object}}, f"{path}, settings")
    for key, value in flatten(settings):
        split_key(key)
        check(key, value)
    title, purpose, paper, published, remedy = (content.get(key) or "" for key in texts)
    return Named(path.stem, title or path.stem, paper, settings, published, purpose, remedy)


def combine_remedies(names: Iterable[str]) -> Settings:
    """Merge the settings of several remedies.

    Raises:
        UserError: two of them set one key to different values.
    """
    seen: dict[str, tuple[str, Any]] = {}
    for name in names:
        for key, value in flatten(load_named("remedies", name).settings):
            other, before = seen.get(key, (name, value))
            if before != value:
                raise UserError(f"remedies {other} and {name} contradict each other: {key} is {before!r} and {value!r}")
            seen[key] = (name, value)
    return nest({key: value for key, (_, value) in seen.items()})


def remedies_of(recipe: str, remedies: Iterable[str], flags: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the remedies that are named, else that of the recipe.

    The recipe's is left out where a flag sets something of the objective, or makes a language model of it.
    """
    named, own = tuple(remedies), load_named("recipes", recipe).remedy
    if named or not own or flags.get("objective") or flags.get("model", {}).get("latent") == 0:
        return named
    return (own,)


def compose(recipe: str, remedies: Iterable[str] = (), flags: Mapping[str, Mapping[str, Any]] | None = None) -> Config:
    """Merge a recipe, remedies and flags into one complete configuration.

    A path among the flags takes the place of the recipe's embedded corpus, and a corpus that of its path.

    Raises:
        UserError: an unknown name, a wrong value, contradicting remedies.
    """
    flags = merge(flags or {})
    combined = combine_remedies(remedies_of(recipe, remedies, flags))
    parts = (load_named("recipes", recipe).settings, combined, source_override(flags), flags)
    return Config.from_settings(merge(*parts))


def source_override(flags: Mapping[str, Mapping[str, Any]]) -> Settings:
    """Return settings that clear the recipe's own corpus where a flag names another."""
    given = flags.get("data", {})
    chosen = [name for name in ("name", "path") if isinstance(given, Mapping) and given.get(name)]
    if len(chosen) != 1:
        return {}
    return {"data": {"name": ""}} if chosen == ["path"] else {"data": {"path": "", "pairs": ""}}
