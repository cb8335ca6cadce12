"""The flags of decoding, and the sentences that come of it: the same for every verb that writes."""

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from torch import Tensor

from uncollapse.api import Run
from uncollapse.cli.parser import Parser
from uncollapse.cli.progress import say
from uncollapse.data.labels import Asked
from uncollapse.data.pictures import arrays_of
from uncollapse.errors import UserError
from uncollapse.generation.choose import STRATEGIES, Decoding
from uncollapse.reporting.grid import COLUMNS, below, draw_grid

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
    parser.add("--png", default="", metavar="FILE", help="of a run on pictures: the grid (default: RUN/VERB.png)")


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
    asked: Namespace,
    beside: Sequence[dict[str, Any]] = (),
    verb: str = "sample",
    above: Sequence[str] = (),
) -> None:
    """Print the sentences of every code, one a line; draw pictures as a grid.

    Args:
        run: the run.
        z: codes, `[N, Z]`.
        how: they are decoded.
        seed: of the draws.
        labels: of a conditional run.
        asked: `json`, to print objects with scores, and `png`, where a grid goes.
        beside: what else the object of each code says.
        verb: names the file of a grid.
        above: pictures to be shown above those written, as many.
    """
    as_json = asked.json
    if run.vocabulary.level == "pixel" and not as_json:
        path = Path(asked.png) if asked.png else run.path / f"{verb}.png"
        drawn = arrays_of(run.decode(z, how, seed, labels))
        pictures = below(arrays_of(above), drawn, COLUMNS) if above else drawn
        draw_grid(pictures, path, min(COLUMNS, len(z)) if above or len(z) <= COLUMNS else 0)
        say(f"{len(z)} pictures{' below those they are of' if above else ''}: {path}")
        return
    if asked.png and run.vocabulary.level == "pixel":
        raise UserError("expected --png or --json, got both")
    if asked.png:
        raise UserError("--png: draws the pictures of a run on pictures; this run writes text, to stdout")
    if not as_json and how.n_best == 1:
        print("\n".join(run.decode(z, how, seed, labels)))
        return
    for number, written in enumerate(run.candidates(z, how, seed, labels)):
        for rank, sentence in enumerate(written, 1):
            ranked = {"rank": rank} if how.n_best > 1 else {}
            said = {**(beside[number] if beside else {}), **ranked, **asdict(sentence)}
            print(json.dumps(said, ensure_ascii=False) if as_json else sentence.text)
