"""`uncollapse bench`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uncollapse as uc
from uncollapse.cli.inputs import add_executor
from uncollapse.cli.output import show
from uncollapse.cli.parser import Parser
from uncollapse.cli.progress import Bars, show_table
from uncollapse.errors import UserError
from uncollapse.files import write_atomically
from uncollapse.reporting.report import report
from uncollapse.reporting.table import bench_table
from uncollapse.runs.bench import DEFAULT_REMEDIES, Result, bench, frontier, recommend, relative_time
from uncollapse.runs.config import catalogue, read_values, split_key
from uncollapse.runs.executors import executor_of


def run(arguments: list[str]) -> None:
    """Train, evaluate and compare remedies on one corpus."""
    parser = Parser("bench", "Train remedies on one corpus under one budget, and say which works. Repeat to resume.")
    parser.flag("--recipe", "NAME", "the model and its training", default="default")
    parser.flag("--remedies", "A,B", "names; join by + to stack", default=",".join(DEFAULT_REMEDIES))
    parser.flag("--seeds", "N", "seeds 1 to N", default=1)
    parser.flag("--sweep", "KEY=A,B,…", "values that a setting takes in turn, such as objective.target=3,15,100")
    parser.flag("--out", "DIR", "folder of the runs (default: runs/bench-RECIPE)")
    parser.flag("--iw-samples", "K", "samples of the importance-weighted bound", default=50, least=1)
    add_executor(parser)
    parser.switch("--no-report", "write no web page about the runs (see `report`)")
    parser.add_settings(key for key in catalogue() if key != "train.seed")
    asked, settings = parser.parse(arguments)
    remedies = [name.strip() for name in asked.remedies.split(",") if name.strip()]
    out = Path(asked.out or f"runs/bench-{Path(asked.recipe).stem}")
    executor = executor_of(asked.executor, asked.jobs)
    with Bars() as bars:
        results = bench(
            out,
            asked.recipe,
            remedies,
            seeds=asked.seeds,
            settings=settings,
            callbacks=bars.of(executor),
            iw_samples=asked.iw_samples,
            executor=executor,
            sweep=sweep_of(asked.sweep),
        )
    show_table(bench_table(results, relative_time(results), asked.seeds))
    show("budget: the same model and the same epochs of the recipe for each")
    points = {one.remedy: (one.mean("rate"), one.mean("distortion")) for one in results}
    show(f"rate-distortion frontier: {', '.join(frontier(points))}")
    show(f"recommendation: {recommend(results)}")
    if not asked.no_report:
        with Bars() as bars:
            page = report(named_runs(results), track=bars.track)
        write_atomically(out / "report.html", page.encode())
        show(f"report: {out / 'report.html'}")


def named_runs(results: Sequence[Result]) -> dict[str, uc.Run]:
    """Load every run, by the name of its row, and by its seed where there are several."""
    several = any(len(one.paths) > 1 for one in results)
    return {
        f"{one.remedy}, seed {seed}" if several else one.remedy: uc.load(path)
        for one in results
        for seed, path in enumerate(one.paths, 1)
    }


def sweep_of(text: str) -> tuple[str, list[Any]]:
    """Return a setting and its values from `KEY=A,B,…`; commas in brackets, as of schedules, part nothing."""
    key, _, values = text.partition("=")
    if not text:
        return "", []
    split_key(key)
    if not values:
        raise UserError(f"--sweep: expected KEY=A,B,…, such as objective.target=3,15,100, got {text!r}")
    return key, read_values(key, values)
