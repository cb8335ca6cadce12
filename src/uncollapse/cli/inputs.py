"""What the verbs read: sentences, codes, labels and the data of a run, and the arguments that name them."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from uncollapse.cli.output import say
from uncollapse.cli.parser import Parser
from uncollapse.data.labels import LabelSpec
from uncollapse.data.picture_files import pictures_in
from uncollapse.data.pictures import texts_of
from uncollapse.data.reading import Texts, decode_lines, read_texts
from uncollapse.data.splits import Splits
from uncollapse.errors import UserError
from uncollapse.runs.config import Settings
from uncollapse.runs.run import Point, Run

SHOWN = 8
"""Pictures reconstructed where none are named."""


def add_sentences(parser: Parser, flag: str = "--label", help: str = "") -> None:
    """Add the run folder, the file of sentences and the flag of their label."""
    parser.add_run()
    source = "a file of sentences, or - for stdin (default)"
    parser.add_argument("file", nargs="?", default="-", metavar="FILE", help=source)
    add_label(parser, help or "without it FILE must hold labels, as the training file did", flag)


def add_label(parser: Parser, help: str, flag: str = "--label") -> None:
    """Add the flag of a label."""
    help = f"of a conditional run: LABEL, or FIELD=LABEL,…; {help}"
    parser.add_argument(flag, dest="label", default="", metavar="LABEL", help=help)


def add_executor(parser: Parser) -> None:
    """Add the flags that say where several trainings run."""
    jobs = "trainings at a time, each in a process with its share of the CPU's threads"
    parser.flag("--jobs", "N", jobs, default=1, least=1)
    parser.flag("--executor", "NAME", "ray or ray:ADDRESS: on a Ray cluster (extra `ray`; docs/scale.md)")


def add_points(parser: Parser, names: str, purpose: str) -> None:
    """Add the run, sentences, the file of codes that may stand for them, and their label."""
    parser.add_run()
    parser.add_argument("sentences", nargs="*", metavar="SENTENCE", help=f"{names}: {purpose}")
    parser.flag("--codes", "FILE", f"{names} as codes: a .npz of `encode`, or a .npy [N, Z]")
    add_label(parser, "for all")


def points(run: Run, asked: Namespace, *counts: int) -> list[Point]:
    """Return the places that were named, as sentences or as codes.

    Raises:
        UserError: both, or not as many as there should be.
    """
    expected = f"{asked.command}: expected"
    if asked.sentences and asked.codes:
        raise UserError(f"{expected} sentences or --codes, got both")
    say_unknown(asked.sentences, run)
    points_given: list[Point] = list(read_codes(Path(asked.codes))) if asked.codes else list(asked.sentences)
    if len(points_given) not in counts:
        wanted = " or ".join(map(str, counts))
        raise UserError(f"{expected} {wanted} sentences (or codes), got {len(points_given)}; put quotes around each")
    return points_given


def read_codes(path: Path) -> np.ndarray:
    """Read codes `[N, Z]` from a .npy, or the means from a .npz that `encode` wrote.

    Raises:
        UserError: a file that holds no codes.
    """
    try:
        arrays = np.load(path, allow_pickle=False)
        codes = arrays["mu"] if isinstance(arrays, np.lib.npyio.NpzFile) else arrays
    except Exception as error:  # whatever a damaged file makes its reader raise
        raise UserError(f"{path}: expected codes, a .npy [N, Z] or a .npz of encode ({error})") from None
    if codes.ndim != 2 or codes.dtype.kind not in "fi":
        raise UserError(f"{path}: expected codes of shape [N, Z], got {list(codes.shape)} of {codes.dtype}")
    return codes


def sentences_and_labels(run: Run, asked: Namespace) -> tuple[Sequence[str], LabelSpec | None]:
    """Return the sentences of FILE, and their labels where the run is conditional; say what is unknown."""
    texts = read_sentences(asked.file, run, asked.label)
    say_unknown(texts.texts, run)
    return texts.texts, labels_given(asked.label, texts, run)


def labels_given(asked: str, texts: Texts, run: Run, *, flag: str = "--label") -> LabelSpec | None:
    """Return the labels of sentences: those asked for, else those of the file; None for an unconditional run.

    Raises:
        UserError: a conditional run, and no labels anywhere.
    """
    if asked or not run.label_space.names:
        return asked or None
    if missing := [field for field in run.label_space.names if field not in texts.labels]:
        raise UserError(f"expected labels of {', '.join(missing)}: the sentences carry none; add {flag} LABEL")
    return {field: texts.labels[field] for field in run.label_space.names}


def read_sentences(source: str, run: Run, label: str = "") -> Texts:
    """Read sentences from a file, or from stdin for `-`.

    A file is read as the run's own data were (rows of forms: as its suffix says). If it carries labels and one is asked for, the
    sentences of that label are taken; a file without labels may stand where labels are given.
    """
    if not run.vocabulary.of_text:
        return _of_label(_read_pictures(source, run), run, label, source)
    if source == "-":
        if sys.stdin.isatty():
            say("reading sentences from the keyboard, one a line; end with Ctrl-D")
        texts = Texts([text for _, text in decode_lines(sys.stdin.buffer, "stdin")])
    else:
        texts = _read_file(Path(source), run, label)
    if not texts.texts:
        raise UserError(f"{'stdin' if source == '-' else source}: expected a sentence a line, got none")
    return texts


def _read_pictures(source: str, run: Run) -> Texts:
    """Read pictures from a file or folder; for `-`, the first of the run's test split."""
    if source != "-":
        pictures = pictures_in(Path(source), run.config.data.side)
        return Texts(texts_of(pictures.ink), pictures.labels)
    few = run.splits()[0].test
    few = few.first(SHOWN)
    say(f"the first {len(few)} pictures of the test split")
    names = run.label_space.names
    return Texts(few.texts(), {field: [names[field][i] for i in few.labels[field]] for field in names})


def _read_file(path: Path, run: Run, label: str) -> Texts:
    data = run.config.data
    format = "auto" if data.format == "parallel" else data.format
    labels = data.label_columns if run.label_space.names and not label else ()
    try:
        texts, messages = read_texts(path, format, text_column=data.text_column, label_columns=labels)
    except UserError:
        if not label or format != "tsv":
            raise
        texts, messages = read_texts(path, "txt")  # no labels in it: the one asked for is that of all
    say(*messages)
    return _of_label(texts, run, label, path.name)


def _of_label(texts: Texts, run: Run, label: str, source: str) -> Texts:
    """Return the sentences of the label that is asked for, where they carry labels."""
    if not (label and texts.labels and run.label_space.names):
        return texts
    right = np.ones(len(texts.texts), dtype=bool)
    for field, name in run.label_space.read(label).items():
        if field in texts.labels:
            right &= np.array([given == name for given in texts.labels[field]], dtype=bool)
    say(f"{right.sum():,} of {len(right):,} sentences of {source} have the label {label}")
    return texts.take(np.flatnonzero(right))


def say_unknown(texts: Sequence[str], run: Run) -> None:
    """Say how many words of sentences are unknown."""
    if unknown := run.inputs.unknown_words(texts):
        say(f"{unknown} tokens are not in the vocabulary of the run and were read as <unk>")


def read_splits(run: Run, settings: Settings) -> Splits:
    """Read the data of a run again, from where the settings say; say what there is to remark."""
    splits, messages = run.splits(settings.get("data"))
    say(*messages)
    return splits
