"""`uncollapse data`."""

import json
from collections.abc import Sequence
from pathlib import Path

from uncollapse.cli.parser import Parser
from uncollapse.cli.progress import say
from uncollapse.data.grammar import english
from uncollapse.data.splits import EMBEDDED, embedded
from uncollapse.errors import UserError
from uncollapse.run import write_atomically, write_json


def run(arguments: Sequence[str]) -> None:
    """Write the three parts of an embedded corpus, with the factors that made each sentence as its labels."""
    parser = Parser("data", f"Write an embedded corpus ({', '.join(EMBEDDED)}) to a folder that --data.path takes.")
    parser.add("name", metavar="NAME", help=" or ".join(EMBEDDED))
    parser.add("--out", default=None, metavar="DIR", help="the folder (needed)")
    parser.add(
        "--sentences",
        type=int,
        default=0,
        metavar="N",
        help="of the training part (default: the corpus's own)",
    )
    parser.add_seed()
    asked, _ = parser.parse(arguments)
    if not asked.out:
        raise UserError("data: expected --out DIR")
    if asked.sentences < 0:
        raise UserError(f"--sentences: expected an integer of at least 1, got {asked.sentences}")
    folder, parts = Path(asked.out), embedded(asked.name, asked.seed, asked.sentences)
    for part, texts in parts.items():
        fields = list(texts.labels)
        labels = (dict(zip(fields, values, strict=True)) for values in zip(*texts.labels.values(), strict=True))
        rows = (json.dumps({"text": text, "label": label}) for text, label in zip(texts.texts, labels, strict=True))
        write_atomically(folder / f"{part}.jsonl", ("\n".join(rows) + "\n").encode())
    if asked.name == "grammar":
        grammar = english()
        floors = {part: grammar.nll(texts.texts) for part, texts in parts.items()}
        write_json(
            folder / "floor.json",
            {"unit": "nats per sentence", "entropy": grammar.entropy(), "nll_floor": floors},
        )
    say(f"{', '.join(f'{len(texts.texts):,} {part}' for part, texts in parts.items())} sentences written to {folder}")
