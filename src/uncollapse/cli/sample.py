"""`uncollapse sample`."""

from collections.abc import Sequence

import uncollapse as uc
from uncollapse.cli.decoding import add_decoding, decoding, print_written
from uncollapse.cli.parser import Parser


def run(arguments: Sequence[str]) -> None:
    """Print sentences drawn from the model, one a line."""
    parser = Parser("sample", "Draw sentences: z from the prior, then the sentence from z. One a line.")
    parser.add("run", metavar="RUN", help="the run folder")
    parser.add("-n", type=int, default=10, metavar="N", help="how many (default 10)")
    parser.add(
        "--label",
        default="",
        metavar="LABEL",
        help="of a conditional run: LABEL, or FIELD=LABEL,… (default: drawn as often as they occur in training)",
    )
    parser.add(
        "--prior",
        default="model",
        metavar="NAME",
        help="model, or fitted: the mixture fitted to the training codes by train.fit_prior (default model)",
    )
    add_decoding(parser, "sample")
    asked, _ = parser.parse(arguments)
    how = decoding(asked)
    run = uc.load(asked.run)
    z, labels = run.draw(asked.n, asked.seed, asked.label or None, asked.prior)
    drawn = [{"labels": {field: names[i] for field, names in labels.items()}} for i in range(len(z))] if labels else []
    print_written(run, z, how, asked.seed + 1, labels, asked, drawn, verb="sample")
