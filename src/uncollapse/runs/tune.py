"""A search over settings for a stated goal: on validation, with one seed; what it finds is then measured with others, on test."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import yaml

from uncollapse.errors import UserError, suggest
from uncollapse.files import write_atomically
from uncollapse.runs.checks import validate
from uncollapse.runs.compose import combine_remedies, compose
from uncollapse.runs.config import catalogue, check, merge, nest, read_values, split_key
from uncollapse.runs.executors import HERE, Executor, budget_of
from uncollapse.runs.trials import Announce, Trial
from uncollapse.training.callbacks.files import read_condition

SEED = 1000
"""The first seed of the search; `bench` measures with 1, 2, …"""
REMEDY = "remedy"
"""What is searched besides settings."""
DEFAULT_SEARCH = ("remedy=kl-controller", "objective.target=2..30:log", "optim.lr=0.0005..0.01:log")
Numbers = Mapping[str, Any]


@dataclass(frozen=True)
class Goal:
    """What is to be made small or large, and what must hold.

    Attributes:
        name: of a number of `evaluate`.
        sign: 1 where less is better, -1 where more is.
        conditions: name, 1 for a lower bound and -1 for an upper one, bound.
    """

    name: str
    sign: int = 1
    conditions: tuple[tuple[str, int, float], ...] = ()

    @property
    def names(self) -> list[str]:
        """Return the numbers that the goal names."""
        return list(dict.fromkeys([self.name, *(name for name, *_ in self.conditions)]))

    def value(self, numbers: Numbers) -> float:
        """Return what the search minimises.

        Raises:
            UserError: a number that these runs do not have.
        """
        return self.sign * self.number(numbers, self.name)

    def violations(self, numbers: Numbers) -> list[float]:
        """Return for every condition how far it is from being met; not positive where it holds."""
        return [sign * (bound - self.number(numbers, name)) for name, sign, bound in self.conditions]

    def met(self, numbers: Numbers) -> bool:
        """Return whether every condition holds."""
        return all(violation <= 0 for violation in self.violations(numbers))

    def number(self, numbers: Numbers, name: str) -> float:
        """Return a number of an evaluation."""
        if not isinstance(numbers.get(name), int | float):
            known = [key for key, value in numbers.items() if isinstance(value, int | float)]
            raise UserError(f"--goal: unknown number {name!r}: {suggest(name, known)}")
        return float(numbers[name])


def read_goal(text: str) -> Goal:
    """Read `min NAME` or `max NAME`, and `subject to NAME >= NUMBER and NAME <= NUMBER`.

    Raises:
        UserError: other text.
    """
    match = re.fullmatch(r"\s*(min|max)\s+(\w+)(?:\s+subject\s+to\s+(.+))?\s*", text)
    if not match:
        raise UserError(f"--goal: expected such as 'min nll_iw subject to mi >= 4', got {text!r}")
    conditions = re.split(r"\s+and\s+", match[3]) if match[3] else []
    return Goal(match[2], 1 if match[1] == "min" else -1, tuple(read_condition(each, "--goal") for each in conditions))


@dataclass(frozen=True)
class Dimension:
    """A setting that is searched: from a list, or between two numbers.

    Attributes:
        key: `section.name`, or `remedy`.
        choices: the values that it may take; empty for a range.
        low: end of the range.
        high: likewise.
        log: whether its logarithm is uniform.
    """

    key: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False

    def suggest(self, trial: Any) -> Any:
        """Return the value that a trial of Optuna tries."""
        if self.choices:
            return trial.suggest_categorical(self.key, self.choices)
        if self.key in catalogue() and catalogue()[self.key].type is int:
            return trial.suggest_int(self.key, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(self.key, self.low, self.high, log=self.log)


def read_dimension(text: str) -> Dimension:
    """Read `KEY=A,B,…`, `KEY=LOW..HIGH` or `KEY=LOW..HIGH:log`.

    Raises:
        UserError: other text, or a value that the setting cannot take.
    """
    key, _, values = text.partition("=")
    if key != REMEDY:
        split_key(key)
    match = re.fullmatch(r"([^,:]+?)\.\.([^,:]+?)(:log)?", values)
    try:
        low, high = (float(match[1]), float(match[2])) if match and key != REMEDY else (0.0, 0.0)
    except ValueError:
        low, high = 1.0, 0.0
    if not values or not -math.inf < low <= high < math.inf or (match and match[3] and low <= 0):
        raise UserError(
            f"--search: expected KEY=A,B,… or KEY=LOW..HIGH (or …:log, from above 0), such as optim.lr=0.0005..0.01:log, "
            f"got {text!r}"
        )
    if match and key != REMEDY:
        for end in (low, high):
            check(key, int(end) if catalogue()[key].type is int else end)
        return Dimension(key, (), low, high, bool(match[3]))
    return Dimension(key, tuple(values.split(",") if key == REMEDY else read_values(key, values)))


@dataclass(frozen=True)
class Found:
    """What a search has found.

    Attributes:
        name: of the best trial.
        values: of what was searched.
        numbers: of its validation, those that the goal names.
        met: whether the conditions hold there.
        tried: trials that ended, and how many of them collapsed.
        file: a remedy of one's own with these settings.
    """

    name: str
    values: Mapping[str, Any]
    numbers: Numbers
    met: bool
    tried: tuple[int, int]
    file: Path


def tune(
    out: Path,
    recipe: str,
    goal: Goal,
    search: Sequence[Dimension],
    *,
    trials: int,
    settings: Mapping[str, Mapping[str, Any]],
    callbacks: Announce,
    seeds: int = 1,
    iw_samples: int = 20,
    executor: Executor = HERE,
) -> Found:
    """Search for the settings that reach a goal on the validation split; write them as a remedy, `out/found.yaml`.

    Every trial is a run in `out/trial-NUMBER-SEED`, or several, whose numbers are averaged. A training whose space stays dead for
    three epochs ends early. The study is `out/study.log`, of Optuna: the same call goes on with it. Source of the search:
    Bergstra et al. 2011 (TPE), with constraints as in Optuna.

    Args:
        out: the folder of the study.
        recipe: as in `train`.
        goal: what is sought.
        search: what may vary.
        trials: how many in all.
        settings: as in `train`; the same for all.
        callbacks: from the name of a run to what watches its training.
        seeds: trainings of a trial. The best of many one-seed trials was lucky, and may miss a condition with another seed.
        iw_samples: K of the importance-weighted bound.
        executor: where the trials run.

    Raises:
        UserError: all that `train` raises; Optuna is absent; no trial ended alive.
    """
    study, shared = open_study(out / "study.log"), merge({"monitor": {"stop_when": "collapsed"}}, settings)

    def job(name: str, values: Mapping[str, Any], seed: int = SEED) -> Trial:
        changes = merge(shared, own(values))
        return Trial(out / name, recipe, stacked(values), seed, changes, iw_samples=iw_samples, split="valid")

    first = job("budget", {each.key: (each.choices or (each.low,))[0] for each in search})
    validate(compose(recipe, first.remedies, first.settings))
    if not compose(recipe, first.remedies, first.settings).train.epochs:
        shared = merge(shared, budget_of(first, callbacks, executor))
    asked: dict[Path, Any] = {}

    def jobs() -> Iterator[Trial]:
        for _ in range(trials - len(begun(study))):
            trial = study.ask()
            trial.set_user_attr("run", trial.user_attrs.get("run", f"trial-{trial.number:04d}"))
            name, values = trial.user_attrs["run"], {each.key: each.suggest(trial) for each in search}
            for seed in range(SEED, SEED + seeds):
                one = job(f"{name}-{seed}", values, seed)
                asked[one.path] = trial
                yield one

    ended: dict[int, list[Numbers]] = {}
    for trial, numbers in executor.run(jobs(), callbacks):
        these = ended.setdefault(asked[trial.path].number, [])
        these.append(numbers)
        if len(these) == seeds:
            tell(study, asked[trial.path], goal, these)
    return best_of(study, goal, out)


def stacked(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the remedies among the values of a trial."""
    return tuple(values[REMEDY].split("+")) if REMEDY in values else ()


