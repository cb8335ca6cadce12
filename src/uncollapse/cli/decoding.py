"""The flags of decoding, and the sentences that come of it: the same for every verb that writes."""

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

from jsonargparse import Namespace
from torch import Tensor

from uncollapse.api import Run
from uncollapse.cli.parser import Parser
from uncollapse.data.labels import Asked
from uncollapse.errors import UserError
from uncollapse.generation.choose import STRATEGIES, Decoding

HELP = {
    "temperature": "divides the logits before a draw",
    "top_k": "tokens that top-k draws among",
    "top_p": "probability that the tokens of nucleus reach together",
    "beam_width": "sentences that a beam keeps in hand",
    "length_penalty": "a of a beam's rank, log p / length^a; 0: none",
    "n_best": "sentences that a beam prints for each code, the best first",
    "min_length": "fewest tokens",
    "max_length": "most tokens; 0: the longest training sentence",
    "no_repeat": "no run of so many tokens twice in a sentence; 0: all allowed",
    "no_unknown": "the unknown token is not written",
}
BELONGS = {
    "temperature": ("sample", "top-k", "nucleus"),
    "top_k": ("top-k",),
    "top_p": ("nucleus",),
    "beam_width": ("beam",),
    "length_penalty": ("beam",),
    "n_best": ("beam",),
}
"""Which strategies a setting belongs to; those not named here go with all."""


def add_decoding(parser: Parser, strategy: str) -> None:
    """Add the flags of decoding, `--seed` and `--json`."""
    parser.add("--decode", default=strategy, metavar="NAME", help=f"{', '.join(STRATEGIES)} (default {strategy})")
    for field in fields(Decoding):
        if field.name in HELP:
            name, kind = "--" + field.name.replace("_", "-"), type(field.default)
            if kind is bool:
                parser.add(name, action="store_true", help=HELP[field.name])
                continue
            shown = f"{HELP[field.name]} (default {field.default:g})"
            parser.add(name, type=kind, default=None, metavar="N" if kind is int else "X", help=shown)
    parser.add_seed()
    parser.add("--json", action="store_true", help="an object a line, with log p(sentence given z) and its tokens")


def decoding(asked: Namespace) -> Decoding:
    """Return the decoding that was asked for.

    Raises:
        UserError: a value out of its range, or a flag that does not belong to the strategy.
    """
    given = {name: getattr(asked, name) for name in HELP if getattr(asked, name) is not None}
    for name in given:
        if asked.decode not in BELONGS.get(name, STRATEGIES) and asked.decode in STRATEGIES:
            flag = name.replace("_", "-")
            raise UserError(f"--{flag}: goes with --decode {' or '.join(BELONGS[name])}, got --decode {asked.decode}")
    return Decoding(asked.decode, **given)


def print_written(
    run: Run,
    z: Tensor,
    how: Decoding,
    seed: int,
    labels: Asked | None,
    as_json: bool,
    beside: Sequence[dict[str, Any]] = (),
) -> None:
    """Print the sentences of every code, one a line.

    Args:
        run: the run.
        z: codes, `[N, Z]`.
        how: they are decoded.
        seed: of the draws.
        labels: of a conditional run.
        as_json: print objects with scores.
        beside: what else the object of each code says.
    """
    if not as_json and how.n_best == 1:
        print("\n".join(run.decode(z, how, seed, labels)))
        return
    for number, written in enumerate(run.candidates(z, how, seed, labels)):
        for rank, sentence in enumerate(written, 1):
            ranked = {"rank": rank} if how.n_best > 1 else {}
            said = {**(beside[number] if beside else {}), **ranked, **asdict(sentence)}
            print(json.dumps(said, ensure_ascii=False) if as_json else sentence.text)
