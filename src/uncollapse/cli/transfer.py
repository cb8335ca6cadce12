"""`uncollapse transfer`."""

from collections.abc import Sequence

import uncollapse as uc
from uncollapse.cli.decoding import add_decoding, decoding, print_written
from uncollapse.cli.parser import Parser
from uncollapse.cli.reconstruct import add_sentences, labels_given, read_sentences, say_unknown
from uncollapse.errors import UserError


def run(arguments: Sequence[str]) -> None:
    """Print every sentence with its label changed, one a line."""
    parser = Parser("transfer", "Change the label of sentences: encode under one, decode under another. One a line.")
    add_sentences(parser)
    parser.add(
        "--from",
        default="",
        metavar="LABEL",
        help="their label: LABEL, or FIELD=LABEL,…; without it FILE must hold labels, as the training file did",
    )
    parser.add("--to", default="", metavar="LABEL", help="the label to be (needed); fields not named stay as they are")
    add_decoding(parser, "greedy")
    asked, _ = parser.parse(arguments)
    if not asked.to:
        raise UserError("transfer: expected --to LABEL")
    how = decoding(asked)
    done = uc.load(asked.run)
    done.need_labels()
    given = vars(asked)["from"]
    found = read_sentences(asked.file, done, given)
    if done.vocabulary.level == "word":  # unknown letters are refused
        say_unknown(found.texts, done)
    source = labels_given(given, found, done, "--from") or {}
    target = done.changed(found.texts, source, asked.to)
    z = done.posterior(found.texts, source).mu
    beside = [{"source": text} for text in found.texts]
    above = found.texts if done.vocabulary.level == "pixel" else []
    print_written(done, z, how, asked.seed, target, asked, beside, "transfer", above)
