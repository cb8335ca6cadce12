"""The vocabulary: tokens to ids and back. A token is a word, a character, a subword or a pixel."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from math import isqrt
from typing import TYPE_CHECKING, Literal

from uncollapse.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PAD, BOS, EOS, UNK = range(4)
PAPER, INK = 4, 5
"""Ids of the two tokens of pictures."""
SPECIALS = ("<pad>", "<s>", "</s>", "<unk>")
WRITTEN_UNKNOWNS = ("<unk>", "_UNK")
"""How corpora write an unknown word; both are read as the unknown token."""

LEARNED = 2**12
"""The letters of a text that subwords are learned from: the time grows with the square of a word's length."""

Level = Literal["word", "char", "bpe", "pixel"]


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of the training split.

    Attributes:
        tokens: token of every id; the first four are `SPECIALS`.
        level: what a token is: a word (between blanks), a character, a subword, or a pixel of a square picture, line by line.
        lowercase: whether text is lowered before it is read.
        subwords: of level bpe, how text is cut: a tokenizer of the library `tokenizers`, as its JSON. Its ids are those of
            `tokens` less the specials.
    """

    tokens: tuple[str, ...]
    level: Level = "word"
    lowercase: bool = False
    subwords: str = ""

    def __len__(self) -> int:
        """Return the number of tokens V, specials included."""
        return len(self.tokens)

    @property
    def of_text(self) -> bool:
        """Return whether the tokens are of text, not of pictures."""
        return self.level != "pixel"

    @cached_property
    def ids(self) -> dict[str, int]:
        """Return the id of every token; the written unknowns share one."""
        ids = {token: i for i, token in enumerate(self.tokens)}
        if self.level == "word":
            # what a text writes like a special token is no command to the model
            ids.update(dict.fromkeys(SPECIALS, UNK))
            for written in _unknowns(self.lowercase):  # an imported model may have learned it as a word
                ids.setdefault(written, UNK)
        return ids

    @cached_property
    def _cutter(self) -> "Tokenizer":
        from tokenizers import Tokenizer

        return Tokenizer.from_str(self.subwords)

    @property
    def readable(self) -> bool:
        """Return whether the subwords are a tokenizer of as many tokens."""
        try:
            return self._cutter.get_vocab_size() == len(self) - len(SPECIALS)
        except Exception:  # whatever the library makes of another text
            return False

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text's tokens, without BOS and EOS."""
        return self.encode_all([text])[0]

    def encode_all(self, texts: Iterable[str]) -> list[list[int]]:
        """Return the ids of the tokens of every text."""
        if self.level == "bpe":
            lowered = [text.strip().lower() if self.lowercase else text.strip() for text in texts]
            return [[i + len(SPECIALS) for i in encoding.ids] for encoding in self._cutter.encode_batch(lowered)]
        ids = self.ids
        if self.level == "pixel":
            return [[ids.get(pixel, UNK) for pixel in text if pixel != "\n"] for text in texts]
        return [[ids.get(token, UNK) for token in tokenise(text, self.level, self.lowercase)] for text in texts]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of the ids up to the first EOS; pads and BOS are skipped."""
        shown = [i for i in takewhile(lambda i: i != EOS, ids) if i not in (PAD, BOS)]
        if self.level == "bpe":
            return self._cutter.decode([i - len(SPECIALS) for i in shown if i >= len(SPECIALS)]).strip()
        if self.level == "pixel":
            row = isqrt(len(shown))
            return "\n".join(
                "".join(self.tokens[i] for i in shown[k : k + row]) for k in range(0, len(shown), row or 1)
            )
        if self.level == "char":  # an unknown letter is one letter
            return "".join("\N{REPLACEMENT CHARACTER}" if i == UNK else self.tokens[i] for i in shown)
        return " ".join(self.tokens[i] for i in shown)


PIXELS = Vocabulary((*SPECIALS, "·", "#"), "pixel")
"""The vocabulary of pictures: paper and ink."""


def tokenise(text: str, level: Literal["word", "char"], lowercase: bool) -> Sequence[str]:
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
    texts: Iterable[str], level: Level = "word", lowercase: bool = False, *, max_size: int = 20000, min_count: int = 1
) -> Vocabulary:
    """Count the tokens of the training texts; keep the most frequent (ties in order of first appearance).

    Args:
        texts: the training split, and nothing else.
        level: word, character or subword.
        lowercase: lower the case first.
        max_size: how many tokens to keep, specials not counted.
        min_count: rarer tokens become unknown (subwords: are not formed).
    """
    if level == "pixel":
        return PIXELS
    if level == "bpe":
        return _learn_subwords(texts, lowercase, max_size, min_count)
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(tokenise(text, level, lowercase))
    reserved = {*SPECIALS, *_unknowns(lowercase)} if level == "word" else set()
    kept = [t for t, n in counts.most_common() if n >= min_count and t not in reserved]
    return Vocabulary((*SPECIALS, *kept[:max_size]), level, lowercase)


def _learn_subwords(texts: Iterable[str], lowercase: bool, max_size: int, min_count: int) -> Vocabulary:
    """Learn byte-pair encoding over bytes, so that no text is unknown.

    Source: Sennrich, Haddow & Birch 2016; over bytes as Radford et al. 2019, section 2.2.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if max_size < len(alphabet):
        raise UserError(
            f"data.max_vocab: expected at least {len(alphabet)} for data.level bpe, a token a byte, got {max_size}"
        )
    cutter = Tokenizer(models.BPE())
    cutter.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)  # the first word is written as any other
    cutter.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=max_size,
        min_frequency=min_count,
        initial_alphabet=sorted(alphabet),
        special_tokens=[],
        show_progress=False,
    )
    begun = (text.strip()[:LEARNED] for text in texts)
    cutter.train_from_iterator((text.lower() if lowercase else text for text in begun), trainer)
    tokens = sorted(cutter.get_vocab().items(), key=lambda item: item[1])
    return Vocabulary((*SPECIALS, *(token for token, _ in tokens)), "bpe", lowercase, cutter.to_str())
