"""`uncollapse tune`."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from uncollapse.cli.inputs import add_executor
from uncollapse.cli.output import say, show
from uncollapse.cli.parser import Parser
from uncollapse.cli.progress import Bars, show_table
from uncollapse.reporting.table import bench_table
from uncollapse.runs.bench import Result, bench, relative_time
from uncollapse.runs.config import catalogue
from uncollapse.runs.executors import executor_of
from uncollapse.runs.tune import DEFAULT_SEARCH, Goal, read_dimension, read_goal, tune

GOAL = "min nll_iw subject to mi >= 4"


def run(arguments: list[str]) -> None:
    """Search for the settings that reach a goal, and measure them with other seeds beside shipped remedies."""
    parser = Parser(
        "tune", "Search for settings that reach a goal; then measure them with seeds that the search did not see."
    )
    parser.flag("--recipe", "NAME", "the model and its training", default="default")
    parser.flag("--goal", "TEXT", f"min or max a number of `evaluate`, with conditions (default: {GOAL})", default=GOAL)
    search = f"KEY=A,B,… or KEY=LOW..HIGH[:log]; KEY is a setting, or remedy (default: {' '.join(DEFAULT_SEARCH)})"
    parser.add_argument("--search", action="append", default=[], metavar="SPACE", help=f"{search}; repeatable")
    parser.flag("--trials", "N", "trainings of the search", default=20, least=1)
    parser.flag("--search-seeds", "N", "trainings of a trial, whose numbers are averaged", default=1, least=1)
    parser.flag("--seeds", "N", "seeds 1 to N, of the measurement afterwards", default=2, least=1)
    parser.flag("--against", "A,B", "remedies measured beside what was found", default="kl-controller,bn")
    parser.flag("--out", "DIR", "folder of the study (default: runs/tune-RECIPE)")
    parser.flag("--iw-samples", "K", "samples of the importance-weighted bound", default=20, least=1)
    add_executor(parser)
    parser.add_settings(key for key in catalogue() if key != "train.seed")
    asked, settings = parser.parse(arguments)
    goal, out = read_goal(asked.goal), Path(asked.out or f"runs/tune-{Path(asked.recipe).stem}")
    space = [read_dimension(text) for text in asked.search or DEFAULT_SEARCH]
    executor = executor_of(asked.executor, asked.jobs)
    against = [name.strip() for name in asked.against.split(",") if name.strip()]
    how = {"settings": settings, "iw_samples": asked.iw_samples, "executor": executor}
    with Bars() as bars:
        found = tune(
            out,
            asked.recipe,
            goal,
            space,
            trials=asked.trials,
            seeds=asked.search_seeds,
            callbacks=bars.of(executor),
            **how,
        )
        say(f"{found.tried[0]} trials, {found.tried[1]} of them collapsed; measuring with seeds 1 to {asked.seeds}")
        rows = [str(found.file), *against]
        results = bench(out / "measured", asked.recipe, rows, seeds=asked.seeds, callbacks=bars.of(executor), **how)
    show_table(bench_table(results, relative_time(results), asked.seeds))
    values = ", ".join(f"{key} {f'{x:.4g}' if isinstance(x, float) else x}" for key, x in found.values.items())
    show(f"found: {values}")
    show(f"on validation, the search's own seeds: {spell(goal, found.numbers)}")
    means = {one.remedy: {name: one.mean(name) for name in one.values} for one in results}
    for name, numbers in means.items():
        show(f"on test, seeds 1 to {asked.seeds}, {Path(name).stem}: {spell(goal, numbers)}")
    show(judged(goal, results))
    show(f"use it: uncollapse train --recipe {asked.recipe} --remedy {found.file} …")


def spell(goal: Goal, numbers: Mapping[str, Any]) -> str:
    """Return the number that is sought and those of the conditions."""
    parts = ", ".join(f"{name} {numbers[name]:.3f}" for name in goal.names)
    return parts if goal.met(numbers) else f"{parts} (the conditions do not hold)"


def judged(goal: Goal, results: Sequence[Result]) -> str:
    """Say whether what was found is better on the goal than every other row that meets the conditions, by two standard errors."""
    met = {one.remedy: goal.met({name: one.mean(name) for name in one.values}) for one in results}
    ours, *others = results
    if not met[ours.remedy]:
        return "verdict: what was found misses the conditions with other seeds; try more --trials or --search-seeds, or a margin"
    groups: dict[str, list[str]] = {"better than": [], "as good as": [], "worse than": []}
    for other in (one for one in others if met[one.remedy]):
        difference = goal.sign * (other.mean(goal.name) - ours.mean(goal.name))
        error = math.hypot(*(one.spread(goal.name) / math.sqrt(len(one.values[goal.name])) for one in (ours, other)))
        word = "as good as" if abs(difference) <= 2 * error else "better than" if difference > 0 else "worse than"
        groups[word].append(other.remedy)
    parts = [f"{word} {', '.join(names)}" for word, names in groups.items() if names]
    missed = [one.remedy for one in others if not met[one.remedy]]
    parts += [f"the conditions are not met by {', '.join(missed)}"] if missed else []
    return f"verdict: meets the conditions; {'; '.join(parts)} (two standard errors)"
