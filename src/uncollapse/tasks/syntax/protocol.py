"""Does a model give the right sentence of a minimal pair the higher probability, and what does its code do to that?

For a pair x+ (right), x- (wrong) and one code z for both, the model is right where p(x+ | z) > p(x- | z). The code is that of the
right sentence, that of the wrong one, or the mean code of all right, or all wrong, sentences of the class whose nouns have the
same numbers. A live code of x- that still gives x+ the higher probability shows that the rule is the decoder's; one that turns
the answer shows that z carries it.

Source: Prokhorov et al. 2019, section 5.4 and table 4.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uncollapse.data.corpus import Corpus
from uncollapse.data.vocabulary import UNK, Vocabulary
from uncollapse.errors import UserError
from uncollapse.evaluation.posterior import posteriors
from uncollapse.evaluation.scores import log_likelihoods
from uncollapse.model import VAE
from uncollapse.tasks.syntax.pairs import TEMPLATES, MinimalPair, generate_pairs

TOTALS = {
    "right": "minimal_pairs_accuracy",
    "wrong": "minimal_pairs_wrong",
    "mean_right": "minimal_pairs_mean_right",
    "mean_wrong": "minimal_pairs_mean_wrong",
}
"""Share of a class -> its mean over the classes."""


def minimal_pairs_protocol(
    model: VAE, vocabulary: Vocabulary, pairs: Sequence[MinimalPair] = (), *, seed: int = 0
) -> dict[str, Any]:
    """Return the accuracy on minimal pairs by class.

    Args:
        model: unconditional, in evaluation mode.
        vocabulary: of the model.
        pairs: those of a file; by default generated ones, of words that the model knows.
        seed: of the generated pairs.

    Returns:
        minimal_pairs: a row for every class: `class, pairs, left_out` (pairs that are the same to the model, or that have an
        unknown word), and the share in which the right sentence is more probable, each with its standard error `_se`: `right`
        under the code of the right sentence, `wrong` under that of the wrong one, `mean_right` and `mean_wrong` under the mean
        codes, averaged over the numbers of the nouns; for a language model `right` alone. A class without pairs
        has no share; generated classes of which no word is known stand in one row.
        minimal_pairs_accuracy, minimal_pairs_wrong, minimal_pairs_mean_right, minimal_pairs_mean_wrong: the means of the four
        over the classes, and their errors.

    Raises:
        UserError: a conditional model, or no pair whose words are known.
    """
    if model.condition is not None:
        raise UserError("protocol minimal-pairs: expected an unconditional model, whose pairs need no labels")

    def knows(word: str) -> bool:
        return vocabulary.level != "word" or UNK not in vocabulary.encode(word)

    every = list(pairs) or generate_pairs(knows, seed=seed)
    kinds = dict.fromkeys(pair.kind for pair in every)
    rows = [_row(model, vocabulary, kind, [p for p in every if p.kind == kind]) for kind in kinds]
    judged = [row for row in rows if row["pairs"]]
    if not judged:
        raise UserError("protocol minimal-pairs: no pair consists of words that the model knows")
    if not pairs and (absent := len(TEMPLATES) - len(kinds)):
        rows.append({"class": f"{absent} more without known words", "pairs": 0, "left_out": 0})
    result: dict[str, Any] = {"minimal_pairs": rows}
    for name, total in TOTALS.items():
        if name in judged[0]:
            errors = np.array([row[f"{name}_se"] for row in judged])
            result[total] = float(np.mean([row[name] for row in judged]))
            result[f"{total}_se"] = float(np.sqrt((errors**2).sum()) / len(judged))
    return result


def _row(model: VAE, vocabulary: Vocabulary, kind: str, pairs: Sequence[MinimalPair]) -> dict[str, Any]:
    """Return the row of a class; without a share where no pair is left."""
    sides = [Corpus.from_texts([getattr(pair, side) for pair in pairs], vocabulary) for side in ("right", "wrong")]
    apart = [
        not np.array_equal(sides[0].ids(i), sides[1].ids(i)) and not any(UNK in side.ids(i) for side in sides)
        for i in range(len(pairs))
    ]
    kept = np.flatnonzero(apart)
    row: dict[str, Any] = {"class": kind, "pairs": len(kept), "left_out": len(pairs) - len(kept)}
    if not len(kept):
        return row
    right, wrong = (side.subset(kept) for side in sides)

    def preferred(z: Tensor) -> Tensor:
        return (log_likelihoods(model, right, z) > log_likelihoods(model, wrong, z)).double()

    numbers = [pairs[int(i)].numbers for i in kept]
    place = {each: i for i, each in enumerate(sorted(set(numbers)))}
    group = torch.tensor([place[each] for each in numbers])
    if not model.latent:
        return row | _share("right", preferred(torch.zeros(len(kept), 0)), torch.zeros_like(group))
    codes = {"right": posteriors(model, right).mean, "wrong": posteriors(model, wrong).mean}
    for name, z in codes.items():
        row |= _share(name, preferred(z), torch.zeros_like(group))
    for name, z in codes.items():
        row |= _share(f"mean_{name}", preferred(_means(z, group)[group]), group)
    return row


def _share(name: str, preferred: Tensor, group: Tensor) -> dict[str, float]:
    """Return a share averaged over groups, and its binomial standard error."""
    shares = _means(preferred, group)
    variances = shares * (1 - shares) / torch.bincount(group)
    return {name: float(shares.mean()), f"{name}_se": float(variances.sum().sqrt() / len(shares))}


def _means(values: Tensor, group: Tensor) -> Tensor:
    """Return the mean of each group, `[N, ...]` -> `[G, ...]`."""
    return torch.stack([values[group == number].mean(0) for number in range(int(group.max()) + 1)])
