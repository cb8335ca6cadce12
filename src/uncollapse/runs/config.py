"""The settings of a whole run: their names, types and ranges.

A default is written once, in its dataclass (`sections`). Nothing here imports torch.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from uncollapse.data.settings import DataConfig
from uncollapse.errors import UserError, suggest
from uncollapse.nn.kinds import KINDS, DecoderConfig, EncoderConfig, RecurrentDecoderConfig, RecurrentEncoderConfig
from uncollapse.runs.sections import ModelConfig, MonitorConfig, ObjectiveConfig, OptimConfig, TrainConfig
from uncollapse.schedules import split_outside_brackets

Settings = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Config:
    """One run, complete."""

    data: DataConfig = field(default_factory=DataConfig)
    encoder: EncoderConfig = field(default_factory=RecurrentEncoderConfig)
    decoder: DecoderConfig = field(default_factory=RecurrentDecoderConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    monitor: MonitorConfig = field(default_factory=MonitorConfig)

    @staticmethod
    def from_settings(settings: Mapping[str, Mapping[str, Any]]) -> "Config":
        """Build the complete configuration from nested settings, checked by name, type and range.

        Raises:
            UserError: an unknown section or setting, one of another kind, or a value of the wrong type or range.
        """
        checked: Settings = {section: {} for section in SECTIONS}
        for key, value in flatten(settings):
            section, name = split_key(key)
            checked[section][name] = check(key, value)
        return Config(**{section: _section(section, values) for section, values in checked.items()})

    def settings(self) -> Settings:
        """Return the complete configuration as nested dictionaries, lists as lists."""
        return {
            section: {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
            for section, values in dataclasses.asdict(self).items()
        }


SECTIONS = {
    "data": (DataConfig,),
    "encoder": tuple(dict.fromkeys(KINDS["encoder"].values())),
    "decoder": tuple(dict.fromkeys(KINDS["decoder"].values())),
    "model": (ModelConfig,),
    "objective": (ObjectiveConfig,),
    "optim": (OptimConfig,),
    "train": (TrainConfig,),
    "monitor": (MonitorConfig,),
}
"""The dataclasses of every section: several where a section has kinds."""


@dataclass(frozen=True)
class Setting:
    """One setting.

    Attributes:
        type: bool, int, float, str, a Literal, or a tuple of integers or texts.
        default: its value where nothing is said.
        help: one line.
        low: least value that is allowed.
        high: greatest.
        kinds: the kinds of its section that have it; none in a section without kinds.
    """

    type: Any
    default: Any
    help: str
    low: float = -math.inf
    high: float = math.inf
    kinds: tuple[str, ...] = ()


@cache
def catalogue() -> dict[str, Setting]:
    """Return every setting by `section.name`."""
    known: dict[str, Setting] = {}
    for section, classes in SECTIONS.items():
        kinds = KINDS.get(section, {})
        if kinds:
            known[f"{section}.kind"] = Setting(Literal[tuple(kinds)], "lstm", "the network")
        for cls in classes:
            for f in dataclasses.fields(cls):
                if f.name == "kind":
                    continue
                having = tuple(kind for kind, other in kinds.items() if hasattr(other, f.name))
                known[f"{section}.{f.name}"] = Setting(
                    get_type_hints(cls)[f.name], f.default, **f.metadata, kinds=having
                )
    return known


def _section(section: str, values: dict[str, Any]) -> Any:
    """Build a section, that of its kind."""
    kinds = KINDS.get(section)
    if not kinds:
        return SECTIONS[section][0](**values)
    kind = values.get("kind", "lstm")
    names = [f.name for f in dataclasses.fields(kinds[kind])]
    if wrong := [name for name in values if name not in names]:
        having = ", ".join(catalogue()[f"{section}.{wrong[0]}"].kinds)
        raise UserError(f"{section}.{wrong[0]}: is for {section}.kind {having}, got {kind}: {suggest(wrong[0], names)}")
    return kinds[kind](**values)


def flatten(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield `("section.name", value)` for every value of nested settings."""
    if not isinstance(settings, Mapping):
        raise UserError(f"settings: expected sections with names and values, got {str(settings)[:40]!r}")
    for section, values in settings.items():
        if not isinstance(values, Mapping):
            raise UserError(f"settings of {section!r}: expected names and values, got {values!r}")
        for name, value in values.items():
            yield f"{section}.{name}", value


def nest(flat: Mapping[str, Any]) -> Settings:
    """Turn `{"section.name": value}` into nested settings."""
    nested: Settings = {}
    for key, value in flat.items():
        section, name = split_key(key)
        nested.setdefault(section, {})[name] = value
    return nested


def split_key(key: str) -> tuple[str, str]:
    """Split `section.name`; raise UserError, naming the nearest, if there is no such setting."""
    if key not in catalogue():
        raise UserError(
            f"unknown setting {key!r}: {suggest(key, catalogue()) if '.' in key else suggest(key, SECTIONS)}"
        )
    section, name = key.split(".")
    return section, name


