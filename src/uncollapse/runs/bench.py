"""Many runs, one table: which remedy works on this corpus?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from uncollapse.errors import UserError
from uncollapse.runs.checks import validate
from uncollapse.runs.compose import compose
from uncollapse.runs.config import folder_name, merge, nest
from uncollapse.runs.executors import HERE, Executor, budget_of, run_trials
from uncollapse.runs.trials import Announce, Trial

DEFAULT_REMEDIES = ("vanilla", "annealed", "cyclical", "free-bits", "kl-target", "bn")
SHOWN = ("nll_iw", "nll_elbo", "distortion", "rate", "mi", "au", "accuracy", "seconds")
SHOWN_OF_FORMS = ("heldout_exact", "gaussian_score", "gaussian_distinct")
"""What is shown besides for rows of parallel forms. A model that ignores z can have a high score with one distinct row."""


@dataclass(frozen=True)
class Result:
    """One remedy over its seeds.

    Attributes:
        remedy: its name, and the value of a setting that is swept.
        values: for each number shown (those of forms where the data have them), that of every seed.
        states: the verdict of every seed.
        floor: the lowest NLL that any model can reach, where it is known.
        paths: the run of every seed.
    """

    remedy: str
    values: Mapping[str, Sequence[float]]
    states: tuple[str, ...]
    floor: float | None = None
    paths: tuple[Path, ...] = ()

    def mean(self, name: str) -> float:
        """Return the mean of a number over seeds."""
        return mean(self.values[name])

    def spread(self, name: str) -> float:
        """Return the standard deviation of a number over seeds; 0 for one seed."""
        return stdev(self.values[name]) if len(self.values[name]) > 1 else 0.0


def bench(
    out: Path,
    recipe: str,
    remedies: Sequence[str],
    *,
    seeds: int,
    settings: Mapping[str, Mapping[str, Any]],
    callbacks: Announce,
    iw_samples: int = 50,
    iw_sentences: int | None = 500,
    executor: Executor = HERE,
    sweep: tuple[str, Sequence[Any]] = ("", ()),
) -> list[Result]:
    """Train each remedy with each seed (1, 2, …) into `out/REMEDY-SEED` and evaluate it on the test split.

    Finished runs are not trained again and interrupted ones go on, so that the same call can be repeated.

    Args:
        out: the folder of all runs.
        recipe: as in `train`.
        remedies: names; several joined by `+` are stacked.
        seeds: how many.
        settings: as in `train`; the same for all.
        callbacks: from the name of a run to what watches its training.
        iw_samples: K of the importance-weighted bound.
        iw_sentences: sentences that it is measured on, or None for all.
        executor: where they are trained.
        sweep: a setting, such as `objective.target`, and the values it takes in turn with each remedy.

    Raises:
        UserError: no remedies, or the same twice, or a value; and all that `train` raises.
    """
    if not remedies or len(set(remedies)) < len(remedies) or seeds < 1:
        raise UserError(
            f"bench: expected different remedies and at least one seed, got {', '.join(remedies) or 'none'} and {seeds}"
        )
    key, values = sweep
    if len({str(value) for value in values}) < len(values):
        raise UserError(f"bench: expected different values of {key}, got {', '.join(map(str, values))}")
    rows = [
        (remedy if not key else f"{remedy}, {key.split('.')[-1]} {value}", remedy.split("+"), merge(settings, changes))
        for remedy in remedies
        for value, changes in ([(value, nest({key: value})) for value in values] if key else [(None, {})])
    ]
    for _, names, changed in rows:  # a wrong one is said before any is trained
        validate(compose(recipe, names, changed))
    trials = [
        Trial(
            out / f"{folder_name(row)}-{seed}",
            recipe,
            tuple(names),
            seed,
            changed,
            ("tense",),
            iw_samples,
            iw_sentences,
        )
        for row, names, changed in rows
        for seed in range(1, seeds + 1)
    ]
    if not compose(recipe, rows[0][1], rows[0][2]).train.epochs:
        budget = budget_of(trials[0], callbacks, executor)
        trials = [replace(trial, settings=merge(trial.settings, budget)) for trial in trials]
    numbers = [{"accuracy": 0.0, **one} for one in run_trials(trials, callbacks, executor)]
    paths = [trial.path for trial in trials]
    of_row = [slice(i * seeds, (i + 1) * seeds) for i in range(len(rows))]
    return [result_of(row, numbers[part], tuple(paths[part])) for (row, *_), part in zip(rows, of_row, strict=True)]


def result_of(remedy: str, numbers: Sequence[Mapping[str, Any]], paths: tuple[Path, ...] = ()) -> Result:
    """Return the result of one remedy from the numbers of its seeds."""
    names = [name for name in (*SHOWN, *SHOWN_OF_FORMS) if all(name in one for one in numbers)]
    values = {name: [one[name] for one in numbers] for name in names}
    return Result(remedy, values, tuple(one["state"] for one in numbers), numbers[0].get("nll_floor"), paths)


def frontier(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Return the names of the points (rate, distortion) that no other undercuts, by rising rate: the rate-distortion frontier."""

    def undercut(point: tuple[float, float]) -> bool:
        return any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points.values())

    return sorted((name for name, point in points.items() if not undercut(point)), key=points.__getitem__)


def recommend(results: Sequence[Result]) -> str:
    """Return a sentence: the live remedy with the lowest importance-weighted bound, or that none lives."""
    latent = [r for r in results if "no latent" not in r.states]
    alive = [r for r in latent if all(state == "alive" for state in r.states)]
    partly = [r for r in latent if all(state != "collapsed" for state in r.states)]
    for group, word in ((alive, "alive"), (partly, "at least partly alive")):
        if group:
            best = min(group, key=lambda r: r.mean("nll_iw"))
            floor = min(results, key=lambda r: r.mean("nll_iw"))
            price = best.mean("nll_iw") - floor.mean("nll_iw")
            cost = (
                f"{price:.2f} nats above the lowest nll_iw ({floor.remedy})"
                if price > 0
                else "and the lowest nll_iw of all"
            )
            return (
                f"use {best.remedy}: of the remedies that are {word} with every seed it has the lowest nll_iw, {cost}, "
                f"with a rate of {best.mean('rate'):.2f} nats and MI {best.mean('mi'):.2f}"
            )
    if not latent:
        return "language models alone have no latent space to compare: add a remedy, such as kl-controller"
    return "every remedy collapsed: try kl-controller, more epochs, or a weaker decoder (--decoder.hidden, --remedy word-dropout)"


def relative_time(results: Sequence[Result]) -> dict[str, float]:
    """Return each remedy's training time relative to vanilla's (nan where vanilla is not among them)."""
    base = next((r.mean("seconds") for r in results if r.remedy == "vanilla"), math.nan)
    return {r.remedy: r.mean("seconds") / base for r in results}
