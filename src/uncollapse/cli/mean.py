"""`uncollapse mean`."""

import torch

from uncollapse.cli.decoding import begin, print_written
from uncollapse.cli.inputs import add_sentences, sentences_and_labels
from uncollapse.cli.parser import Parser
from uncollapse.data.labels import LabelSpec
from uncollapse.errors import UserError


def _common(labels: LabelSpec | None) -> LabelSpec | None:
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


def run(arguments: list[str]) -> None:
    """Print the sentence of the mean code of a group of sentences."""
    parser = Parser("mean", "Write the sentence of the mean code of a group of sentences; with --json, the code too.")
    add_sentences(parser, help="of the group")
    done, asked = begin(parser, arguments)
    texts, labels = sentences_and_labels(done, asked)
    z = torch.from_numpy(done.mean_code(texts, labels))
    extra = [{"sentences": len(texts), "code": z.tolist()}]
    print_written(done, z[None], asked, labels=_common(labels), extra=extra)
