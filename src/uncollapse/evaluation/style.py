"""Transfer of a label without parallel forms, such as sentiment: does a classifier see it, and how much of the sentence stays?"""

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from uncollapse.data.corpus import Corpus
from uncollapse.data.splits import Splits
from uncollapse.errors import UserError
from uncollapse.evaluation.bounds import chosen
from uncollapse.evaluation.overlap import sentence_bleu
from uncollapse.evaluation.posterior import posteriors
from uncollapse.evaluation.probe import linear_probe
from uncollapse.evaluation.transfer import classes_of
from uncollapse.generation.decode import write
from uncollapse.model import VAE

BUCKETS = 2**18
EPOCHS, BATCH, LR = 5, 64, 3e-3
SHOWN = 10


class NGramClassifier(nn.Module):
    """Logistic regression on the words and pairs of words of a sentence, those pairs hashed into 2^18 buckets.

    Args:
        vocabulary: tokens V.
        classes: of the label.
    """

    def __init__(self, vocabulary: int, classes: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.weights = nn.EmbeddingBag(vocabulary + BUCKETS, classes, mode="sum", sparse=False)
        self.bias = nn.Parameter(torch.zeros(classes))
        nn.init.zeros_(self.weights.weight)

    def forward(self, sentences: list[list[int]]) -> Tensor:
        """Return the logits of each sentence, `[N, classes]`, for token ids."""
        features = [self.features(ids) for ids in sentences]
        offsets = np.cumsum([0, *map(len, features)])[:-1]
        flat = torch.tensor([f for row in features for f in row], dtype=torch.long)
        return self.weights(flat, torch.from_numpy(offsets)) + self.bias

    def features(self, ids: list[int]) -> list[int]:
        """Return the numbers of the words and pairs of a sentence, each once."""
        pairs = {self.vocabulary + (a * 1_000_003 + b) % BUCKETS for a, b in pairwise(ids)}
        return [*dict.fromkeys(ids), *sorted(pairs)]

    @torch.inference_mode()
    def predict(self, sentences: list[list[int]]) -> np.ndarray:
        """Return the most probable class of each sentence, `[N]`."""
        return self(sentences).argmax(1).numpy()


def train_classifier(corpus: Corpus, field: str, seed: int = 0) -> NGramClassifier:
    """Train a classifier of a label field on a corpus: Adam, 5 epochs, the same seed the same classifier."""
    model = NGramClassifier(len(corpus.vocabulary), len(corpus.label_names[field]))
    optimizer = torch.optim.Adam(model.parameters(), LR)
    random, labels = np.random.default_rng(seed), torch.from_numpy(corpus.labels[field])
    for _ in range(EPOCHS):
        order = random.permutation(len(corpus))
        for start in range(0, len(order), BATCH):
            index = order[start : start + BATCH]
            loss = nn.functional.cross_entropy(model([corpus.ids(int(i)).tolist() for i in index]), labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model


def transfer_protocol(model: VAE, splits: Splits, split: str, seed: int = 0, sentences: int = 1000) -> dict[str, Any]:
    """Change the label of each sentence to every other one; judge the results by a classifier trained on the training split.

    Args:
        model: conditional, in evaluation mode.
        splits: labelled data.
        split: the split whose sentences are transferred.
        seed: of the classifier and of the choice of sentences.
        sentences: how many at most.

    Returns:
        classifier_accuracy: on the real sentences; transfer_accuracy: the share of transferred ones in which it sees the new
        label; transfer_self_bleu4: mean BLEU-4 of a transferred sentence with its source; reconstruction_accuracy and
        reconstruction_bleu4: the same where the label is kept; leak_accuracy and leak_majority: how well a linear probe
        reads the label from z.

    Raises:
        UserError: a model that is told no label.
    """
    if model.condition is None or not model.latent:
        raise UserError("protocol transfer: expected a conditional run (--model.condition FIELD)")
    field = next(iter(model.condition.classes))
    train, corpus = splits.train, splits[split]
    classifier = train_classifier(train, field, seed)
    few = chosen(len(corpus), sentences, seed)
    originals, true = [corpus.ids(int(i)).tolist() for i in few], corpus.labels[field][few]
    mu = posteriors(model, corpus.subset(few)).mu
    kept_right: list[bool] = []
    kept_bleu: list[float] = []
    right: list[bool] = []
    bleu: list[float] = []
    examples: list[dict[str, str]] = []
    for target, name in enumerate(corpus.label_names[field]):
        written = write(model, mu, splits.longest, classes_of(corpus, few, {field: target}))
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
    fitted = chosen(len(train), 10_000, seed)
    probe = linear_probe(
        posteriors(model, train.subset(fitted)).mu,
        torch.from_numpy(train.labels[field][fitted]),
        mu,
        torch.from_numpy(true),
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
