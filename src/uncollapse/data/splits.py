"""From settings to three splits of one corpus: files or an embedded generator, one vocabulary."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from uncollapse.data.corpus import Corpus
from uncollapse.data.grammar import english
from uncollapse.data.reading import Texts, read_parts
from uncollapse.data.synthetic import Generator
from uncollapse.data.vocabulary import Level, Vocabulary, build_vocabulary
from uncollapse.errors import UserError, nearest

PARTS = ("train", "valid", "test")


@dataclass(frozen=True)
class Splits:
    """Train, valid and test over one vocabulary.

    Attributes:
        floor: mean of -log p(x) on each split where the true distribution is known, in nats per sentence.
        remarks: what the user should be told about the data.
    """

    train: Corpus
    valid: Corpus
    test: Corpus
    floor: Mapping[str, float]
    remarks: tuple[str, ...] = ()

    def __getitem__(self, part: str) -> Corpus:
        """Return a split by its name."""
        return {"train": self.train, "valid": self.valid, "test": self.test}[part]

    @property
    def vocabulary(self) -> Vocabulary:
        """Return the vocabulary."""
        return self.train.vocabulary


# name -> sentences of train, valid, test
EMBEDDED: dict[str, tuple[int, int, int]] = {"grammar": (10000, 1000, 1000), "synthetic": (16000, 2000, 2000)}


def embedded(name: str, seed: int = 0, sentences: int = 0) -> dict[str, Texts]:
    """Make the three parts of an embedded corpus.

    Args:
        name: grammar or synthetic.
        seed: the same seed makes the same sentences.
        sentences: of the training part; 0 for the corpus's own default.

    Raises:
        UserError: no such corpus.
    """
    if name not in EMBEDDED:
        raise UserError(f"unknown corpus {name!r}: {nearest(name, EMBEDDED)}")
    train, *held = EMBEDDED[name]
    draw: Callable[[int, list[int]], tuple[list[str], dict[str, list[str]]]]
    if name == "grammar":
        draw = lambda count, stream: english().sample(count, np.random.default_rng(stream))  # noqa: E731
    else:
        draw = Generator(seed).sample
    counts = (sentences or train, *held)
    return {part: Texts(*draw(count, [seed, i])) for i, (part, count) in enumerate(zip(PARTS, counts, strict=True))}


def load_splits(
    *,
    name: str,
    path: str,
    valid: str,
    test: str,
    format: str,
    level: Level,
    lowercase: bool,
    max_vocab: int,
    min_count: int,
    max_length: int,
    sentences: int,
    seed: int,
    vocabulary: Vocabulary | None = None,
) -> Splits:
    """Read or make the data that the `data` settings of a run name; see `config.DataConfig` for each.

    The vocabulary is that of a finished run, or is built from the training split.

    Raises:
        UserError: no source or two, and whatever the readers refuse.
    """
    if name and (valid or test):
        raise UserError(f"data.valid and data.test go with --data.path, but the data are the embedded corpus {name}")
    if bool(name) == bool(path):
        got = "both" if path else "neither"
        raise UserError(f"expected --data.path FILE or --data.name ({', '.join(EMBEDDED)}), got {got}")
    parts, remarks = (
        (embedded(name, seed, sentences), []) if name else read_parts(Path(path), valid, test, format, seed)
    )
    if vocabulary is None:
        vocabulary = build_vocabulary(parts["train"].texts, level, lowercase, max_vocab, min_count)
    fields = parts["train"].labels
    classes = {
        field: tuple(sorted({value for texts in parts.values() for value in texts.labels[field]})) for field in fields
    }
    corpora = {part: _encode(texts, vocabulary, max_length, classes, part) for part, texts in parts.items()}
    remarks += [
        f"{part}: {corpus.left_out:,} of {len(parts[part].texts):,} sentences are longer than data.max_length "
        f"({max_length} tokens) and were left out"
        for part, corpus in corpora.items()
        if corpus.left_out
    ]
    # the floor is that of the sentences as the model sees them: none left out, no word unknown
    exact = [part for part in ("valid", "test") if name == "grammar" and not (lowercase or corpora[part].unknown)]
    floor = {part: english().nll(corpora[part].texts()) for part in exact if level == "word"}
    return Splits(corpora["train"], corpora["valid"], corpora["test"], floor, tuple(remarks))


def _encode(
    texts: Texts, vocabulary: Vocabulary, max_length: int, names: Mapping[str, tuple[str, ...]], part: str
) -> Corpus:
    """Encode one split, its labels too; sentences over the limit are left out of both."""
    every = Corpus.from_texts(texts.texts, vocabulary)
    short = np.flatnonzero(every.lengths - 1 <= max_length)
    if not len(short):
        raise UserError(f"{part}: every sentence is longer than data.max_length {max_length} tokens; raise it")
    labels = {field: _classes(texts.labels[field], classes) for field, classes in names.items()}
    corpus = replace(every, labels=labels, label_names=dict(names))
    if len(short) == len(every):
        return corpus
    return replace(corpus.subset(short), left_out=len(every) - len(short))


def _classes(values: list[str], names: tuple[str, ...]) -> np.ndarray:
    ids = {name: i for i, name in enumerate(names)}
    return np.array([ids[value] for value in values], dtype=np.int32)


def fingerprint(corpus: Corpus) -> str:
    """Return a short hash of a split's tokens, to notice that a file has changed since training."""
    return hashlib.sha256(corpus.flat.tobytes() + corpus.offsets.tobytes()).hexdigest()[:16]
