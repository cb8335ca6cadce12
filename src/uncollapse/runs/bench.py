"""Many runs, one table: which remedy works on this corpus?"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any, cast

from uncollapse.errors import UserError
from uncollapse.runs.build import validate
from uncollapse.runs.config import compose
from uncollapse.runs.folder import RunFolder
from uncollapse.runs.protocols import PROTOCOLS
from uncollapse.runs.run import Run, train
from uncollapse.training.callbacks import Callback

DEFAULT_REMEDIES = ("vanilla", "annealed", "cyclical", "free-bits", "kl-target", "bn")
SHOWN = ("nll_iw", "nll_elbo", "distortion", "rate", "mi", "au", "accuracy", "seconds")
SHOWN_OF_FORMS = ("heldout_exact", "gaussian_score", "gaussian_distinct")
"""What is shown besides for rows of parallel forms. A model that ignores z can have a high score with one distinct row."""


@dataclass(frozen=True)
class Result:
    """One remedy over its seeds.

    Attributes:
        remedy: its name.
        values: for each number shown (those of forms where the data have them), that of every seed.
        states: the verdict of every seed.
        floor: the lowest NLL that any model can reach, where it is known.
    """

    remedy: str
    values: Mapping[str, Sequence[float]]
    states: tuple[str, ...]
    floor: float | None = None

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
    callbacks: Callable[[str], Sequence[Callback]],
    iw_samples: int = 50,
    iw_sentences: int | None = 500,
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

    Raises:
        UserError: no remedies, or the same twice; and all that `train` raises.
    """
    if not remedies or len(set(remedies)) < len(remedies) or seeds < 1:
        raise UserError(
            f"bench: expected different remedies and at least one seed, got {', '.join(remedies) or 'none'} and {seeds}"
        )
    for remedy in remedies:  # a wrong one is said before any is trained
        validate(compose(recipe, remedy.split("+"), settings))
    results, sections = [], cast(dict[str, Any], dict(settings))
    for remedy in remedies:
        results_of = []
        for seed in range(1, seeds + 1):
            path = out / f"{remedy}-{seed}"
            resume = RunFolder(path).config_file.exists()
            run = train(
                recipe, remedy.split("+"), seed, out=path, resume=resume, callbacks=callbacks(path.name), **sections
            )
            # where the length was left open, what the first run chose is the budget of all
            chosen = {name: getattr(run.config.train, name) for name in ("epochs", "steps_per_epoch")}
            sections["train"] = {**sections.get("train", {}), **chosen}
            numbers = measured(run, iw_samples=iw_samples, iw_sentences=iw_sentences, protocols=("tense",))
            results_of.append({"accuracy": 0.0, **numbers})
        names = (name for name in (*SHOWN, *SHOWN_OF_FORMS) if all(name in one for one in results_of))
        values = {name: [one[name] for one in results_of] for name in names}
        results.append(
            Result(remedy, values, tuple(one["state"] for one in results_of), results_of[0].get("nll_floor"))
        )
    return results


def measured(run: Run, *, iw_samples: int, iw_sentences: int | None, protocols: Sequence[str] = ()) -> dict[str, Any]:
    """Return the numbers of one finished run on the test split; what is in its folder already is not measured again.

    Args:
        run: the run.
        iw_samples: K of the importance-weighted bound.
        iw_sentences: sentences that it is measured on, or None for all.
        protocols: of `PROTOCOLS`; those that do not fit the run are left out.
    """
    metrics = run.metrics.get("test", {})
    done, bound = metrics.get("protocol", {}), iw_samples if run.model.latent else min(iw_samples, 1)
    asked = {
        "samples": bound,
        "sentences": iw_sentences,
        "weights": run.folder.fingerprint(),
        "protocols": [*protocols],
    }
    before = {
        "samples": metrics.get("iw_samples", 0),
        "sentences": done.get("asked_sentences"),
        "weights": done.get("weights"),
        "protocols": metrics.get("protocols", []),
    }
    if before != asked:
        subject = run.subject(run.splits()[0])
        numbers: dict[str, Any] = {"protocols": [*protocols]}
        for protocol in protocols:
            numbers |= run.by_protocol(protocol, subject) if PROTOCOLS[protocol].fits(subject) else {}
        metrics = run.measure(subject, numbers, iw_samples=iw_samples, iw_sentences=iw_sentences).metrics
    return metrics


def frontier(results: Sequence[Result]) -> list[str]:
    """Return the remedies on the rate-distortion frontier: no other has both a lower rate and a lower distortion."""

    def beaten(one: Result) -> bool:
        point = (one.mean("rate"), one.mean("distortion"))
        others = ((other.mean("rate"), other.mean("distortion")) for other in results)
        return any(
            rate <= point[0] and distortion <= point[1] and (rate, distortion) != point for rate, distortion in others
        )

    return [one.remedy for one in results if not beaten(one)]


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
    return "every remedy collapsed: try kl-controller, more epochs, or a weaker decoder (--decoder.hidden, --remedy word-dropout)"


def relative_time(results: Sequence[Result]) -> dict[str, float]:
    """Return each remedy's training time relative to vanilla's (nan where vanilla is not among them)."""
    base = next((r.mean("seconds") for r in results if r.remedy == "vanilla"), math.nan)
    return {r.remedy: r.mean("seconds") / base for r in results}
