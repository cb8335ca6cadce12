"""The settings of the data. Nothing here imports torch."""

from dataclasses import dataclass
from typing import Literal

from uncollapse.settings import setting


@dataclass(frozen=True)
class DataConfig:
    """What is learned from."""

    name: Literal["", "grammar", "synthetic", "verbs", "strokes"] = setting(
        "", "an embedded corpus, in place of a path"
    )
    path: str = setting(
        "", "a file, a folder with train, valid and test files, or a pattern of files ('shards/*.jsonl.gz')"
    )
    valid: str = setting("", "an explicit validation file")
    test: str = setting("", "an explicit test file")
    format: Literal["auto", "txt", "tsv", "csv", "jsonl", "parallel"] = setting(
        "auto", "auto: by the file's suffix; parallel: a row of forms a line"
    )
    text_column: str = setting("", "of a table or .jsonl: the field of the text, where it is not chosen by itself")
    label_column: str = setting(
        "", "of a table or .jsonl: the label fields, separated by commas, where not all are meant"
    )
    columns: str = setting("", "of parallel rows: their label field and its names, such as 'tense: sp, tp, pg, p'")
    pairs: str = setting(
        "", "a file in the folder of data.path that is no split: pairs of forms to convert, a pair a line"
    )
    directions: str = setting("", "of these pairs, in order, such as 'sp>p, sp>pg'")
    held_out: float = setting(
        0.05, "share of the training part split off for each missing split; 0: the training part itself", 0, 0.45
    )
    level: Literal["word", "char", "bpe", "pixel", "auto"] = setting(
        "word",
        "what a token is; bpe: subwords, learned from the training split; pixel: the data are pictures; auto: by the text",
    )
    lowercase: bool = setting(False, "lower the case of the text")
    max_vocab: int = setting(20000, "keep the most frequent tokens of the training split; 0: by its size", 0, 10**9)
    min_count: int = setting(1, "tokens seen less often are unknown", 1, 10**9)
    vocab_from: str = setting(
        "", "a run folder whose vocabulary is taken, in place of one built from the training split"
    )
    max_length: int = setting(256, "longer sentences (in tokens) are left out, counted and reported", 1, 10**6)
    side: int = setting(28, "of pictures: pixels of a side, to which they are resized", 8, 512)
    dynamic: bool = setting(False, "of pictures: draw the training pixels from their intensities anew in every batch")
    sentences: int = setting(
        0,
        "of the training split: how many an embedded corpus draws, or the first of a file; 0: its own, or all",
        0,
        10**7,
    )
    seed: int = setting(0, "seed of an embedded corpus and of the split of missing parts", 0, 2**32 - 1)

    @property
    def label_columns(self) -> list[str]:
        """The names in `label_column`."""
        return [name.strip() for name in self.label_column.split(",") if name.strip()]
