"""`uncollapse bench`."""

from pathlib import Path

from uncollapse.cli.output import show
from uncollapse.cli.parser import Parser
from uncollapse.cli.progress import Bars, show_table
from uncollapse.reporting.table import bench_table
from uncollapse.runs.bench import DEFAULT_REMEDIES, bench, frontier, recommend, relative_time
from uncollapse.runs.config import catalogue


def run(arguments: list[str]) -> None:
    """Train, evaluate and compare remedies on one corpus."""
    parser = Parser("bench", "Train remedies on one corpus under one budget, and say which works. Repeat to resume.")
    parser.flag("--recipe", "NAME", "the model and its training", default="default")
    parser.flag("--remedies", "A,B", "names; join by + to stack", default=",".join(DEFAULT_REMEDIES))
    parser.flag("--seeds", "N", "seeds 1 to N", default=1)
    parser.flag("--out", "DIR", "folder of the runs (default: runs/bench-RECIPE)")
    parser.flag("--iw-samples", "K", "samples of the importance-weighted bound", default=50, least=1)
    parser.flag(
        "--jobs", "N", "trainings at a time, each in a process with its share of the CPU's threads", default=1, least=1
    )
    parser.add_settings(key for key in catalogue() if key != "train.seed")
    asked, settings = parser.parse(arguments)
    remedies = [name.strip() for name in asked.remedies.split(",") if name.strip()]
    out = Path(asked.out or f"runs/bench-{Path(asked.recipe).stem}")
    with Bars() as bars:
        results = bench(
            out,
            asked.recipe,
            remedies,
            seeds=asked.seeds,
            settings=settings,
            callbacks=bars.of_jobs(asked.jobs),
            iw_samples=asked.iw_samples,
            jobs=asked.jobs,
        )
    show_table(bench_table(results, relative_time(results), asked.seeds))
    show("budget: the same model and the same epochs of the recipe for each")
    show(f"rate-distortion frontier: {', '.join(frontier(results))}")
    show(f"recommendation: {recommend(results)}")
