"""How well sentences come back: overlap of reconstructions with their originals."""

from collections.abc import Sequence


def token_accuracy(originals: Sequence[Sequence[int]], written: Sequence[Sequence[int]]) -> float:
    """Return the share of the originals' tokens that stand at the same place in what was written.

    Args:
        originals: token ids of each sentence, without BOS and EOS.
        written: the reconstructions, likewise.
    """
    total = sum(map(len, originals))
    right = sum(a == b for one, other in zip(originals, written, strict=True) for a, b in zip(one, other, strict=False))
    return right / total if total else 0.0