WORDS = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "text",
    tuple[int, ...]: "integers, separated by commas, each",
    tuple[str, ...]: "names, separated by commas",
}


def describe(key: str) -> str:
    """Return what a setting accepts, in words."""
    setting = catalogue()[key]
    if get_origin(setting.type) is Literal:
        return "one of " + ", ".join(repr(choice) if choice == "" else choice for choice in get_args(setting.type))
    words = WORDS[setting.type]
    low, high = setting.low, setting.high
    if low > -math.inf and high < math.inf:
        return f"{words} from {low} to {high}"
    return f"{words} of at least {low}" if low > -math.inf else words


MOST = 1e300
"""Beyond it no number of a setting makes sense."""


def check(key: str, value: Any) -> Any:
    """Return `value` as the setting `key` holds it (an int for a float setting, a number for a text one, are taken).

    A list may be text with commas.

    Raises:
        UserError: a value of the wrong type or outside the range.
    """
    setting = catalogue()[key]
    kind, low, high = setting.type, setting.low, setting.high
    if get_origin(kind) is tuple:
        return _check_list(key, value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and abs(value) > MOST:
        raise UserError(f"{key}: expected {describe(key)}, got a number beyond {MOST:g}")
    if kind is float and number:
        value = float(value)
    elif kind is str and number:
        value = f"{value:.12g}"  # 15.0 is 15
    right = value in get_args(kind) if get_origin(kind) is Literal else type(value) is kind
    if not right or (kind in (int, float) and not low <= value <= high):
        raise UserError(f"{key}: expected {describe(key)}, got {value!r}")
    return value


TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
READ: dict[Any, Callable[[str], Any]] = {bool: lambda text: TRUTH[text.lower()], int: int, float: float}


def converted(kind: Any, text: str) -> Any:
    """Return text as a value of a kind, or the text itself (cut, if it is long) where it is none."""
    try:
        value = READ.get(kind, str)(text)
    except (KeyError, ValueError):
        value = math.nan
    if isinstance(value, float) and not math.isfinite(value):
        return text if len(text) < 80 else f"{text[:76]} ..."
    return value


def read_value(key: str, text: str) -> Any:
    """Return text as the setting `key` holds it; raise UserError as `check` does."""
    return check(key, converted(catalogue()[key].type, text))


def read_values(key: str, text: str) -> list[Any]:
    """Return the values of a setting, from text with commas between them; those in brackets, as of schedules, part nothing."""
    return [read_value(key, part) for part in split_outside_brackets(text)]


def _check_list(key: str, value: Any) -> tuple[Any, ...]:
    setting = catalogue()[key]
    of = get_args(setting.type)[0]
    items = [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value
    if of is int and isinstance(value, str):
        items = [int(item) if item.isdecimal() and len(item) < 19 else item for item in items]
    items = [items] if isinstance(items, int) else items
    if (
        (isinstance(value, str) and value.strip() and not items)
        or not isinstance(items, list | tuple)
        or any(type(item) is not of for item in items)
        or (of is int and not all(setting.low <= item <= setting.high for item in items))
    ):
        raise UserError(f"{key}: expected {describe(key)}, got {value!r}")
    return tuple(items)


def merge(*parts: Mapping[str, Mapping[str, Any]]) -> Settings:
    """Merge nested settings; what comes later wins. Another kind of network keeps the settings that it has too."""
    merged: Settings = {}
    for part in parts:
        if not isinstance(part, Mapping):
            raise UserError(f"settings: expected sections with names and values, got {str(part)[:40]!r}")
        for section, values in part.items():
            if not isinstance(section, str) or section not in SECTIONS:
                raise UserError(
                    f"unknown section {section!r}: {suggest(section, SECTIONS)}; write for example train={{'epochs': 3}}"
                )
            if not isinstance(values, Mapping):
                raise UserError(
                    f"settings of {section!r}: expected names and values such as {{'name': value}}, got {values!r}"
                )
            before, kind = merged.get(section, {}), values.get("kind")
            if not all(isinstance(name, str) for name in values) or ("kind" in values and not isinstance(kind, str)):
                raise UserError(
                    f"settings of {section!r}: expected names as text, and a kind as text, got {str(values)[:80]}"
                )
            if kind != before.get("kind", "lstm") and kind in KINDS.get(section, {}):
                before = {name: value for name, value in before.items() if hasattr(KINDS[section][kind], name)}
            merged[section] = {**before, **values}
    return merged


def differences(one: Config, other: Config) -> dict[str, tuple[Any, Any]]:
    """Return the settings in which two configurations differ, as `key -> (one, other)`."""
    theirs = dict(flatten(other.settings()))
    return {key: (value, theirs.get(key)) for key, value in flatten(one.settings()) if value != theirs.get(key)}


def folder_name(row: str) -> str:
    """Return the name of a row of a table as part of a folder's."""
    return re.sub(r"[^\w.+]+", "-", row).strip("-")
