"""`uncollapse sample`."""

from uncollapse.cli.decoding import begin, print_written
from uncollapse.cli.inputs import add_label
from uncollapse.cli.parser import Parser


def run(arguments: list[str]) -> None:
    """Print sentences drawn from the model, one a line."""
    parser = Parser("sample", "Draw sentences: z from the prior, then the sentence from z. One a line.")
    parser.add_run()
    parser.flag("-n", "N", "how many", default=10)
    add_label(parser, "without it, drawn as often as they occur in training")
    parser.flag("--prior", "NAME", "model, or fitted: the mixture that train.fit_prior fitted", default="model")
    done, asked = begin(parser, arguments, "sample")
    z, labels = done.draw(asked.n, asked.seed, asked.label or None, prior=asked.prior)
    drawn = [{"labels": {field: names[i] for field, names in labels.items()}} for i in range(len(z))] if labels else []
    print_written(done, z, asked, labels=labels, extra=drawn, later=1)
