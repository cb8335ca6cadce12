"""From text or pictures to batches.

splits = uc.data.load("my_sentences.txt")
splits.train.batch([0, 1]).tokens
"""

from typing import TYPE_CHECKING

from uncollapse.lazy import lazy

if TYPE_CHECKING:
    from uncollapse.data.corpus import Batch, Corpus
    from uncollapse.data.splits import Splits, load
    from uncollapse.data.vocabulary import BOS, EOS, PAD, UNK, Vocabulary, build_vocabulary

__all__ = ["BOS", "EOS", "PAD", "UNK", "Batch", "Corpus", "Splits", "Vocabulary", "build_vocabulary", "load"]
_MODULES = {
    "uncollapse.data.corpus": ("Batch", "Corpus"),
    "uncollapse.data.splits": ("Splits", "load"),
    "uncollapse.data.vocabulary": ("BOS", "EOS", "PAD", "UNK", "Vocabulary", "build_vocabulary"),
}
__getattr__, __dir__ = lazy(__name__, _MODULES)