def own(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings among the values of a trial."""
    return nest({key: value for key, value in values.items() if key != REMEDY})


def open_study(path: Path) -> Any:
    """Return the study of Optuna in a file, which is begun where there is none; what was interrupted there comes first."""
    try:
        import optuna
        from optuna.storages.journal import JournalFileBackend, JournalStorage
    except ImportError:
        raise UserError("tune: expected the package optuna; pip install 'uncollapse[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path.parent.mkdir(parents=True, exist_ok=True)
    storage, sampler = JournalStorage(JournalFileBackend(str(path))), optuna.samplers.TPESampler(seed=0)
    study = optuna.create_study(storage=storage, sampler=sampler, study_name="tune", load_if_exists=True)
    for trial in study.trials:
        if trial.state == optuna.trial.TrialState.RUNNING:
            study.enqueue_trial(trial.params, user_attrs=trial.user_attrs)
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return study


def begun(study: Any) -> list[Any]:
    """Return the trials that have ended, or are running."""
    return [trial for trial in study.trials if trial.state.name in ("COMPLETE", "PRUNED", "RUNNING")]


def tell(study: Any, trial: Any, goal: Goal, of_seeds: Sequence[Numbers]) -> None:
    """Tell a study how a trial ended: its value and violations, means over seeds; or that its space is dead with one of them."""
    from optuna.trial import TrialState

    numbers = {name: mean(goal.number(one, name) for one in of_seeds) for name in goal.names}
    for (name, *_), violation in zip(goal.conditions, goal.violations(numbers), strict=True):
        trial.set_constraint(name, violation)
    trial.set_user_attr("numbers", numbers)
    value = goal.value(numbers)
    if any(one["state"] == "collapsed" for one in of_seeds) or not math.isfinite(value):
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, value)


def best_of(study: Any, goal: Goal, out: Path) -> Found:
    """Return the best trial: of those that meet the conditions the one with the best value, else the nearest to them."""
    every = begun(study)
    ended = [trial for trial in every if trial.value is not None]
    if not ended:
        raise UserError(f"{out}: every trial collapsed; search other remedies (--search remedy=bn,kl-controller,…)")

    def order(trial: Any) -> tuple[float, float]:
        return sum(max(0.0, each) for each in goal.violations(trial.user_attrs["numbers"])), trial.value

    best = min(ended, key=order)
    found = merge(combine_remedies(stacked(best.params)), own(best.params))
    content = {"title": f"Found by a search over {', '.join(best.params)}", "settings": found}
    write_atomically(out / "found.yaml", yaml.safe_dump(content, sort_keys=False).encode())
    numbers, counts = best.user_attrs["numbers"], (len(every), len(every) - len(ended))
    return Found(best.user_attrs["run"], best.params, numbers, goal.met(numbers), counts, out / "found.yaml")
