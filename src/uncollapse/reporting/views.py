"""Figures of a run, from its data: what `plot` and `report` show of a latent space."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from uncollapse.data.corpus import Corpus
from uncollapse.errors import UserError, suggest
from uncollapse.evaluation.bounds import subsample_indices
from uncollapse.evaluation.posterior import drawn_codes, posteriors, rates_by_dimension
from uncollapse.reporting.latent import Point, Traversal, codes_figure, map_figure, project, traversals_figure
from uncollapse.runs.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SENTENCES = 300
"""Sentences of a map."""
TRAVERSED, STEPS = 3, 7
"""Dimensions that are traversed, and the values of each."""
SPAN, LEAST_RATE = 3.0, 0.1
"""The largest value of a traversed dimension; the least rate in nats of one that is worth it."""


@dataclass(frozen=True)
class Map:
    """A map of codes.

    Attributes:
        figure: it.
        texts: the sentence of each point.
    """

    figure: "Figure"
    texts: Sequence[str]


def map_view(run: Run, split: str, *, field: str = "", method: str = "pca") -> Map:
    """Return a map of some sentences of a split.

    Args:
        run: with a latent space.
        split: which of its data.
        field: the label field of the colours; by default the first of the data, where there is one.
        method: of `latent.project`.

    Raises:
        UserError: no such field, an unknown method, a language model.
    """
    run.inputs.need_latent()
    corpus = run.subject(run.splits()[0], split).corpus
    if field and field not in corpus.label_names:
        have = suggest(field, corpus.label_names) if corpus.label_names else "the data have no labels"
        raise UserError(f"--color: unknown label field {field!r}: {have}")
    few = corpus.subset(subsample_indices(len(corpus), SENTENCES, seed=0))
    places, how = project(posteriors(run.model, few).mean.flatten(1).numpy(), method)
    field = field or next(iter(few.label_names), "")
    classes = [few.label_names[field][i] for i in few.labels[field]] if field else []
    return Map(map_figure(places, how, classes), few.texts())


def codes_view(run: Run, split: str) -> "Figure":
    """Return histograms of one code a sentence, of the dimensions of most rate, beside the standard normal prior.

    Raises:
        UserError: a language model, priors of labels, or rates without a closed form.
    """
    run.inputs.need_latent()
    if run.model.prior.labelled:
        raise UserError("codes: every label has a prior of its own, and they are not drawn")
    corpus = run.subject(run.splits()[0], split).corpus
    rates = _rates(run, corpus, "codes")
    return codes_figure(drawn_codes(run.model, corpus).flatten(1).numpy(), rates)


def traversals(run: Run, corpus: Corpus, rates: Sequence[float]) -> list[Traversal]:
    """Return what is written while the code of the first sentence moves along the dimensions of most rate.

    Args:
        run: with a latent space.
        corpus: whose first sentence it is.
        rates: of every dimension, nats per sentence.
    """
    first = corpus.first(1)
    code = run.encode(first.texts(), run.labels_of(first))[0]
    labels = run.labels_of(corpus.subset(np.zeros(STEPS, dtype=np.int64)))  # those of the first, all the way
    values = np.linspace(-SPAN, SPAN, STEPS)
    most = [d for d in sorted(range(len(rates)), key=lambda d: -rates[d])[:TRAVERSED] if rates[d] >= LEAST_RATE]
    return [
        Traversal(d, rates[d], values, run.decode(run.traversal(d, code, STEPS, span=SPAN), labels=labels))
        for d in most
    ]


def traversals_view(run: Run, split: str) -> "Figure":
    """Return a figure of the traversals of the first sentence of a split.

    Raises:
        UserError: a language model, rates without a closed form, or no dimension with a rate to speak of.
    """
    run.inputs.need_latent()
    corpus = run.subject(run.splits()[0], split).corpus
    rates = _rates(run, corpus, "traversals")
    if not (drawn := traversals(run, corpus, rates)):
        raise UserError(f"traversals: no dimension has a rate of {LEAST_RATE} nats; the code is not used")
    return traversals_figure(drawn, pictures=not run.vocabulary.of_text)


def _rates(run: Run, corpus: Corpus, figure: str) -> Sequence[float]:
    """Return the rate of every dimension.

    Raises:
        UserError: rates without a closed form.
    """
    rates = rates_by_dimension(run.model, corpus, posteriors(run.model, corpus))
    if rates is None:
        raise UserError(f"{figure}: rates by dimension have no closed form for this posterior and prior")
    return rates


def plane_points(evaluations: Mapping[str, Mapping[str, Any]]) -> dict[str, Point]:
    """Return evaluated runs as points of the rate-distortion plane."""
    return {name: Point(metrics["rate"], metrics["distortion"]) for name, metrics in evaluations.items()}
