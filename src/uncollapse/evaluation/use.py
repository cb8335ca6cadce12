"""What the decoder makes of the code: reconstructions, whether they differ, and what a wrong code costs."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from uncollapse.data.corpus import Corpus
from uncollapse.data.splits import Splits
from uncollapse.evaluation.bounds import standard_error
from uncollapse.evaluation.overlap import token_accuracy
from uncollapse.evaluation.scores import Scores, log_likelihoods, score
from uncollapse.generation.decode import generate_ids
from uncollapse.model import VAE

FIRST = 100
"""Sentences whose reconstructions are compared with each other: among more of them, more are alike by chance."""


def use_protocol(model: VAE, splits: Splits, split: str, *, seed: int = 0, sentences: int = 500) -> dict[str, Any]:
    """Reconstruct the first sentences of a split from their posterior means, greedily.

    Args:
        model: in evaluation mode.
        splits: the run's data.
        split: which of them.
        seed: of the draws of z and of the codes exchanged.
        sentences: how many at most.

    Returns:
        accuracy: the share of tokens that stand at their place; distinct: of the first 100, different reconstructions for every
        different sentence, 1 where no two are alike; z_use (and _se): by how much the distortion rises where every sentence is
        decoded from the code of another.
    """
    few = splits[split].first(sentences)
    scores = score(model, few, seed)
    written = generate_ids(
        model, scores.posterior.mean, splits.longest_sentence, labels=few.classes(np.arange(len(few)))
    )
    originals = [few.ids(i).tolist() for i in range(len(few))]
    same = set(map(tuple, originals[:FIRST]))
    use = z_use(model, few, scores, seed=seed)
    return {
        "accuracy": token_accuracy(originals, written),
        "distinct": min(
            1.0, len(set(map(tuple, written[:FIRST]))) / len(same)
        ),  # one text under two labels may come back as two
        "z_use": float(use.mean()),
        "z_use_se": standard_error(use),
    }


@torch.inference_mode()
def z_use(model: VAE, corpus: Corpus, scores: Scores, *, seed: int = 0) -> Tensor:
    """Return the distortion of every sentence from the code of another, less that from its own, `[N]`, nats.

    The others are the next in a seeded cycle through all sentences, so that no sentence keeps its code. 0 where the decoder
    ignores z; it may exceed the mutual information, since a wrong code misleads more than none.
    """
    cycle = np.random.default_rng(seed).permutation(len(corpus))
    other = np.empty_like(cycle)
    other[cycle] = np.roll(cycle, 1)
    return -log_likelihoods(model, corpus, scores.z[other]).double() - scores.distortion.double()
