"""`uncollapse analogy`."""

from collections.abc import Sequence

import uncollapse as uc
from uncollapse.cli.decoding import add_decoding, decoding, print_written
from uncollapse.cli.interpolate import add_points, points
from uncollapse.cli.parser import Parser
from uncollapse.generation.moves import analogy


def run(arguments: Sequence[str]) -> None:
    """Print the sentence of a - b + c."""
    parser = Parser("analogy", "Write what stands to C as A stands to B: the sentence of the code a - b + c.")
    add_points(parser, "A, B and C", "their posterior means")
    add_decoding(parser, "greedy")
    asked, _ = parser.parse(arguments)
    how, done = decoding(asked), uc.load(asked.run)
    label = asked.label or None
    a, b, c = (done.code(place, label) for place in points(done, asked.sentences, asked.codes, (3,), "analogy"))
    print_written(done, analogy(a, b, c)[None], how, asked.seed, label, asked, verb="analogy")
