"""The protocols: what can be measured of a run besides the evaluation that every run gets. The one registry of them.

`evaluate`, `evaluate --all`, `bench` and the tables read it; docs/protocol.md explains every number.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from uncollapse.data.corpus import Corpus
from uncollapse.data.splits import Splits
from uncollapse.distributions.priors import Mixture
from uncollapse.evaluation.aggregate import aggregate_protocol
from uncollapse.evaluation.diversity import diversity_protocol
from uncollapse.evaluation.groups import probe_protocol
from uncollapse.evaluation.reconstruction import reconstruction_protocol
from uncollapse.evaluation.robustness import robustness_protocol
from uncollapse.evaluation.style import transfer_protocol
from uncollapse.evaluation.twr import twr_protocol
from uncollapse.evaluation.use import use_protocol
from uncollapse.model import VAE
from uncollapse.tasks.forms.conversions import transfer_metrics
from uncollapse.tasks.forms.lab import tense_protocol
from uncollapse.tasks.forms.pairs import Pair
from uncollapse.tasks.syntax.pairs import MinimalPair
from uncollapse.tasks.syntax.protocol import minimal_pairs_protocol

Columns = Mapping[str, tuple[int, str]]
"""Number -> digits that are shown, and what it is."""


@dataclass(frozen=True)
class Subject:
    """A trained model on one split of its data.

    Attributes:
        model: in evaluation mode.
        splits: the run's data.
        split: the name of the split.
        seed: of all draws.
        fitted: the mixture fitted to the training codes, where there is one.
        pairs: of forms, that the tense lab converts.
        minimal_pairs: of sentences; without any they are generated.
        timesteps: the last share of the timesteps that was penalised in training.
    """

    model: VAE
    splits: Splits
    split: str
    seed: int = 0
    fitted: Mixture | None = None
    pairs: Sequence[Pair] = ()
    minimal_pairs: Sequence[MinimalPair] = ()
    timesteps: float = 1.0

    @property
    def corpus(self) -> Corpus:
        """Return the split."""
        return self.splits[self.split]

    @property
    def latent(self) -> bool:
        """Return whether the model has a latent space."""
        return bool(self.model.latent)

    @property
    def text(self) -> bool:
        """Return whether the data are text."""
        return self.splits.vocabulary.of_text

    @property
    def timestepwise(self) -> bool:
        """Return whether the encoder has a posterior at every timestep."""
        return getattr(self.model.encoder, "timestepwise", False)

    @property
    def conditional(self) -> bool:
        """Return whether the model knows labels."""
        return self.model.condition is not None

    @property
    def fields(self) -> tuple[str, ...]:
        """Return the labels that the model knows, by name."""
        return tuple(self.model.condition.classes) if self.model.condition else ()

    @property
    def forms(self) -> bool:
        """Return whether the model tells the forms of parallel rows apart."""
        rows = self.splits.train.form_field
        return self.latent and self.model.condition is not None and bool(rows) and rows in self.model.condition.classes


@dataclass(frozen=True)
class Protocol:
    """One way to measure a run.

    Attributes:
        run: measures; its numbers by name.
        fits: whether it says something about a run.
        help: what it measures, for `evaluate --help`.
        columns: the numbers that are shown.
        rows: names of tables, and their titles.
        always: whether it is part of every evaluation of a run that it fits.
        of_words: whether it counts words, which pictures do not have.
    """

    run: Callable[[Subject], dict[str, Any]]
    fits: Callable[[Subject], bool]
    help: str
    columns: Columns = field(default_factory=dict)
    rows: Mapping[str, str] = field(default_factory=dict)
    always: bool = False
    of_words: bool = False


def _invented(prefix: str) -> Columns:
    """Return the columns of words invented under a prior."""
    return {
        f"{prefix}_score": (3, "share of draws from the prior whose forms are a training row; 10 sets of 100"),
        f"{prefix}_distinct": (1, "distinct training rows in 100 draws"),
        f"{prefix}_new": (3, "share that is no training row, but well-formed English"),
        f"{prefix}_known": (3, "share of words that occur in training"),
    }


LEAK: Columns = {
    "leak_accuracy": (3, "label read from z by a linear probe, on sentences it was not fitted to"),
    "leak_majority": (3, "what saying the most frequent label would reach"),
}
PROTOCOLS = {
    "use": Protocol(
        run=lambda s: use_protocol(s.model, s.splits, s.split, seed=s.seed),
        fits=lambda s: s.latent,
        help="what the decoder makes of z",
        columns={
            "accuracy": (3, "token accuracy of greedy reconstructions from posterior means, 500 sentences"),
            "distinct": (3, "different reconstructions for every different sentence, of 100"),
            "z_use": (3, "nats lost by decoding from the code of another sentence"),
        },
        always=True,
    ),
    "conversion": Protocol(
        run=lambda s: transfer_metrics(s.model, s.corpus, s.splits.longest_sentence),
        fits=lambda s: s.forms,
        help="conversions between the forms of this split",
        columns={
            "transfer_exact": (3, "exact conversions between forms of this split"),
            "transfer_bleu4": (4, "mean BLEU-4 of these"),
            "transfer_copied": (3, "share whose source came back where another form was right"),
        },
        always=True,
    ),
    "reconstruction": Protocol(
        run=lambda s: reconstruction_protocol(s.model, s.splits, s.split, seed=s.seed),
        fits=lambda s: s.latent and s.text,
        help="reconstructions by length",
        of_words=True,
        rows={"reconstruction": "greedy reconstructions, by tokens of the sentence; BLEU and ROUGE in percent"},
    ),
    "aggregate": Protocol(
        run=lambda s: aggregate_protocol(s.model, s.splits, s.split, seed=s.seed),
        fits=lambda s: s.latent,
        help="the codes of the split compared with the prior",
        columns={
            "aggregate_kl": (3, "nats: KL(q(z), p(z)) = rate - mi, of all codes from the prior"),
            "aggregate_mismatch": (3, "nats: the share of it that their mean and covariance make"),
            "aggregate_logdet": (2, "log det Cov of sampled z; 0 for N(0, I)"),
            "aggregate_mean_sq": (3, "squared norm of the mean of sampled z; 0 for N(0, I)"),
        },
    ),
    "samples": Protocol(
        run=lambda s: diversity_protocol(s.model, s.splits, s.split, seed=s.seed),
        fits=lambda s: s.text,
        help="how varied and new draws from the prior are",
        of_words=True,
        rows={"samples": "draws from the prior compared with real sentences"},
    ),
    "robustness": Protocol(
        run=lambda s: robustness_protocol(s.model, s.splits, s.split, seed=s.seed),
        fits=lambda s: s.text,
        help="what codes endure: noise, mixing, draws from the prior",
        of_words=True,
        columns={
            "robust_sigma": (2, "noise on the code that costs half of what it tells (the prior has 1)"),
            "margin": (2, "nats by which the true token leads the next, from its own code"),
            "margin_right": (3, "share of tokens whose true one leads"),
            "dead_region": (3, "share of 500 draws from the prior that decode to one and the same sentence"),
            "prior_distinct": (3, "different sentences among them"),
        },
        rows={"robustness": "share of tokens recovered at their places, greedily, by where the code is"},
    ),
    "probe": Protocol(
        run=lambda s: probe_protocol(s.model, s.splits, s.split, seed=s.seed),
        fits=lambda s: s.latent and bool(s.splits.train.labels),
        help="linear probes for labels",
        rows={"probes": "labels: majority and linear probe on z; scoring and decoding at the mean code of each class"},
    ),
    "minimal-pairs": Protocol(
        run=lambda s: minimal_pairs_protocol(s.model, s.splits.vocabulary, s.minimal_pairs, seed=s.seed),
        fits=lambda s: s.text and not s.conditional,
        help="right and wrong sentences that differ in one rule of English",
        of_words=True,
        columns={
            "minimal_pairs_accuracy": (
                3,
                "right sentences of minimal pairs that are more probable than the wrong ones",
            ),
            "minimal_pairs_wrong": (3, "the same under the code of the wrong sentence"),
            "minimal_pairs_mean_right": (
                3,
                "under the mean code of the right sentences of a class, by the numbers of the nouns",
            ),
            "minimal_pairs_mean_wrong": (3, "under that of the wrong ones"),
        },
        rows={
            "minimal_pairs": "share of pairs whose right sentence is more probable, by the code that both are read from"
        },
    ),
    "twr": Protocol(
        run=lambda s: dict(twr_protocol(s.model, s.corpus, s.timesteps)),
        fits=lambda s: s.timestepwise,
        help="the TWR-VAE paper's own numbers (not a bound)",
    ),
    "tense": Protocol(
        run=lambda s: tense_protocol(s.model, s.splits, s.pairs, fitted=s.fitted, seed=s.seed),
        fits=lambda s: s.forms,
        help="the scores of the tense lab",
        columns={
            "tense_bleu4": (4, "the lab's BLEU-4, mean over its pairs, from z = mu"),
            "tense_sampled_bleu4": (4, "the same from one draw of q for each pair, mean over 1,000 draws"),
            "tense_sampled_good": (3, "share of these draws that reach 0.8"),
            "tense_retried_bleu4": (4, "the first that does (report A's score), or the best of 1,000"),
            "tense_retries": (0, "draws that it took"),
            **_invented("gaussian"),
            **_invented("fitted"),
            "training_exact": (3, "exact conversions of the first 200 training rows, all directions"),
            "heldout_exact": (
                3,
                "exact conversions of the test split, all directions: of verbs never seen, unless data.held_out is 0",
            ),
            "heldout_exact_regular": (3, "of regular verbs"),
            "heldout_exact_irregular": (3, "of irregular verbs"),
            "heldout_bleu4": (4, "mean BLEU-4 of these conversions"),
            "heldout_copied": (3, "share whose source came back where another form was right"),
            "heldout_reconstructed": (3, "exact reconstructions of the test split"),
            **LEAK,
        },
    ),
    "transfer": Protocol(
        run=lambda s: transfer_protocol(s.model, s.splits, s.split, seed=s.seed),
        fits=lambda s: s.conditional and s.latent and not s.splits.train.form_field and s.text,
        help="a classifier's view of changed labels",
        of_words=True,
        columns={
            "classifier_accuracy": (3, "of a classifier of n-grams on real sentences"),
            "transfer_accuracy": (3, "share of transferred sentences in which it sees the new label"),
            "transfer_self_bleu4": (3, "mean BLEU-4 of a transferred sentence with its source"),
            "reconstruction_accuracy": (3, "share of reconstructions in which it sees the label kept"),
            "reconstruction_bleu4": (3, "mean BLEU-4 of these with their source"),
            **LEAK,
        },
    ),
}
