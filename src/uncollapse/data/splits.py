"""From settings to three splits of one corpus: files or an embedded generator, one vocabulary."""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from uncollapse.data.corpus import MAPPED, Corpus
from uncollapse.data.encoding import encode
from uncollapse.data.grammar import english
from uncollapse.data.labels import LabelSpace
from uncollapse.data.levels import choose_tokens
from uncollapse.data.parts import read_parts
from uncollapse.data.reading import SUFFIXES, Columns, Texts, suffix_of
from uncollapse.data.settings import DataConfig
from uncollapse.data.synthetic import Generator
from uncollapse.data.vocabulary import Level, Vocabulary, build_vocabulary
from uncollapse.errors import UserError, suggest

PARTS = ("train", "valid", "test")
CUT = (
    'python -c "import sys, sentencex; '
    "[print(s.strip()) for p in sys.stdin for s in sentencex.segment('en', p) if s.strip()]\""
)
"""The command that cuts paragraphs of stdin into sentences."""
REMEDY = f"raise it, or cut the text into sentences: pip install sentencex; {CUT} < FILE > sentences.txt"
LEVELS = {"word": "words", "char": "characters", "bpe": "subwords"}
MOST_COUNTED = 2_000_000
"""Sentences that a vocabulary is counted, or learned, from; of more, every second, third, …"""
MOST_SENTENCES = {"grammar": 10**7, "synthetic": 10**5, "verbs": 10**7}
"""Of the training part of an embedded corpus, which is held in memory; one of `synthetic` takes 50 kB while it is drawn."""
Draw = Callable[[int, list[int]], tuple[list[str], dict[str, list[str]]]]


@dataclass(frozen=True)
class Splits:
    """Train, valid and test over one vocabulary.

    Attributes:
        floor: mean of -log p(x) on each split where the true distribution is known, in nats per sentence.
        messages: about the data, for the user.
    """

    train: Corpus
    valid: Corpus
    test: Corpus
    floor: Mapping[str, float]
    messages: tuple[str, ...] = ()

    def __getitem__(self, part: str) -> Corpus:
        """Return a split by its name."""
        return {"train": self.train, "valid": self.valid, "test": self.test}[part]

    @property
    def vocabulary(self) -> Vocabulary:
        """Return the vocabulary."""
        return self.train.vocabulary

    @property
    def longest_sentence(self) -> int:
        """Return the most tokens of a training sentence, EOS not counted."""
        return int(self.train.lengths.max()) - 1


def _drawn(draw: Draw, seed: int, counts: Sequence[int]) -> dict[str, Texts]:
    """Return parts of so many sentences, each drawn from its own stream."""
    return {part: Texts(*draw(count, [seed, i])) for i, (part, count) in enumerate(zip(PARTS, counts, strict=True))}


def _grammar(seed: int, sentences: int) -> dict[str, Texts]:
    def draw(count: int, stream: list[int]) -> tuple[list[str], dict[str, list[str]]]:
        return english().sample(count, np.random.default_rng(stream))

    return _drawn(draw, seed, (sentences or 10000, 1000, 1000))


def _synthetic(seed: int, sentences: int) -> dict[str, Texts]:
    return _drawn(Generator(seed).sample, seed, (sentences or 16000, 2000, 2000))


EMBEDDED: dict[str, Callable[[int, int], dict[str, Texts]]] = {"grammar": _grammar, "synthetic": _synthetic}


Corpora = Mapping[str, Callable[[int, int], dict[str, Texts]]]
"""Embedded corpora by name, each from a seed and a number of training sentences to its parts."""


def embedded(name: str, seed: int = 0, sentences: int = 0, *, corpora: Corpora = EMBEDDED) -> dict[str, Texts]:
    """Make the three parts of an embedded corpus.

    Args:
        name: of the corpus.
        seed: the same seed makes the same sentences.
        sentences: of the training part; 0 for the corpus's own default.
        corpora: those there are.

    Raises:
        UserError: no such corpus, or more sentences than are held.
    """
    if name not in corpora:
        raise UserError(f"unknown corpus {name!r}: {suggest(name, corpora)}")
    if sentences > MOST_SENTENCES[name]:
        raise UserError(f"data.sentences: expected at most {MOST_SENTENCES[name]:,} of {name}, got {sentences}")
    return corpora[name](seed, sentences)


