"""`uncollapse walk`."""

from collections.abc import Sequence

import uncollapse as uc
from uncollapse.cli.decoding import add_decoding, decoding, print_written
from uncollapse.cli.interpolate import add_points, points
from uncollapse.cli.parser import Parser


def run(arguments: Sequence[str]) -> None:
    """Print the sentences along one dimension of the code, one a line."""
    parser = Parser("walk", "Write the sentences along one dimension, all others kept where a sentence has them.")
    add_points(parser, "where to start", "its posterior mean; without it, the origin")
    parser.add(
        "--dimension",
        type=int,
        default=0,
        metavar="D",
        help="which, from 0 (default); `evaluate --protocol aggregate` says which carry most",
    )
    parser.add("--steps", type=int, default=7, metavar="N", help="sentences (default 7)")
    parser.add("--span", type=float, default=3.0, metavar="X", help="the walk goes from -X to X (default 3)")
    add_decoding(parser, "greedy")
    asked, _ = parser.parse(arguments)
    how, done = decoding(asked), uc.load(asked.run)
    label = asked.label or None
    start = next(iter(points(done, asked.sentences, asked.codes, (0, 1), "walk")), None)
    z = done.along(asked.dimension, start, asked.steps, asked.span, label)
    beside = [{"value": value} for value in z[:, asked.dimension].tolist()]
    print_written(done, z, how, asked.seed, label, asked, beside, verb="walk")
