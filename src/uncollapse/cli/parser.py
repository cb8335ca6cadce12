"""One parser for every command: flags typed by the settings, never abbreviated, every error one line."""

import math
import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NoReturn

from uncollapse.errors import UserError, suggest
from uncollapse.nn.kinds import KINDS
from uncollapse.runs.config import SECTIONS, Settings, catalogue, converted, describe, nest, read_value

TITLES = {"encoder": "The network of q(z | x)", "decoder": "The network of p(x | z)"}
BELOW = 2**32
"""What every whole number of a flag that is no setting must stay below."""


class Parser(ArgumentParser):
    """The parser of one command."""

    def __init__(self, command: str, purpose: str) -> None:
        super().__init__(prog=f"uncollapse {command}", description=purpose, allow_abbrev=False)
        self._negative_number_matcher = re.compile(r"-(\.?\d|inf$|nan$)")  # -1e-3 too is a value, and no flag
        self.set_defaults(command=command)
        self.needed: dict[str, str] = {}

    def flag(
        self, name: str, metavar: str, help: str, *, default: Any = "", least: float = -math.inf, needed: bool = False
    ) -> None:
        """Add a flag that takes one value, text or a number as its default is.

        Args:
            name: of the flag.
            metavar: stands for its value in the help.
            help: says what it is.
            default: is taken without it; a type where there is no default.
            least: that a number may be.
            needed: it may not be left out, or be empty.
        """
        kind, default = (default, None) if isinstance(default, type) else (type(default), default)
        shown = " (needed)" * needed if default in ("", None) else f" (default {default})"
        if needed:
            self.needed[name.lstrip("-").replace("-", "_")] = f"{name} {metavar}"
        read = str if kind is str else partial(number, kind, least)
        self.add_argument(name, metavar=metavar, default=default, type=read, help=f"{help}{shown}".replace("%", "%%"))

    def switch(self, name: str, help: str) -> None:
        """Add a flag that takes no value."""
        self.add_argument(name, action="store_true", help=help)

    def add_run(self) -> None:
        """Add the run folder."""
        self.add_argument("run", metavar="RUN", help="the run folder")

    def add_seed(self) -> None:
        """Add the flag of the seed."""
        self.flag("--seed", "N", "of all draws", default=0, least=0)

    def add_settings(self, keys: Iterable[str]) -> None:
        """Add a flag for each setting, grouped by section."""
        titles = {
            name: f"{name}: {TITLES.get(name) or (parts[0].__doc__ or '').strip().rstrip('.')}"
            for name, parts in SECTIONS.items()
        }
        groups = {name: self.add_argument_group(title) for name, title in titles.items()}
        for key in keys:
            setting = catalogue()[key]
            shown = ",".join(map(str, setting.default)) if isinstance(setting.default, tuple) else setting.default
            having = (
                f"of {', '.join(setting.kinds)}: " if 0 < len(setting.kinds) < len(KINDS[key.split(".")[0]]) else ""
            )
            shown = repr(shown) if shown == "" else shown
            help = f"{having}{setting.help} ({describe(key)}; default {shown})".replace("%", "%%")
            groups[key.split(".")[0]].add_argument(f"--{key}", type=partial(_setting, key), metavar="", help=help)

    def parse(self, arguments: Sequence[str]) -> tuple[Namespace, Settings]:
        """Return the plain arguments with their defaults, and the settings that were given.

        Raises:
            UserError: anything that does not parse, with the nearest valid flag.
        """
        asked, unknown = self.parse_known_args(arguments)
        if unknown:
            name = unknown[0].split("=")[0]
            known = [name for name in self._option_string_actions if name.startswith("--")]
            hint = suggest(name, known) if name.startswith("-") else "put what is no flag before the flags; see --help"
            raise UserError(f"unknown argument {name!r}: {hint if len(hint) < 200 else 'see --help'}")
        for name, said in self.needed.items():
            if not getattr(asked, name):
                raise UserError(f"{asked.command}: expected {said}")
        given = {key: vars(asked).pop(key, None) for key in catalogue()}
        return asked, nest({key: value for key, value in given.items() if value is not None})

    def error(self, message: str) -> NoReturn:
        """Raise the one line of whatever argparse refuses."""
        raise UserError(f"{message.removeprefix('argument ')}; see --help")


def _setting(key: str, text: str) -> Any:
    """Return the checked value of a setting."""
    try:
        return read_value(key, text)
    except UserError as error:
        raise ArgumentTypeError(str(error).removeprefix(f"{key}: ")) from None


def number(kind: Any, least: float, text: str) -> Any:
    """Return the checked value of a flag that takes a number."""
    value = converted(kind, text)
    if type(value) is not kind or not least <= value < BELOW:
        bounds = [f" of at least {least:g}"] * (least > -math.inf) + [" below 2^32"] * (type(value) is kind)
        words = "an integer" if kind is int else "a number"
        raise ArgumentTypeError(f"expected {words}{' and'.join(bounds)}, got {value!r}")
    return value