def load_splits(
    settings: DataConfig,
    corpora: Corpora = EMBEDDED,
    kept: Collection[str] = (),
    *,
    vocabulary: Vocabulary | None = None,
    space: LabelSpace | None = None,
    cache: Path | None = None,
) -> Splits:
    """Read or make the text that settings name.

    The vocabulary and the labels are those of a finished run; what it does not know is built from the data. The token ids of a
    file that is too large to be held lie in the folder `cache` and are mapped from there.

    Args:
        settings: of the data.
        corpora: embedded ones.
        kept: forms whose rows are not held out.
        vocabulary: of a finished run.
        space: the labels of a finished run.
        cache: a folder for token ids.

    Raises:
        UserError: no source or two, and whatever the readers refuse.
    """
    name, path, level = settings.name, settings.path, settings.level
    if name and (settings.valid or settings.test):
        raise UserError(f"data.valid and data.test go with --data.path, but the data are the embedded corpus {name}")
    if settings.columns:
        Columns.parse(settings.columns)
    if settings.columns and settings.format != "parallel" and not name:
        raise UserError(f"data.columns: expected data.format parallel, got {settings.format}")
    if bool(name) == bool(path):
        got = "both" if path else "neither"
        raise UserError(f"expected --data.path FILE or --data.name ({', '.join(corpora)}), got {got}")
    made = embedded(name, settings.seed, settings.sentences, corpora=corpora) if name else None
    parts, messages = (made, []) if made else read_parts(settings, kept, cache)
    new = vocabulary is None
    if vocabulary is None:
        texts, most = parts["train"].texts, settings.max_vocab
        if level == "auto" or not most:
            chosen = choose_tokens(texts, len(texts), level)
            level, most = chosen.level, most or chosen.most
            messages.append(
                f"tokens: {LEVELS[level]}, at most {most:,} ({chosen.reason}); --data.level, --data.max_vocab"
            )
        step = max(1, -(-len(texts) // MOST_COUNTED))
        if step > 1:
            messages.append(f"the vocabulary is that of every {step}. sentence")
        counted = islice(texts, 0, None, step)
        vocabulary = build_vocabulary(counted, level, settings.lowercase, max_size=most, min_count=settings.min_count)
    known = space.names if space else {}
    space = LabelSpace({**_label_space(parts).names, **known})
    longest = settings.max_length
    encoded = {part: _encode(texts, vocabulary, longest, space, part, cache) for part, texts in parts.items()}
    if (
        new
        and longest == DataConfig.max_length
        and encoded["train"].left_out > len(encoded["train"])
        and _of_lines(path)
    ):
        lines = f"{encoded['train'].left_out:,} of {len(parts['train'].texts):,} lines"
        raise UserError(
            f"{path}: expected a sentence a line, but {lines} are longer than data.max_length ({longest} tokens); {REMEDY}"
        )
    messages += [
        f"{part}: {corpus.left_out:,} of {len(parts[part].texts):,} sentences are longer than data.max_length "
        f"({longest} tokens) and were left out"
        for part, corpus in encoded.items()
        if corpus.left_out
    ]
    # the floor is that of the sentences as the model sees them: none left out, no word unknown
    as_made = name == "grammar" and vocabulary.level == "word" and not settings.lowercase
    held = {part: encoded[part] for part in ("valid", "test") if as_made}
    floor = {part: english().nll(each.texts()) for part, each in held.items() if not (each.unknown or each.left_out)}
    return Splits(encoded["train"], encoded["valid"], encoded["test"], floor, tuple(messages))


def load(
    path: str | Path = "",
    *,
    vocabulary: Vocabulary | None = None,
    level: Level | Literal["auto"] = "auto",
    max_vocab: int = 0,
    **settings: Any,
) -> Splits:
    """Read a file or a folder of text.

    Args:
        path: a file (a sentence a line, or a table), or a folder with train, valid and test files. Parts that are missing are
            split off.
        vocabulary: of an earlier model; by default built from the training part.
        level: what a token is; by default words or subwords, by the text.
        max_vocab: tokens of the vocabulary; 0: by the size of the text.
        settings: other fields of `data.settings.DataConfig`, such as `name="grammar"` for an embedded corpus.

    Raises:
        UserError: no source, no such setting or level, and whatever the readers refuse.
    """
    names, levels = [field.name for field in fields(DataConfig)], (*get_args(Level), "auto")
    if unknown := [name for name in settings if name not in names]:
        raise UserError(f"unknown setting {unknown[0]!r} of data: {suggest(unknown[0], names)}")
    if level not in levels:
        raise UserError(f"unknown level {level!r}: {suggest(level, levels)}")
    config = DataConfig(path=str(path), level=level, max_vocab=max_vocab, **settings)
    return load_splits(config, vocabulary=vocabulary)


def _of_lines(path: str) -> bool:
    return Path(path).is_file() and SUFFIXES.get(suffix_of(Path(path)), "txt") == "txt"


def _label_space(parts: Mapping[str, Texts]) -> LabelSpace:
    """Return the labels of all splits: those of parallel forms in the order of their columns, others sorted."""
    train = parts["train"]
    names = {}
    for field in train.labels:
        seen = dict.fromkeys(value for texts in parts.values() for value in texts.labels[field])
        names[field] = tuple(seen if train.rows else sorted(seen))
    return LabelSpace(names)


def _encode(
    texts: Texts, vocabulary: Vocabulary, max_length: int, space: LabelSpace, part: str, cache: Path | None
) -> Corpus:
    """Encode one split, its labels too; sentences over the limit are left out of both."""
    flat, offsets, kept = encode(texts.texts, vocabulary, max_length, cache=cache)
    if not len(kept):
        raise UserError(f"{part}: every sentence is longer than data.max_length {max_length} tokens; {REMEDY}")
    labels = {field: space.ids(field, texts.labels[field])[kept] for field in texts.labels if field in space.names}
    rows = np.asarray(texts.rows, dtype=np.int64)
    return Corpus(
        flat,
        offsets,
        vocabulary,
        labels,
        dict(space.names),
        rows[kept] if len(rows) else rows,
        len(texts.texts) - len(kept),
    )


def fingerprint(corpus: Corpus, fields: Sequence[str] = ()) -> str:
    """Return a short hash of a split's tokens and of some label fields, to notice that a file has changed since training."""
    digest = hashlib.sha256()
    for start in range(0, len(corpus.flat), MAPPED):
        digest.update(corpus.flat[start : start + MAPPED].tobytes())
    for start in range(0, len(corpus.offsets), MAPPED):
        digest.update(corpus.offsets[start : start + MAPPED].tobytes())
    for field in fields:
        if field in corpus.labels:
            digest.update(corpus.labels[field].tobytes())
    return digest.hexdigest()[:16]
