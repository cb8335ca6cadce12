"""`uncollapse walk`."""

from uncollapse.cli.decoding import begin, print_written
from uncollapse.cli.inputs import add_points, points
from uncollapse.cli.parser import Parser


def run(arguments: list[str]) -> None:
    """Print the sentences along one dimension of the code, one a line."""
    parser = Parser("walk", "Write the sentences along one dimension, all others kept where a sentence has them.")
    add_points(parser, "where to start", "its posterior mean; without it, the origin")
    parser.flag("--dimension", "D", "which, from 0; `evaluate --protocol aggregate` says which carry most", default=0)
    parser.flag("--steps", "N", "sentences", default=7)
    parser.flag("--span", "X", "the walk goes from -X to X", default=3.0)
    done, asked = begin(parser, arguments)
    label = asked.label or None
    start = next(iter(points(done, asked, 0, 1)), None)
    z = done.traversal(asked.dimension, start, asked.steps, span=asked.span, labels=label)
    extra = [{"value": value} for value in z[:, asked.dimension].tolist()]
    print_written(done, z, asked, labels=label, extra=extra)
