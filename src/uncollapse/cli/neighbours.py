"""`uncollapse neighbours`."""

import json

import uncollapse as uc
from uncollapse.cli.inputs import add_label, labels_given, read_sentences, read_splits, say_unknown
from uncollapse.cli.output import show
from uncollapse.cli.parser import Parser


def run(arguments: list[str]) -> None:
    """Print the sentences whose codes lie nearest to that of one sentence, with their distances."""
    parser = Parser("neighbours", "Find the sentences whose codes lie nearest: distance, then sentence, one a line.")
    parser.add_run()
    parser.add_argument("sentence", metavar="SENTENCE", help="the one whose neighbours are looked for")
    among = "the sentences to look among (default: those trained on)"
    parser.add_argument("file", nargs="?", default="", metavar="FILE", help=among)
    add_label(parser, "that of SENTENCE; those of FILE stand in it")
    parser.flag("-n", "N", "how many", default=5)
    parser.switch("--cosine", "by the angle, not by the Euclidean distance")
    parser.switch("--json", "an object a line")
    parser.add_settings(["data.path"])
    asked, settings = parser.parse(arguments)
    done = uc.load(asked.run)
    say_unknown([asked.sentence], done)
    if asked.file:
        given = read_sentences(asked.file, done)
        texts, labels = given.texts, labels_given("", given, done)
    else:
        train = read_splits(done, settings).train
        texts, labels = train.texts(), done.labels_of(train)
    for distance, text in done.neighbours(
        asked.sentence, texts, asked.n, cosine=asked.cosine, labels=asked.label or None, among_labels=labels
    ):
        said = {"distance": distance, "text": text}
        flat = text.replace("\n", "/")
        show(json.dumps(said, ensure_ascii=False) if asked.json else f"{distance:.3f}\t{flat}")
