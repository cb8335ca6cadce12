"""`uncollapse analogy`."""

from uncollapse.cli.decoding import begin, print_written
from uncollapse.cli.inputs import add_points, points
from uncollapse.cli.parser import Parser
from uncollapse.generation.latent_ops import analogy


def run(arguments: list[str]) -> None:
    """Print the sentence of a - b + c."""
    parser = Parser("analogy", "Write what stands to C as A stands to B: the sentence of the code a - b + c.")
    add_points(parser, "A, B and C", "their posterior means")
    done, asked = begin(parser, arguments)
    label = asked.label or None
    a, b, c = (done.code(place, label) for place in points(done, asked, 3))
    print_written(done, analogy(a, b, c)[None], asked, labels=label)
