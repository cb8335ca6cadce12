"""How well sentences come back: overlap of what was written with what was meant."""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

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
    hits = []
    for order in range(1, orders + 1):
        have, want = ngrams(written, order), ngrams(reference, order)
        hits.append(((have & want).total(), have.total()))
    return _bleu(hits, weight, len(reference), len(written))


def _bleu(hits: Sequence[tuple[int, int]], weight: float, reference: int, written: int) -> float:
    """Return BLEU from the hits and the count of n-grams of each order, one weight for all, and the two lengths."""
    if not hits[0][0]:
        return 0.0
    precision = sum(weight * math.log((right or SMALL) / max(1, count)) for right, count in hits)
    return math.exp(precision + min(0.0, 1 - reference / written))


def self_bleu(sentences: Sequence[Sequence[Hashable]], orders: int = 4) -> float:
    """Return the mean BLEU of each sentence with all the others as its references.

    It is 1 where all are alike and have at least 4 tokens, low where they differ or are short.

    The reference length is that of the other sentence nearest in length (the shorter of two). Smoothing as in `sentence_bleu`.

    Source: Zhu et al. 2018 (Texygen), section 3.
    """
    if len(sentences) < 2:
        return 0.0
    counts = [[ngrams(sentence, order) for order in range(1, orders + 1)] for sentence in sentences]
    most = [_two_most(one[order] for one in counts) for order in range(orders)]
    lengths = Counter(map(len, sentences))
    total = 0.0
    for sentence, own in zip(sentences, counts, strict=True):
        hits = [
            (sum(min(n, _most_elsewhere(most[order][gram], n)) for gram, n in own[order].items()), own[order].total())
            for order in range(orders)
        ]
        size = len(sentence)
        others = (n for n, count in lengths.items() if count > (n == size))
        total += _bleu(hits, 1 / orders, min(others, key=lambda n: (abs(n - size), n)), size)
    return total / len(sentences)


def _two_most(counts: Iterable[Counter[tuple[Hashable, ...]]]) -> dict[tuple[Hashable, ...], tuple[int, int]]:
    """Return how often each n-gram stands in the two sentences that have most of it."""
    most: dict[tuple[Hashable, ...], tuple[int, int]] = {}
    for one in counts:
        for gram, n in one.items():
            first, second = most.get(gram, (0, 0))
            most[gram] = (n, first) if n > first else (first, max(second, n))
    return most


def _most_elsewhere(most: tuple[int, int], own: int) -> int:
    first, second = most
    return second if own == first else first


def rouge(reference: Sequence[Hashable], written: Sequence[Hashable], order: int) -> float:
    """Return the F1 of the n-grams of one order: 2 P R / (P + R); 0 where one of the two has none.

    Source: Lin 2004, section 2, with clipped counts; F1 as in the package rouge-score.
    """
    have, want = ngrams(written, order), ngrams(reference, order)
    both = have.total() + want.total()
    return 2 * (have & want).total() / both if have and want else 0.0


def corpus_bleu(
    references: Sequence[str], written: Sequence[str], orders: int, *, tokenise: str = "none", smooth: str = "exp"
) -> tuple[float, str]:
    """Return the corpus BLEU (0 to 100) of sentences with one reference each, and sacreBLEU's signature.

    Args:
        references: what was meant.
        written: what was written.
        orders: longest n-grams, 2 for BLEU-2, 4 for BLEU-4.
        tokenise: sacreBLEU's tokeniser; `none` where blanks separate the tokens.
        smooth: sacreBLEU's smoothing; with `none` BLEU is 0 where no n-gram of some order is right.

    Source: Papineni et al. 2002; Post 2018 (sacreBLEU).
    """
    from sacrebleu.metrics.bleu import BLEU

    bleu = BLEU(max_ngram_order=orders, tokenize=tokenise, smooth_method=smooth, force=True)
    return bleu.corpus_score(list(written), [list(references)]).score, str(bleu.get_signature())


def distinct(sentences: Iterable[Sequence[Hashable]], order: int) -> float:
    """Return the share of different n-grams among all n-grams of some sentences (Li et al. 2016, section 5)."""
    counts: Counter[tuple[Hashable, ...]] = Counter()
    for sentence in sentences:
        counts.update(ngrams(sentence, order))
    return len(counts) / counts.total() if counts else 0.0
