"""`uncollapse reproduce`."""

import os
from pathlib import Path
from typing import get_args

from uncollapse.cli.inputs import add_executor
from uncollapse.cli.output import say, show
from uncollapse.cli.parser import Parser
from uncollapse.cli.progress import Bars, show_table
from uncollapse.files import write_atomically
from uncollapse.reporting.study import cells, draw_figures, latex, markdown, rich_table, studies_table
from uncollapse.runs.executors import executor_of
from uncollapse.runs.reproduction import data_settings, provenance, reproduce
from uncollapse.runs.study import TierName, load_study, select_rows, studies


def run(arguments: list[str]) -> None:
    """List the studies, or run one and show it beside the published numbers."""
    parser = Parser(
        "reproduce", "Run a published table again: ours beside theirs, with a verdict a row. Repeat to resume."
    )
    parser.add_argument(
        "name", nargs="?", default="", metavar="NAME", help="a study, or its YAML file; without: list them"
    )
    tiers = get_args(TierName)
    tier = "how far: minutes (15 on two cores, with --jobs 2), hours, or full: as published (default minutes)"
    parser.add_argument("--tier", choices=tiers, default="minutes", help=tier)
    row = "only this row, by its name in the table; repeatable"
    parser.add_argument("--row", action="append", default=[], metavar="NAME", help=row)
    parser.flag("--seeds", "N", "seeds of a row; 0: as in the tier", default=0, least=0)
    root = os.environ.get("UNCOLLAPSE_DATA", "data")
    parser.flag("--data", "DIR", "the folder that holds ptb, yahoo, tense …, or $UNCOLLAPSE_DATA", default=root)
    add_executor(parser)
    parser.flag(
        "--out", "DIR", "folder of the runs (default: runs/NAME-TIER, -STAND-IN where an embedded corpus serves)"
    )
    asked, _ = parser.parse(arguments)
    if not asked.name:
        show_table(studies_table([load_study(name) for name in studies()]))
        return
    study, absent = select_rows(load_study(asked.name), asked.row)
    _, absent_data = data_settings(study, asked.tier, Path(asked.data))
    kind = f"-{study.stand_in['name']}" if absent_data else ""  # so that runs on other data are not in the way of these
    out = Path(asked.out or f"runs/{study.name}-{asked.tier}{kind}")
    say(f"{study.title}. Source: {study.source}", f"protocol: {study.protocol}")
    executor = executor_of(asked.executor, asked.jobs)
    with Bars() as bars:
        outcomes, reduced = reproduce(
            study,
            asked.tier,
            Path(asked.data),
            out=out,
            callbacks=bars.of(executor),
            seeds=asked.seeds,
            executor=executor,
        )
    reduced += [f"without the rows {'; '.join(absent)}"] * bool(absent)
    for note in reduced:
        show(f"reduced: {note}")
    head, rows = cells(study, outcomes)
    show_table(rich_table(study, head, rows))
    made = provenance(outcomes)
    write_atomically(out / "table.md", markdown(study, outcomes, notes=reduced, made=made).encode())
    write_atomically(out / "table.tex", latex(study, head, rows).encode())
    figures = draw_figures(study, outcomes, out)
    show(f"written to {', '.join(map(str, (out / 'table.md', out / 'table.tex', *figures)))}")
