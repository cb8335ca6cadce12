"""The vocabulary: tokens to ids and back."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

PAD, BOS, EOS, UNK = range(4)
SPECIALS = ("<pad>", "<s>", "</s>", "<unk>")
WRITTEN_UNKNOWNS = ("<unk>", "_UNK")
"""How corpora write an unknown word; both are read as the unknown token."""

Level = Literal["word", "char"]


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of the training split.

    Attributes:
        tokens: token of every id; the first four are `SPECIALS`.
        level: what a token is, a word (between blanks) or a character.
        lowercase: whether text is lowered before it is read.
    """

    tokens: tuple[str, ...]
    level: Level = "word"
    lowercase: bool = False

    def __len__(self) -> int:
        """Return the number of tokens V, specials included."""
        return len(self.tokens)

    @cached_property
    def ids(self) -> dict[str, int]:
        """Return the id of every token; the written unknowns share one."""
        ids = {token: i for i, token in enumerate(self.tokens)}
        if self.level == "word":
            # what a text writes like a special token is no command to the model
            ids.update(dict.fromkeys((*SPECIALS, *_unknowns(self.lowercase)), UNK))
        return ids

    def split(self, text: str) -> Sequence[str]:
        """Cut a text into tokens."""
        return tokenise(text, self.level, self.lowercase)

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text's tokens, without BOS and EOS."""
        ids = self.ids
        return [ids.get(token, UNK) for token in self.split(text)]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of the ids up to the first EOS; pads and BOS are skipped."""
        tokens = []
        for i in ids:
            if i == EOS:
                break
            if i not in (PAD, BOS):
                tokens.append(self.tokens[i])
        return (" " if self.level == "word" else "").join(tokens)


def tokenise(text: str, level: Level, lowercase: bool) -> Sequence[str]:
    """Cut a text into words (between blanks, without an outer <s> and </s>) or characters (outer blanks removed)."""
    text = text.lower() if lowercase else text
    if level == "char":
        return text.strip()
    words = text.split()
    inside = slice(
        words[:1] == ["<s>"], len(words) - (words[-1:] == ["</s>"])
    )  # some corpora write the ends of sentences
    return words[inside]


def _unknowns(lowercase: bool) -> tuple[str, ...]:
    return tuple(token.lower() for token in WRITTEN_UNKNOWNS) if lowercase else WRITTEN_UNKNOWNS


def build_vocabulary(
    texts: Iterable[str],
    level: Level = "word",
    lowercase: bool = False,
    max_size: int = 20000,
    min_count: int = 1,
) -> Vocabulary:
    """Count the tokens of the training texts; keep the most frequent (ties in order of first appearance).

    Args:
        texts: the training split, and nothing else.
        level: word or character.
        lowercase: lower the case first.
        max_size: how many tokens to keep, specials not counted.
        min_count: rarer tokens become unknown.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(tokenise(text, level, lowercase))
    reserved = {*SPECIALS, *_unknowns(lowercase)} if level == "word" else set()
    kept = [t for t, n in counts.most_common() if n >= min_count and t not in reserved]
    return Vocabulary((*SPECIALS, *kept[:max_size]), level, lowercase)
