"""The diversity and novelty of sentences drawn from a model, compared with as many real ones."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from uncollapse.data.corpus import Corpus
from uncollapse.data.splits import Splits
from uncollapse.data.vocabulary import UNK
from uncollapse.distributions.priors import Source
from uncollapse.evaluation.bounds import subsample_indices
from uncollapse.evaluation.overlap import distinct, self_bleu
from uncollapse.generation.decode import generate_ids
from uncollapse.generation.decoding import Decoding
from uncollapse.model import VAE

SAMPLE = Decoding("sample", no_unknown=False)


def diversity_protocol(
    model: VAE, splits: Splits, split: str, *, seed: int = 0, sentences: int = 1000
) -> dict[str, Any]:
    """Draw sentences, z ~ p(z) and then x ~ p(x | z), and compare them with real ones.

    Args:
        model: in evaluation mode; a conditional one takes the labels of training sentences.
        splits: the run's data.
        split: where the real ones are from.
        seed: of all draws.
        sentences: how many of each at most.

    Returns:
        samples: two rows, `model` and `real`, of `diversity`.
    """
    few = subsample_indices(len(splits[split]), sentences, seed)
    real = [splits[split].ids(int(i)).tolist() for i in few]
    drawn = draw(model, splits, len(real), seed=seed)
    training = sentences_of(splits.train)
    return {"samples": [{"of": "model", **diversity(drawn, training)}, {"of": "real", **diversity(real, training)}]}


def draw(model: VAE, splits: Splits, count: int, *, seed: int = 0, how: Decoding = SAMPLE) -> list[list[int]]:
    """Draw sentences from the model: z from the prior, under the labels of training sentences drawn at random."""
    origins = np.random.default_rng([seed, 4]).integers(len(splits.train), size=count)
    labels = splits.train.classes(origins)
    return generate_ids(
        model,
        model.prior.sample(count, Source(seed), labels),
        splits.longest_sentence,
        labels=labels,
        decoding=how,
        seed=seed + 1,
    )


def sentences_of(corpus: Corpus) -> set[tuple[int, ...]]:
    """Return the different sentences of a corpus."""
    return {tuple(corpus.ids(i).tolist()) for i in range(len(corpus))}


def diversity(sentences: Sequence[Sequence[int]], training: set[tuple[int, ...]]) -> dict[str, Any]:
    """Measure some sentences, token ids each.

    Returns:
        sentences; vocabulary: different tokens; unknown: the share of unknown tokens among all; distinct1, distinct2: the share
        of different n-grams among all; self_bleu4; unique: the share of different sentences; copied: the share that stand in the
        training text; empty: the share without a token; length_mean and length_sd, in tokens.
    """
    lengths, tokens = [len(one) for one in sentences], [token for one in sentences for token in one]
    return {
        "sentences": len(sentences),
        "vocabulary": len(set(tokens)),
        "unknown": tokens.count(UNK) / max(1, len(tokens)),
        "distinct1": distinct(sentences, 1),
        "distinct2": distinct(sentences, 2),
        "self_bleu4": self_bleu(sentences),
        "unique": len({tuple(one) for one in sentences}) / len(sentences),
        "copied": float(np.mean([tuple(one) in training for one in sentences])),
        "empty": float(np.mean([not one for one in sentences])),
        "length_mean": float(np.mean(lengths)),
        "length_sd": float(np.std(lengths)),
    }
