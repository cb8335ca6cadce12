"""One parser for every verb: flags typed by the settings, never abbreviated, every error one line."""

import re
from argparse import ArgumentError, HelpFormatter
from collections.abc import Iterable, Sequence
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from uncollapse.config import SECTIONS, Settings, catalogue, describe, nest
from uncollapse.errors import UserError, nearest


class Parser:
    """The parser of one verb.

    Attributes:
        flags: the jsonargparse parser, to add arguments to.
    """

    def __init__(self, verb: str, purpose: str) -> None:
        self.flags = ArgumentParser(
            prog=f"uncollapse {verb}",
            description=purpose,
            allow_abbrev=False,
            exit_on_error=False,
            default_env=False,
            formatter_class=HelpFormatter,  # every help text says its own default
        )

    def add(self, *names: str, **options: Any) -> None:
        """Add one argument, as argparse does."""
        self.flags.add_argument(*names, **options)

    def add_seed(self, default: int | None = 0) -> None:
        """Add the flag of the seed."""
        shown = "short for --train.seed" if default is None else f"of all draws (default {default})"
        self.add("--seed", type=int, default=default, metavar="N", help=shown)

    def add_settings(self, keys: Iterable[str]) -> None:
        """Add a flag for each setting, grouped by section."""
        groups = {
            name: self.flags.add_argument_group(f"{name}: {(cls.__doc__ or '').strip()}")
            for name, cls in SECTIONS.items()
        }
        for key in keys:
            kind, spec = catalogue()[key]
            shown = repr(spec.default) if spec.default == "" else spec.default
            help = f"{spec.metadata['help']} ({describe(key)}; default {shown})".replace("%", "%%")
            groups[key.split(".")[0]].add_argument(f"--{key}", type=kind, default=None, metavar="", help=help)

    def parse(self, arguments: Sequence[str]) -> tuple[Namespace, Settings]:
        """Return the plain arguments with their defaults, and the settings that were given.

        Raises:
            UserError: anything that does not parse, with the nearest valid flag.
        """
        try:
            given = self.flags.parse_args(list(arguments), defaults=False).as_flat().__dict__
        except ArgumentError as error:
            raise UserError(self._one_line(str(error))) from None
        defaults = self.flags.get_defaults().as_flat().__dict__
        settings = {key: value for key, value in given.items() if key in catalogue()}
        if not 0 <= (given.get("seed") or 0) < 2**32:
            raise UserError(f"--seed: expected an integer of at least 0 and below 2^32, got {given['seed']}")
        plain = {key: given.get(key, value) for key, value in {**defaults, **given}.items() if key not in catalogue()}
        return Namespace(**plain), nest(settings)

    def _one_line(self, message: str) -> str:
        typed = re.search(r'Parser key "([^"]+)":.*?(?:Got value: (.*)|$)', message, re.DOTALL)
        if typed and typed[1] in catalogue():
            return f"--{typed[1]}: expected {describe(typed[1])}, got {(typed[2] or '').strip()!r}"
        if typed:
            expected = "an integer" if "int" in message else "another value"
            return f"--{typed[1].replace('_', '-')}: expected {expected}, got {(typed[2] or '').strip()!r}"
        unknown = re.search(r"[Uu]nrecognized arguments: (\S+)", message)
        if unknown:
            known = [name for action in self.flags._actions for name in action.option_strings if name.startswith("--")]
            name = unknown[1].split("=")[0]
            hint = nearest(name, known) if name.startswith("-") else "put what is no flag before the flags; see --help"
            return f"unknown argument {name!r}: {hint if len(hint) < 200 else 'see --help'}"
        return message.removesuffix(".") + "; see --help"
