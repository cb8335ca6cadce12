"""Runs side by side: what differs between their settings, and whether their bounds differ by more than chance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from uncollapse.data.splits import fingerprint
from uncollapse.errors import UserError
from uncollapse.evaluation.scores import score
from uncollapse.runs.config import flatten
from uncollapse.runs.folder import Origin
from uncollapse.runs.run import Run

OF_A_RUN = ("train.seed", "train.device", "train.threads", "monitor.")
"""Settings in which the runs of one group may differ."""


@dataclass(frozen=True)
class Paired:
    """A paired comparison of nll_elbo with that of the first run, nats; below 0 it is better.

    Attributes:
        name: of the run, or of the runs that differ in their seed alone.
        difference: mean of this one's less that of the first.
        se: standard error of the mean.
        p: of Student's paired t-test, two-sided.
        count: pairs.
        over: sentences or seeds.
    """

    name: str
    difference: float
    se: float
    p: float
    count: int
    over: str


def short_names(paths: Sequence[str], origins: Sequence[Origin]) -> list[str]:
    """Return a short name for each run, or its path where that name is taken."""
    names: list[str] = []
    for path, origin in zip(paths, origins, strict=True):
        name = "+".join(origin.remedies) or origin.recipe
        name = f"{name}-{origin.config.train.seed}" if name in names else name
        names.append(path if name in names else name)
    return names


def settings_that_differ(origins: Mapping[str, Origin]) -> dict[str, dict[str, Any]]:
    """Return the settings that are not the same in all runs: setting -> run -> value; None where a kind does not have it."""
    flat = {name: dict(flatten(origin.config.settings())) for name, origin in origins.items()}
    keys = dict.fromkeys(key for values in flat.values() for key in values)
    every = {key: {name: values.get(key) for name, values in flat.items()} for key in keys}
    return {key: values for key, values in every.items() if len({repr(value) for value in values.values()}) > 1}


def paired_test(base: Sequence[float] | np.ndarray, other: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    """Return mean and standard error of other - base, and the two-sided p of Student's paired t-test.

    Args:
        base: of each pair.
        other: of each pair, in the same order; at least two.
    """
    from scipy.stats import ttest_rel

    difference = np.asarray(other, np.float64) - np.asarray(base, np.float64)
    se = float(difference.std(ddof=1) / np.sqrt(len(difference)))
    p = float(ttest_rel(other, base).pvalue) if se else float(not difference.any())
    return float(difference.mean()), se, p


def over_sentences(runs: Mapping[str, Run], split: str, *, seed: int = 0) -> list[Paired]:
    """Compare every run with the first over the sentences of a split: one draw of q a sentence, the same noise for all runs.

    Raises:
        UserError: runs whose splits are not the same sentences.
    """
    scores, first, theirs = {}, "", ""
    for name, run in runs.items():
        for other in runs.values():
            run.share_splits(other)
        corpus = run.subject(run.splits()[0], split).corpus
        sentences = fingerprint(corpus, ())
        first, theirs = first or name, theirs or sentences
        if sentences != theirs:
            raise UserError(
                f"compare: {name} and {first} have other {split} sentences, or other tokens; leave out the test"
            )
        scores[name] = score(run.model, corpus, seed).nll_elbo.double().numpy()
    base = scores[first]
    return [
        Paired(name, *paired_test(base, values), len(values), "sentences")
        for name, values in scores.items()
        if name != first
    ]


def over_seeds(origins: Mapping[str, Origin], evaluations: Mapping[str, Mapping[str, Any]]) -> list[Paired]:
    """Compare runs that differ in their seed alone, as groups, with the first group, over the seeds that both have.

    Args:
        origins: settings of each run.
        evaluations: numbers of each run, on one split.
    """
    groups: dict[str, tuple[str, dict[int, float]]] = {}
    for name, origin in origins.items():
        key = repr([item for item in flatten(origin.config.settings()) if not item[0].startswith(OF_A_RUN)])
        _, seeds = groups.setdefault(key, ("+".join(origin.remedies) or origin.recipe, {}))
        seeds[origin.config.train.seed] = evaluations[name]["nll_elbo"]
    (base, first), *others = groups.values()
    compared = []
    for group, by_seed in others:
        both = sorted(first.keys() & by_seed.keys())
        if len(both) > 1:
            pairs = [first[seed] for seed in both], [by_seed[seed] for seed in both]
            compared.append(Paired(f"{group} - {base}", *paired_test(*pairs), len(both), "seeds"))
    return compared
