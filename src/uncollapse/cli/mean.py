"""`uncollapse mean`."""

from collections.abc import Sequence

import uncollapse as uc
from uncollapse.cli.decoding import add_decoding, decoding, print_written
from uncollapse.cli.parser import Parser
from uncollapse.cli.reconstruct import add_label, add_sentences, labels_given, read_sentences, say_unknown


def run(arguments: Sequence[str]) -> None:
    """Print the sentence of the mean code of a group of sentences."""
    parser = Parser("mean", "Write the sentence of the mean code of a group of sentences; with --json, the code too.")
    add_sentences(parser)
    add_label(parser, "of the group")
    add_decoding(parser, "greedy")
    asked, _ = parser.parse(arguments)
    how, done = decoding(asked), uc.load(asked.run)
    found = read_sentences(asked.file, done, asked.label)
    say_unknown(found.texts, done)
    z = done.posterior(found.texts, labels_given(asked.label, found, done)).mu.mean(0)
    beside = [{"sentences": len(found.texts), "code": z.tolist()}]
    print_written(done, z[None], how, asked.seed, asked.label or None, asked.json, beside)
