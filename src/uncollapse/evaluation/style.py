"""Transfer of a label without parallel forms, such as sentiment: does a classifier see it, and how much of the sentence stays?"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from uncollapse.data.corpus import Corpus
from uncollapse.data.splits import Splits
from uncollapse.errors import UserError
from uncollapse.evaluation.bounds import subsample_indices
from uncollapse.evaluation.overlap import sentence_bleu
from uncollapse.evaluation.posterior import drawn_codes, posteriors
from uncollapse.evaluation.probe import linear_probe
from uncollapse.generation.decode import generate_ids
from uncollapse.model import VAE

SHOWN = 3


class NGramClassifier:
    """Logistic regression on the tokens and pairs of tokens of a sentence that occur in training.

    Args:
        corpus: to learn from.
        field: the label field.

    Raises:
        UserError: all sentences are of one class.
    """

    def __init__(self, corpus: Corpus, field: str) -> None:
        if len(np.unique(corpus.labels[field])) < 2:
            raise UserError(
                f"expected training sentences of several classes of {field}, got one: nothing to tell apart"
            )
        from sklearn.feature_extraction.text import CountVectorizer
        from sklearn.linear_model import LogisticRegression

        self._features = CountVectorizer(analyzer=self._grams, binary=True)
        sentences = [corpus.ids(i).tolist() for i in range(len(corpus))]
        self._fit = LogisticRegression(max_iter=200).fit(self._features.fit_transform(sentences), corpus.labels[field])

    @staticmethod
    def _grams(ids: Sequence[int]) -> list[str]:
        return [str(i) for i in ids] + [f"{a} {b}" for a, b in pairwise(ids)]

    def predict(self, sentences: Sequence[Sequence[int]]) -> np.ndarray:
        """Return the most probable class of each sentence of token ids, `[N]`."""
        return self._fit.predict(self._features.transform(sentences))


def transfer_protocol(
    model: VAE, splits: Splits, split: str, *, seed: int = 0, sentences: int = 1000
) -> dict[str, Any]:
    """Change the label of each sentence to every other one; judge the results by a classifier trained on the training split.

    Args:
        model: conditional, in evaluation mode.
        splits: labelled data.
        split: the split whose sentences are transferred.
        seed: of the choice of sentences.
        sentences: how many at most.

    Returns:
        classifier_accuracy: on the real sentences; transfer_accuracy: the share of transferred ones in which it sees the new
        label; transfer_self_bleu4: mean BLEU-4 of a transferred sentence with its source; reconstruction_accuracy and
        reconstruction_bleu4: the same where the label is kept; leak_accuracy and leak_majority: how well a linear probe
        reads the label from z.

    Raises:
        UserError: an unconditional model.
    """
    if model.condition is None or not model.latent:
        raise UserError("protocol transfer: expected a conditional run (--model.condition FIELD)")
    field = next(iter(model.condition.classes))
    train, corpus = splits.train, splits[split]
    classifier = NGramClassifier(train, field)
    few = subsample_indices(len(corpus), sentences, seed)
    originals, true = [corpus.ids(int(i)).tolist() for i in few], corpus.labels[field][few]
    mu = posteriors(model, corpus.subset(few)).mean
    kept_right: list[bool] = []
    kept_bleu: list[float] = []
    right: list[bool] = []
    bleu: list[float] = []
    examples: list[dict[str, str]] = []
    for target, name in enumerate(corpus.label_names[field]):
        written = generate_ids(model, mu, splits.longest_sentence, labels=corpus.classes(few, {field: target}))
        seen = classifier.predict(written)
        scores = [sentence_bleu(a, b) if b else 0.0 for a, b in zip(originals, written, strict=True)]
        for i, score in enumerate(scores):
            same = true[i] == target
            (kept_right if same else right).append(seen[i] == target)
            (kept_bleu if same else bleu).append(score)
        examples += [
            {"from": corpus.text(int(i)), "to": name, "written": corpus.vocabulary.decode(written[k])}
            for k, i in enumerate(few)
            if true[k] != target
        ][:SHOWN]
    fitted = subsample_indices(len(train), 10_000, seed)
    probe = linear_probe(
        drawn_codes(model, train.subset(fitted), seed),
        torch.from_numpy(train.labels[field][fitted]),
        drawn_codes(model, corpus.subset(few), seed + 1),
        other_classes=torch.from_numpy(true),
    )
    return {
        "transfer_sentences": len(few),
        "classifier_accuracy": float(np.mean(classifier.predict(originals) == true)),
        "transfer_accuracy": float(np.mean(right)),
        "transfer_self_bleu4": float(np.mean(bleu)),
        "reconstruction_accuracy": float(np.mean(kept_right)),
        "reconstruction_bleu4": float(np.mean(kept_bleu)),
        "leak_accuracy": probe.accuracy,
        "leak_majority": probe.majority,
        "transfer_examples": examples,
    }
