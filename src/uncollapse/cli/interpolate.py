"""`uncollapse interpolate`."""

from collections.abc import Sequence
from pathlib import Path

import uncollapse as uc
from uncollapse.api import Run
from uncollapse.cli.decoding import add_decoding, decoding, print_written
from uncollapse.cli.encode import read_codes
from uncollapse.cli.parser import Parser
from uncollapse.cli.reconstruct import say_unknown
from uncollapse.errors import UserError
from uncollapse.generation.moves import PATHS
from uncollapse.space import Point


def add_points(parser: Parser, names: str, purpose: str) -> None:
    """Add sentences, the file of codes that may stand for them, and their label."""
    parser.add("run", metavar="RUN", help="the run folder")
    parser.add("sentences", nargs="*", metavar="SENTENCE", help=f"{names}: {purpose}")
    parser.add("--codes", default="", metavar="FILE", help=f"{names} as codes: a .npz of `encode`, or a .npy [N, Z]")
    parser.add("--label", default="", metavar="LABEL", help="of a conditional run: LABEL, or FIELD=LABEL,…; for all")


def points(run: Run, sentences: Sequence[str], codes: str, counts: Sequence[int], what: str) -> list[Point]:
    """Return the places that were named, as sentences or as codes.

    Raises:
        UserError: both, or not as many as there should be.
    """
    if sentences and codes:
        raise UserError(f"{what}: expected sentences or --codes, got both")
    say_unknown(sentences, run)
    found: list[Point] = list(read_codes(Path(codes))) if codes else list(sentences)
    if len(found) not in counts:
        wanted = " or ".join(map(str, counts))
        raise UserError(f"{what}: expected {wanted} sentences (or codes), got {len(found)}; put quotes around each")
    return found


def run(arguments: Sequence[str]) -> None:
    """Print the sentences between two, one a line, both ends among them."""
    parser = Parser("interpolate", "Write the sentences on the way from one sentence to another, both ends among them.")
    add_points(parser, "the two ends", "their posterior means; without them, two draws from the prior")
    parser.add("--steps", type=int, default=8, metavar="N", help="sentences, both ends counted (default 8)")
    parser.add("--path", default="line", metavar="NAME", help=f"{' or '.join(PATHS)}, about the origin (default line)")
    add_decoding(parser, "greedy")
    asked, _ = parser.parse(arguments)
    how, done = decoding(asked), uc.load(asked.run)
    a, b = points(done, asked.sentences, asked.codes, (0, 2), "interpolate") or (None, None)
    label = asked.label or None
    z = done.between(a, b, asked.steps, asked.path, asked.seed, label)
    print_written(done, z, how, asked.seed + 1, label, asked, verb="interpolate")
