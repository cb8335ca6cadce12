"""From settings to the data: splits, and the pairs of forms."""

from pathlib import Path

from uncollapse.data.labels import LabelSpace
from uncollapse.data.pictures import load_pictures
from uncollapse.data.settings import DataConfig
from uncollapse.data.splits import EMBEDDED as EMBEDDED_TEXTS
from uncollapse.data.splits import Splits, load_splits
from uncollapse.data.vocabulary import Vocabulary
from uncollapse.errors import UserError
from uncollapse.runs.folder import RunFolder
from uncollapse.tasks.forms.morphology import verbs
from uncollapse.tasks.forms.pairs import Pair, pairs_file, read_pairs

EMBEDDED = {**EMBEDDED_TEXTS, "verbs": verbs}
"""Embedded corpora of text, by name."""


def build_splits(
    settings: DataConfig,
    vocabulary: Vocabulary | None = None,
    space: LabelSpace | None = None,
    *,
    cache: Path | None = None,
) -> Splits:
    """Read the data; with the vocabulary and labels of a finished run, or those built from the data.

    What is too large to be held is encoded into the folder `cache`, once.
    """
    if settings.level == "pixel":
        for name in ("valid", "test", "columns", "pairs", "vocab_from"):
            if getattr(settings, name):
                raise UserError(
                    f"data.{name}: is for text; pictures have their parts in one file or folder (data.path)"
                )
        return load_pictures(settings, space)
    if settings.name == "strokes":
        raise UserError("data.name strokes: the data are pictures; add --data.level pixel, or take --recipe strokes")
    if settings.vocab_from and vocabulary is None:
        vocabulary = RunFolder(Path(settings.vocab_from)).vocabulary()
        if settings.level not in (vocabulary.level, "auto") or vocabulary.lowercase != settings.lowercase:
            raise UserError(
                f"data.vocab_from: the vocabulary of {settings.vocab_from} has data.level {vocabulary.level} and "
                f"data.lowercase {vocabulary.lowercase}, asked for were {settings.level} and {settings.lowercase}"
            )
    kept = {form for pair in read_lab_pairs(settings) for form in (pair.word, pair.reference)}
    return load_splits(settings, EMBEDDED, kept, vocabulary=vocabulary, space=space, cache=cache)


def read_lab_pairs(settings: DataConfig) -> list[Pair]:
    """Return the pairs of forms that the settings name, or none."""
    if not settings.pairs:
        return []
    return read_pairs(pairs_file(Path(settings.path), settings.pairs), settings.directions)
