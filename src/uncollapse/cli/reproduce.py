"""`uncollapse reproduce`."""

import os
from pathlib import Path
from typing import get_args

import uncollapse
from uncollapse.cli.output import say, show
from uncollapse.cli.parser import Parser
from uncollapse.cli.progress import Bars, show_table
from uncollapse.files import write_atomically
from uncollapse.reporting.curves import draw_curves
from uncollapse.reporting.mean_space import draw_mean_space
from uncollapse.reporting.study import cells, draw_columns, latex, markdown, rich_table
from uncollapse.runs.folder import RunFolder
from uncollapse.runs.study import Outcome, Study, TierName, load_study, provenance, reproduce, studies


def run(arguments: list[str]) -> None:
    """List the studies, or run one and show it beside the published numbers."""
    parser = Parser(
        "reproduce", "Run a published table again: ours beside theirs, with a verdict a row. Repeat to resume."
    )
    parser.add_argument(
        "name", nargs="?", default="", metavar="NAME", help="a study, or its YAML file; without: list them"
    )
    tiers = get_args(TierName)
    tier = "how far: minutes (15 on two cores), hours, or full: as published (default minutes)"
    parser.add_argument("--tier", choices=tiers, default="minutes", help=tier)
    parser.flag("--seeds", "N", "of each row; 0: those of the tier", default=0, least=0)
    parser.flag(
        "--data",
        "DIR",
        "the folder that holds ptb, yahoo, tense … ($UNCOLLAPSE_DATA)",
        default=os.environ.get("UNCOLLAPSE_DATA", "data"),
    )
    parser.flag("--out", "DIR", "folder of the runs (default: runs/NAME-TIER)")
    asked, _ = parser.parse(arguments)
    if not asked.name:
        for name in studies():
            study = load_study(name)
            show(f"{name:<20} {study.title} ({study.source}; {', '.join(study.tiers)})")
        return
    study = load_study(asked.name)
    out = Path(asked.out or f"runs/{study.name}-{asked.tier}")
    say(f"{study.title}. Source: {study.source}", f"protocol: {study.protocol}")
    with Bars() as bars:
        outcomes, reduced = reproduce(
            study, asked.tier, Path(asked.data), out=out, callbacks=bars.announce, seeds=asked.seeds
        )
    for note in reduced:
        show(f"reduced: {note}")
    head, rows = cells(study, outcomes)
    show_table(rich_table(study, head, rows))
    made = provenance(outcomes, uncollapse.__version__)
    write_atomically(out / "table.md", markdown(study, head, rows, notes=reduced, made=made).encode())
    write_atomically(out / "table.tex", latex(study, head, rows).encode())
    show(f"written to {out}/table.md, {out}/table.tex{_draw(study, outcomes, out)}")


def _draw(study: Study, outcomes: list[Outcome], out: Path) -> str:
    """Draw the figure of a study, of the first seed of each row; return how its file is named in the closing line."""
    folders = {one.row.name: RunFolder(one.runs[0]) for one in outcomes}
    if study.figure == ("posterior-mean-space",):
        files = [out / f"{folder.path.name}.png" for folder in folders.values()]
        for folder, file in zip(folders.values(), files, strict=True):
            draw_mean_space(folder.mean_space(), file, [])
        return "".join(f", {file}" for file in files)
    if study.figure == ("columns",):
        draw_columns(study, outcomes, out / "figure.png")
        return f", {out}/figure.png"
    if study.figure:
        draw_curves({name: folder.log() for name, folder in folders.items()}, out / "figure.png", panels=study.figure)
        return f", {out}/figure.png"
    return ""
