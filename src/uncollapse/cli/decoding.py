"""The flags of decoding, and the sentences that come of it: the same for every command that writes."""

import json
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

import uncollapse as uc
from uncollapse.cli.output import say, show
from uncollapse.cli.parser import Parser
from uncollapse.data.labels import LabelSpec
from uncollapse.data.pictures import arrays_of
from uncollapse.errors import UserError
from uncollapse.generation.decoding import STRATEGIES, Decoding
from uncollapse.nn.kinds import PixelCNNConfig
from uncollapse.reporting.grid import COLUMNS, below, draw_grid
from uncollapse.runs.run import Run
from uncollapse.runs.shipped import is_shipped

FLAGS: dict[str, tuple[str, tuple[str, ...]]] = {
    "temperature": ("divides the logits before a draw", ("sample", "top-k", "nucleus")),
    "top_k": ("tokens that top-k draws among", ("top-k",)),
    "top_p": ("probability that the tokens of nucleus reach together", ("nucleus",)),
    "beam_width": ("sentences that a beam keeps in hand", ("beam",)),
    "length_penalty": ("a of a beam's rank, log p / length^a; 0: none", ("beam",)),
    "n_best": ("sentences that a beam prints for each code, the best first", ("beam",)),
    "min_length": ("fewest tokens", STRATEGIES),
    "max_length": ("most tokens; 0: the longest training sentence", STRATEGIES),
    "no_repeat": ("no run of so many tokens twice in a sentence; 0: all allowed", STRATEGIES),
}
"""The help of every flag that takes a number, and the strategies that it belongs to."""


def add_decoding(parser: Parser, strategy: str = "") -> None:
    """Add the flags of decoding, `--seed` and `--json`; without a strategy it is left to the run (`begin`)."""
    left = "" if strategy else " (default: greedy; sample for a PixelCNN, whose most probable picture is blank)"
    parser.flag("--decode", "NAME", f"{', '.join(STRATEGIES)}{left}", default=strategy)
    for name, (help, _) in FLAGS.items():
        default = getattr(Decoding, name)
        flag, metavar = f"--{name.replace('_', '-')}", "N" if type(default) is int else "X"
        parser.flag(flag, metavar, f"{help} (default {default:g})", default=type(default))
    parser.switch("--unknown", "the unknown token may be written; as a rule the next best is")
    parser.add_seed()
    parser.switch("--json", "an object a line, with log p(sentence | z) and its tokens")
    parser.flag("--png", "FILE", "of a run on pictures: the grid (default: RUN/COMMAND.png)")
    parser.flag("--grid-columns", "N", "of it: pictures in a row; 0: by their number", default=0, least=0)
    parser.switch("--probabilities", "of it: shades of grey, the probability of ink given the pixels before it")


def decoding(asked: Namespace) -> Decoding:
    """Return the decoding that was asked for.

    Raises:
        UserError: a value out of its range, or a flag that does not belong to the strategy.
    """
    given = {name: getattr(asked, name) for name in FLAGS if getattr(asked, name) is not None}
    strategy: Any = asked.decode or "greedy"
    for name in given:
        flag, strategies = name.replace("_", "-"), FLAGS[name][1]
        if strategy in STRATEGIES and strategy not in strategies:
            raise UserError(f"--{flag}: goes with --decode {' or '.join(strategies)}, got --decode {strategy}")
    return Decoding(strategy, no_unknown=not asked.unknown, **given)


def begin(parser: Parser, arguments: Sequence[str], strategy: str = "") -> tuple[Run, Namespace]:
    """Read the arguments of a command that writes, those of decoding among them; return the run, and what is asked of it."""
    add_decoding(parser, strategy)
    asked, _ = parser.parse(arguments)
    decoding(asked)  # what is wrong with it is said before the run is loaded
    run = uc.load(asked.run)
    asked.decode = asked.decode or ("sample" if isinstance(run.config.decoder, PixelCNNConfig) else "greedy")
    return run, asked


def print_written(
    run: Run,
    z: Tensor,
    asked: Namespace,
    *,
    labels: LabelSpec | None = None,
    sources: Sequence[str] = (),
    extra: Sequence[dict[str, Any]] = (),
    later: int = 0,
) -> None:
    """Print the sentences of every code, one a line; draw pictures as a grid.

    Args:
        run: the run.
        z: codes, `[N, Z]`.
        asked: how they are decoded; `json`, to print objects with scores; `png`, where a grid goes.
        labels: of a conditional run.
        sources: what the codes are of, as many; pictures stand above those written.
        extra: further fields of the object of each code.
        later: is added to the seed, where the codes too were drawn by it.
    """
    how, seed, pictures = decoding(asked), asked.seed + later, not run.vocabulary.of_text
    if pictures and not asked.json:
        home = Path() if is_shipped(run.path) else run.path
        path = Path(asked.png) if asked.png else home / f"{asked.command}.png"
        texts = run.decode(z, how, seed, labels=labels)
        drawn = run.ink(texts, z, labels) if asked.probabilities else arrays_of(texts)
        columns = asked.grid_columns or (min(COLUMNS, len(z)) if sources or len(z) <= COLUMNS else 0)
        draw_grid(below(arrays_of(sources), drawn, columns) if sources else drawn, path, columns)
        say(f"{len(z)} pictures{' below those they are of' if sources else ''}: {path}")
        return
    grid = asked.png or asked.grid_columns or asked.probabilities
    if grid and pictures:
        raise UserError("expected --json, or --png and its flags, got both")
    if grid:
        raise UserError("--png and its flags: draw the pictures of a run on pictures; this run writes text, to stdout")
    if not asked.json and how.n_best == 1:
        show("\n".join(run.decode(z, how, seed, labels=labels)))
        return
    extra = [{"source": text} for text in sources] or extra
    for number, written in enumerate(run.candidates(z, how, seed, labels=labels)):
        for rank, sentence in enumerate(written, 1):
            ranked = {"rank": rank} if how.n_best > 1 else {}
            said = {**(extra[number] if extra else {}), **ranked, **asdict(sentence)}
            show(json.dumps(said, ensure_ascii=False) if asked.json else sentence.text)
