"""How well sentences come back: overlap of what was written with what was meant."""

import math
from collections import Counter
from collections.abc import Hashable, Sequence

SMALL = 0.1
"""What stands in for a count of 0: Chen & Cherry 2014, smoothing method 1."""


def token_accuracy(originals: Sequence[Sequence[int]], written: Sequence[Sequence[int]]) -> float:
    """Return the share of the originals' tokens that stand at the same place in what was written.

    Args:
        originals: token ids of each sentence, without BOS and EOS.
        written: the reconstructions, likewise.
    """
    total = sum(map(len, originals))
    right = sum(a == b for one, other in zip(originals, written, strict=True) for a, b in zip(one, other, strict=False))
    return right / total if total else 0.0


def ngrams(tokens: Sequence[Hashable], order: int) -> Counter[tuple[Hashable, ...]]:
    """Count the runs of `order` tokens."""
    return Counter(tuple(tokens[i : i + order]) for i in range(len(tokens) - order + 1))


def sentence_bleu(reference: Sequence[Hashable], written: Sequence[Hashable]) -> float:
    """Return the BLEU-4 of one sentence as the tense lab defines it (characters are its tokens).

        BP exp(sum_n w_n log p_n),   BP = min(1, exp(1 - |reference| / |written|)),

    p_n the clipped precision of n-grams, n = 1 … 4 with weights 1/4; n = 1 … 3 with weights 0.33 (not 1/3) where the
    reference has three tokens. A precision whose count is 0 has 0.1 for its count; without one common token BLEU is 0.

    Source: Papineni et al. 2002; Chen & Cherry 2014 (method 1), as in NLTK.
    """
    orders, weight = (3, 0.33) if len(reference) == 3 else (4, 0.25)
    total = 0.0
    for order in range(1, orders + 1):
        have, want = ngrams(written, order), ngrams(reference, order)
        right = (have & want).total()
        if order == 1 and not right:
            return 0.0
        total += weight * math.log((right or SMALL) / max(1, have.total()))
    return math.exp(total + min(0.0, 1 - len(reference) / len(written)))
