"""`uncollapse data`."""

import io
import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from uncollapse.cli.output import say
from uncollapse.cli.parser import Parser
from uncollapse.data.grammar import english
from uncollapse.data.pictures import stroke_parts
from uncollapse.data.reading import Texts
from uncollapse.data.splits import embedded
from uncollapse.files import write_atomically, write_json
from uncollapse.runs.build import EMBEDDED

NAMES = (*EMBEDDED, "strokes")


def run(arguments: list[str]) -> None:
    """Write the three parts of an embedded corpus, with the factors that made each sentence as its labels, or rows of forms."""
    parser = Parser("data", f"Write an embedded corpus ({', '.join(NAMES)}) to a folder that --data.path takes.")
    parser.add_argument("name", metavar="NAME", help=" or ".join(NAMES))
    parser.flag("--out", "DIR", "the folder", needed=True)
    parser.flag("--sentences", "N", "of the training part; 0: the corpus's own", default=0, least=0)
    parser.flag("--side", "N", "of strokes: pixels of a side", default=28, least=8)
    parser.add_seed()
    asked, _ = parser.parse(arguments)
    if asked.name == "strokes":
        _write_strokes(Path(asked.out), asked.sentences, asked.seed, asked.side)
        return
    folder, parts = Path(asked.out), embedded(asked.name, asked.seed, asked.sentences, corpora=EMBEDDED)
    for part, texts in parts.items():
        name, rows = (f"{part}.txt", _parallel(texts)) if texts.rows else (f"{part}.jsonl", _labelled(texts))
        write_atomically(folder / name, ("\n".join(rows) + "\n").encode())
    if asked.name == "grammar":
        grammar = english()
        floors = {part: grammar.nll(texts.texts) for part, texts in parts.items()}
        floors_of = {"unit": "nats per sentence", "entropy": grammar.entropy(), "nll_floor": floors}
        write_json(folder / "floor.json", floors_of)
    if parts["train"].rows:
        field, names = next((field, dict.fromkeys(names)) for field, names in parts["train"].labels.items())
        flags = f"--data.level char --data.format parallel --data.columns '{field}: {', '.join(names)}'"
        say(f"rows of parallel forms: read them with {flags}")
    say(f"{', '.join(f'{len(texts.texts):,} {part}' for part, texts in parts.items())} sentences written to {folder}")


def _write_strokes(folder: Path, count: int, seed: int, side: int) -> None:
    """Write the pictures of `strokes` as one file of three arrays, intensities from 0 to 1."""
    content, parts = io.BytesIO(), stroke_parts(side, count, seed)
    arrays: dict[str, Any] = {part: figures.ink for part, figures in parts.items()}
    np.savez_compressed(content, **arrays)
    write_atomically(folder / "strokes.npz", content.getvalue())
    sizes = ", ".join(f"{len(figures.ink):,} {part}" for part, figures in parts.items())
    flags = f"--recipe strokes --data.name= --data.path {folder / 'strokes.npz'} --data.side {side}"
    say(f"{sizes} pictures written to {folder / 'strokes.npz'}; train on them with {flags}")


def _labelled(texts: Texts) -> Iterator[str]:
    """Yield one JSON object a sentence, with its labels."""
    fields = list(texts.labels)
    for text, *values in zip(texts.texts, *texts.labels.values(), strict=True):
        yield json.dumps({"text": text, "label": dict(zip(fields, values, strict=True))})


def _parallel(texts: Texts) -> Iterator[str]:
    """Yield the forms of each row, separated by blanks."""
    for _, row in groupby(zip(texts.rows, texts.texts, strict=True), key=lambda pair: pair[0]):
        yield " ".join(text for _, text in row)
