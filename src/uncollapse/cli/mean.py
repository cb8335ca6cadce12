"""`uncollapse mean`."""

from collections.abc import Sequence

import torch

import uncollapse as uc
from uncollapse.cli.decoding import add_decoding, decoding, print_written
from uncollapse.cli.parser import Parser
from uncollapse.cli.reconstruct import add_label, add_sentences, labels_given, read_sentences, say_unknown
from uncollapse.data.labels import Asked
from uncollapse.errors import UserError


def _common(labels: Asked | None) -> Asked | None:
    """Return the one label of each field.

    Raises:
        UserError: sentences of several labels, so that there is none to write under.
    """
    if labels is None or isinstance(labels, str):
        return labels
    for field, names in labels.items():
        if not isinstance(names, str) and len(set(names)) > 1:
            raise UserError(f"mean: the sentences have several labels of {field}; choose those of one by --label")
    return {field: names if isinstance(names, str) else names[0] for field, names in labels.items()}


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
    labels = labels_given(asked.label, found, done)
    z = torch.from_numpy(done.mean_code(found.texts, labels))
    beside = [{"sentences": len(found.texts), "code": z.tolist()}]
    print_written(done, z[None], how, asked.seed, _common(labels), asked, beside, verb="mean")
