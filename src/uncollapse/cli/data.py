"""`uncollapse data`."""

import io
import json
import os
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from uncollapse.cli.output import say, show
from uncollapse.cli.parser import Parser
from uncollapse.data.catalogue import entries
from uncollapse.data.download import get
from uncollapse.data.grammar import english
from uncollapse.data.pictures import stroke_parts
from uncollapse.data.reading import Texts
from uncollapse.data.splits import embedded
from uncollapse.errors import UserError, suggest
from uncollapse.files import write_atomically, write_json
from uncollapse.messages import Bar
from uncollapse.runs.builders.data import EMBEDDED

NAMES = (*EMBEDDED, "strokes")


def run(arguments: list[str]) -> None:
    """Write an embedded corpus, or download a public one."""
    if arguments[:1] == ["get"]:
        _get(arguments[1:])
    else:
        _write(arguments)


def _get(arguments: list[str]) -> None:
    """Download a public corpus, or list those there are."""
    parser = Parser("data get", "Download a public corpus, checked and unpacked, to a folder that --data.path takes.")
    parser.add_argument("name", nargs="?", default="", metavar="NAME", help="a corpus; without: list them")
    parser.flag("--out", "DIR", "the folder (default: NAME in $UNCOLLAPSE_DATA, or in data)")
    parser.flag("--from", "FILE", "the file, or the folder of the files, that you have already; nothing is downloaded")
    asked, _ = parser.parse(arguments)
    if not asked.name:
        for entry in entries().values():
            show(f"{entry.name:<15} {entry.title} (licence: {entry.licence})")
        return
    if asked.name in NAMES and asked.name not in entries():
        raise UserError(f"{asked.name} is embedded, nothing is downloaded: uncollapse data {asked.name} --out DIR")
    folder = Path(asked.out or Path(os.environ.get("UNCOLLAPSE_DATA", "data")) / asked.name)
    given = Path(vars(asked)["from"]) if vars(asked)["from"] else None
    with Bytes() as bar:
        files = get(asked.name, folder, given=given, advance=bar.reach)
    entry = entries()[asked.name]
    say(f"licence: {entry.licence}", f"cite: {entry.cite}")
    say(f"{', '.join(f'{path.name} ({path.stat().st_size:,} bytes)' for path in files)} in {folder}")
    say(f"next: uncollapse train {entry.train} --data.path {folder}".replace("  ", " "))


class Bytes(Bar):
    """The bar of downloads, in MiB."""

    def reach(self, name: str, done: int, total: int) -> None:
        """Show how far a file is."""
        if name != self.name:
            self.begin(name, max(1, total >> 20), done >> 20)
            self.rename(name)
        while self.done < done >> 20:
            self.advance("MiB")


def _write(arguments: list[str]) -> None:
    """Write the three parts of an embedded corpus, with the factors that made each sentence as its labels, or rows of forms."""
    purpose = (
        f"Write an embedded corpus ({', '.join(NAMES)}) to a folder that --data.path takes, or download a public one:"
    )
    parser = Parser("data", f"{purpose} uncollapse data get [NAME].")
    parser.add_argument("name", metavar="NAME", help=f"{' or '.join(NAMES)}; or get")
    parser.flag("--out", "DIR", "the folder", needed=True)
    parser.flag("--sentences", "N", "of the training part; 0: the corpus's own", default=0, least=0)
    parser.flag("--side", "N", "of strokes: pixels of a side", default=28, least=8)
    parser.add_seed()
    asked, _ = parser.parse(arguments)
    if asked.name == "strokes":
        _write_strokes(Path(asked.out), asked.sentences, asked.seed, asked.side)
        return
    if asked.name not in NAMES:
        raise UserError(f"unknown corpus {asked.name!r}: {suggest(asked.name, NAMES)}")
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
