"""Linear probes for labels that the model is not conditioned on, and the mean codes of each label's sentences."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from uncollapse.data.corpus import Corpus
from uncollapse.data.splits import Splits
from uncollapse.errors import UserError
from uncollapse.evaluation.bounds import subsample_indices
from uncollapse.evaluation.diversity import SAMPLE
from uncollapse.evaluation.posterior import drawn_codes, posteriors
from uncollapse.evaluation.probe import linear_probe
from uncollapse.evaluation.scores import log_likelihoods
from uncollapse.evaluation.style import NGramClassifier
from uncollapse.generation.decode import generate_ids
from uncollapse.model import VAE

FITTED = 10_000
"""Training sentences whose codes are probed and averaged."""
MOST_CLASSES = 50
"""Fields with more are names rather than labels, and left out."""
WRITTEN = 200
"""Sentences written from each mean code."""


def probe_protocol(model: VAE, splits: Splits, split: str, *, seed: int = 0, sentences: int = 1000) -> dict[str, Any]:
    """Return the accuracy of linear probes of the codes for every label field of the data.

    The mean code of a class is that of training sentences. Scoring: the class of a sentence is taken to be the one whose mean
    code gives it the highest log p(x | z). Decoding: sentences are drawn from p(x | z) at each mean code; a classifier
    of words and pairs of words, trained on the training sentences, says of which class they are.

    Args:
        model: in evaluation mode.
        splits: the run's data, with labels.
        split: which of them is judged.
        seed: of all choices and draws.
        sentences: how many at most.

    Returns:
        probes: a row for every field: `field, classes, majority` (the share of the class most frequent in training), `probe`
        (accuracy of a linear classifier on drawn z), `scoring`, `decoding` and `classifier` (its accuracy on real sentences).
        Scoring and decoding are left out for a field that the decoder is conditioned on.

    Raises:
        UserError: a language model, or data without labels.

    Source: Prokhorov et al. 2019, section 5 (group means); Alain & Bengio 2017 (probes).
    """
    if not model.latent:
        raise UserError("protocol probe: a language model (model.latent 0) has no codes to probe")
    train = splits.train.subset(subsample_indices(len(splits.train), FITTED, seed))
    corpus = splits[split].subset(subsample_indices(len(splits[split]), sentences, seed))
    fields = {
        field: names
        for field, names in train.label_names.items()
        if len(names) <= MOST_CLASSES and len(np.unique(train.labels[field])) > 1
    }
    if not fields:
        raise UserError(
            f"protocol probe: expected data with labels (.tsv, .jsonl, rows of forms) of at most {MOST_CLASSES} classes, got "
            f"{', '.join(train.label_names) or 'none'}"
        )
    codes, drawn = posteriors(model, train).mean, drawn_codes(model, train, seed)
    held = drawn_codes(model, corpus, seed + 1)
    conditioned = model.condition.classes if model.condition else {}
    rows = []
    for field, names in fields.items():
        classes, true = torch.from_numpy(train.labels[field]), torch.from_numpy(corpus.labels[field])
        probe = linear_probe(drawn, classes, held, other_classes=true)
        row = {"field": field, "classes": len(names), "majority": probe.majority, "probe": probe.accuracy}
        if field not in conditioned:
            means = torch.stack([codes[classes == c].mean(0) for c in range(len(names))])  # nan: no training sentence
            row |= {
                "scoring": _scoring(model, corpus, means, true),
                **_decoding(model, splits, corpus, field, means, seed),
            }
        rows.append(row)
    return {"probes": rows}


def _scoring(model: VAE, corpus: Corpus, means: Tensor, true: Tensor) -> float:
    """Return the share of sentences that are most probable under the mean code of their own class."""
    scores = [log_likelihoods(model, corpus, mean.expand(len(corpus), -1)) for mean in means]
    table = torch.stack(scores, 1).nan_to_num(nan=-torch.inf)
    return float((table.argmax(1) == true).double().mean())


def _decoding(model: VAE, splits: Splits, corpus: Corpus, field: str, means: Tensor, seed: int) -> dict[str, float]:
    """Return how many of the sentences drawn at the mean codes are seen to be of their class, and how well the judge sees."""
    classifier = NGramClassifier(splits.train, field)
    random, right = np.random.default_rng([seed, 3]), []
    for c, mean in enumerate(means):
        of_class = np.flatnonzero(splits.train.labels[field] == c)
        if not len(of_class):
            continue
        labels = splits.train.classes(random.choice(of_class, WRITTEN))  # for a model conditioned on other fields
        written = generate_ids(
            model, mean.expand(WRITTEN, -1), splits.longest_sentence, labels=labels, decoding=SAMPLE, seed=seed + c
        )
        right.append(float(np.mean(classifier.predict(written) == c)))
    real = classifier.predict([corpus.ids(i).tolist() for i in range(len(corpus))])
    return {"decoding": float(np.mean(right)), "classifier": float(np.mean(real == corpus.labels[field]))}
