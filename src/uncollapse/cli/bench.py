"""`uncollapse bench`."""

from collections.abc import Sequence
from pathlib import Path

import uncollapse as uc
from uncollapse import bench as bench_module
from uncollapse.cli.parser import Parser
from uncollapse.cli.progress import Bars, say
from uncollapse.config import catalogue
from uncollapse.errors import UserError
from uncollapse.reporting.table import bench_table, print_table


def run(arguments: Sequence[str]) -> int:
    """Train, evaluate and compare remedies on one corpus."""
    parser = Parser(
        "bench", "Train several remedies on one corpus under one budget, and say which works. Repeat to resume."
    )
    parser.add(
        "--recipe",
        default="default",
        metavar="NAME",
        help="the model and its training (default: default)",
    )
    parser.add(
        "--remedies", default=",".join(bench_module.DEFAULT_REMEDIES), metavar="A,B", help="names; join by + to stack"
    )
    parser.add("--seeds", type=int, default=1, metavar="N", help="seeds 1 to N (default 1)")
    parser.add("--out", default="", metavar="DIR", help="folder of the runs (default: runs/bench-RECIPE)")
    parser.add(
        "--iw-samples", type=int, default=50, metavar="K", help="samples of the importance-weighted bound (default 50)"
    )
    parser.add_settings(key for key in catalogue() if key != "train.seed")
    asked, settings = parser.parse(arguments)
    remedies = [name.strip() for name in asked.remedies.split(",") if name.strip()]
    if asked.iw_samples < 1:
        raise UserError(f"--iw-samples: expected an integer of at least 1, got {asked.iw_samples}")
    out = Path(asked.out or f"runs/bench-{Path(asked.recipe).stem}")

    with Bars() as bars:

        def announce(name: str) -> Bars:
            say(f"-- {name}")
            return bars

        try:
            results = bench_module.bench(out, asked.recipe, remedies, asked.seeds, settings, announce, asked.iw_samples)
        except uc.Interrupted:
            say("stopped; the state is saved. The same command goes on.")
            return 130
    times = bench_module.relative_time(results)
    print_table(bench_table(results, times, asked.seeds))
    print("budget: the same model and the same epochs of the recipe for each")
    print(f"rate-distortion frontier: {', '.join(bench_module.frontier(results))}")
    print(f"recommendation: {bench_module.recommend(results)}")
    return 0
