"""What a token is, a word, a subword or a character, and how many different ones are kept: chosen by the text."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from uncollapse.data.vocabulary import WRITTEN_UNKNOWNS, Level

LOOKED_AT = 50_000
"""Sentences that the choice rests on."""
MOST_WORDS = 10_000
FEW_WORDS = 2_000
"""Different words up to which a text is read by words, if next to none of them is rare."""
SHORT = 2.0
"""Words of a sentence, in the mean, up to which it is read by characters."""
FEW_LETTERS = 64
SUBWORDS = ((30_000, 1_000), (300_000, 2_000), (2_000_000, 4_000))
"""Words of the training split up to which so many subwords are learned; 8,000 for a larger one."""


@dataclass(frozen=True)
class Tokens:
    """A choice of tokens.

    Attributes:
        level: what a token is.
        most: how many different ones are kept.
        reason: why.
    """

    level: Level
    most: int
    reason: str


def choose_tokens(texts: Iterable[str], sentences: int, level: Level | Literal["auto"] = "auto") -> Tokens:
    """Choose by the first `LOOKED_AT` sentences.

    Characters for short strings of few letters; words where the text writes its unknown words as such (it was cut into words
    before), or has few different words, next to none of them rare; else subwords, which leave no word unknown.

    Args:
        texts: the training split.
        sentences: how many there are.
        level: what a token is, where only their number is to be chosen.
    """
    few = list(islice(texts, LOOKED_AT))
    counts = Counter(word for text in few for word in text.split())
    words, different = counts.total(), len(counts)
    once, letters = sum(count == 1 for count in counts.values()), len(set().union(*few))
    unknown = next((written for written in WRITTEN_UNKNOWNS if counts[written]), "")
    total = words * sentences / max(1, len(few))
    subwords = next((most for limit, most in SUBWORDS if total <= limit), 8_000)
    if level == "char" or (level == "auto" and words <= SHORT * len(few) and letters <= FEW_LETTERS):
        return Tokens("char", MOST_WORDS, f"{letters} different letters")
    if level == "bpe" or (level == "auto" and not unknown and (different > FEW_WORDS or once > 0.01 * words)):
        return Tokens("bpe", subwords, f"{different:,} different words, {once:,} of them once")
    written = f"the text writes unknown words as {unknown}"
    return Tokens("word", MOST_WORDS, written if unknown else f"{different:,} different words")
