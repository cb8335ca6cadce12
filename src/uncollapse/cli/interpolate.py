"""`uncollapse interpolate`."""

from uncollapse.cli.decoding import begin, print_written
from uncollapse.cli.inputs import add_points, points
from uncollapse.cli.parser import Parser
from uncollapse.generation.latent_ops import PATHS


def run(arguments: list[str]) -> None:
    """Print the sentences between two, one a line, both ends among them."""
    parser = Parser("interpolate", "Write the sentences on the way from one sentence to another, both ends among them.")
    add_points(parser, "the two ends", "their posterior means; without them, two draws from the prior")
    parser.flag("--steps", "N", "sentences, both ends counted", default=8)
    parser.flag("--path", "NAME", f"{' or '.join(PATHS)}, about the origin", default="line")
    done, asked = begin(parser, arguments)
    label = asked.label or None
    a, b = points(done, asked, 0, 2) or (None, None)
    z = done.interpolation(a, b, asked.steps, path=asked.path, seed=asked.seed, labels=label)
    print_written(done, z, asked, labels=label, later=1)
