"""`uncollapse neighbours`."""

import json
from collections.abc import Sequence

import uncollapse as uc
from uncollapse.cli.parser import Parser
from uncollapse.cli.progress import say
from uncollapse.cli.reconstruct import add_label, labels_given, read_sentences, say_unknown


def run(arguments: Sequence[str]) -> None:
    """Print the sentences whose codes lie nearest to that of one sentence, with their distances."""
    parser = Parser(
        "neighbours", "Find the sentences whose codes lie nearest: distance, then the sentence, one a line."
    )
    parser.add("run", metavar="RUN", help="the run folder")
    parser.add("sentence", metavar="SENTENCE", help="the one whose neighbours are looked for")
    parser.add(
        "file", nargs="?", default="", metavar="FILE", help="the sentences to look among (default: those trained on)"
    )
    add_label(parser, "that of SENTENCE; those of FILE stand in it")
    parser.add("-n", type=int, default=5, metavar="N", help="how many (default 5)")
    parser.add("--cosine", action="store_true", help="by the angle, not by the Euclidean distance")
    parser.add("--json", action="store_true", help="an object a line")
    parser.add_settings(["data.path"])
    asked, settings = parser.parse(arguments)
    done = uc.load(asked.run)
    say_unknown([asked.sentence], done)
    if asked.file:
        found = read_sentences(asked.file, done)
        among, labels = found.texts, labels_given("", found, done)
    else:
        splits, remarks = done.splits(settings.get("data"))
        for remark in remarks:
            say(remark)
        among, labels = splits.train.texts(), done.labels_of(splits.train)
    for distance, text in done.neighbours(asked.sentence, among, asked.n, asked.cosine, asked.label or None, labels):
        print(
            json.dumps({"distance": distance, "text": text}, ensure_ascii=False)
            if asked.json
            else f"{distance:.3f}\t{text.replace(chr(10), '/')}"
        )
