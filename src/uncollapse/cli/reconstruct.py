"""`uncollapse reconstruct`."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import uncollapse as uc
from uncollapse.api import Run
from uncollapse.cli.decoding import add_decoding, decoding, print_written
from uncollapse.cli.parser import Parser
from uncollapse.cli.progress import say
from uncollapse.data.labels import Asked
from uncollapse.data.pictures import pictures_in, texts_of
from uncollapse.data.reading import Texts, decode_lines, read_texts
from uncollapse.errors import UserError

SHOWN = 8
"""Pictures reconstructed where none are named."""


def add_sentences(parser: Parser) -> None:
    """Add the run folder and the file of sentences."""
    parser.add("run", metavar="RUN", help="the run folder")
    parser.add("file", nargs="?", default="-", metavar="FILE", help="a file of sentences, or - for stdin (default)")


def add_label(parser: Parser, help: str) -> None:
    """Add the flag of a label."""
    parser.add("--label", default="", metavar="LABEL", help=f"of a conditional run: LABEL, or FIELD=LABEL,…; {help}")


def labels_given(asked: str, found: Texts, run: Run, flag: str = "--label") -> Asked | None:
    """Return the labels of sentences: those asked for, else those of the file; None for an unconditional run.

    Raises:
        UserError: a conditional run, and no labels anywhere.
    """
    if asked or not run.told.names:
        return asked or None
    if missing := [field for field in run.told.names if field not in found.labels]:
        raise UserError(f"expected labels of {', '.join(missing)}: the sentences carry none; add {flag} LABEL")
    return {field: found.labels[field] for field in run.told.names}


def read_sentences(source: str, run: Run, label: str = "") -> Texts:
    """Read sentences from a file, or from stdin for `-`.

    A file is read as the run's own data were (rows of forms: as its suffix says). If it carries labels and one is asked for, the
    sentences of that label are taken; a file without labels may stand where labels are given.
    """
    if run.vocabulary.level == "pixel":
        return _of_label(_read_pictures(source, run), run, label, source)
    if source == "-":
        if sys.stdin.isatty():
            say("reading sentences from the keyboard, one a line; end with Ctrl-D")
        found = Texts([text for _, text in decode_lines(sys.stdin.buffer, "stdin")])
    else:
        found = _read_file(Path(source), run, label)
    if not found.texts:
        raise UserError(f"{'stdin' if source == '-' else source}: expected a sentence a line, got none")
    return found


def _read_pictures(source: str, run: Run) -> Texts:
    """Read pictures from a file or folder; for `-`, the first of the run's test split."""
    if source == "-":
        few = run.splits()[0].test
        few = few.subset(np.arange(min(SHOWN, len(few))))
        say(f"the first {len(few)} pictures of the test split")
        return Texts(
            few.texts(), {field: [run.told.names[field][i] for i in few.labels[field]] for field in run.told.names}
        )
    found = pictures_in(Path(source), run.config.data.side)
    return Texts(texts_of(found.ink), found.labels)


def _read_file(path: Path, run: Run, label: str) -> Texts:
    format = "auto" if run.config.data.format == "parallel" else run.config.data.format
    try:
        found, remarks = read_texts(path, format)
    except UserError:
        if not label or format != "tsv":
            raise
        found, remarks = read_texts(path, "txt")  # no labels in it: the one asked for is that of all
    for remark in remarks:
        say(remark)
    return _of_label(found, run, label, path.name)


def _of_label(found: Texts, run: Run, label: str, source: str) -> Texts:
    """Return the sentences of the label that is asked for, where they carry labels."""
    if label and found.labels and run.told.names:
        wanted = run.told.read(label)
        kept = [
            i
            for i in range(len(found.texts))
            if all(found.labels[f][i] == wanted[f] for f in wanted if f in found.labels)
        ]
        say(f"{len(kept):,} of {len(found.texts):,} sentences of {source} have the label {label}")
        found = found.take(np.array(kept, dtype=int))
    return found


def say_unknown(texts: Sequence[str], run: Run) -> None:
    """Say how many words of sentences are unknown."""
    if unknown := run.unknown_words(texts):
        say(f"{unknown} tokens are not in the vocabulary of the run and were read as <unk>")


def run(arguments: Sequence[str]) -> None:
    """Print the reconstruction of every sentence, one a line."""
    parser = Parser("reconstruct", "Encode sentences and decode their posterior means. One a line.")
    add_sentences(parser)
    add_label(parser, "without it FILE must hold labels, as the training file did")
    add_decoding(parser, "greedy")
    asked, _ = parser.parse(arguments)
    how = decoding(asked)
    done = uc.load(asked.run)
    found = read_sentences(asked.file, done, asked.label)
    say_unknown(found.texts, done)
    labels = labels_given(asked.label, found, done)
    above = found.texts if done.vocabulary.level == "pixel" else []
    z = done.posterior(found.texts, labels).mu
    print_written(
        done,
        z,
        how,
        asked.seed,
        labels,
        asked,
        [{"source": text} for text in found.texts],
        verb="reconstruct",
        above=above,
    )
