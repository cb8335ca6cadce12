"""`uncollapse plot`."""

from collections.abc import Sequence
from pathlib import Path

from uncollapse.cli.parser import Parser
from uncollapse.cli.progress import say
from uncollapse.config import catalogue, flatten
from uncollapse.errors import UserError, nearest
from uncollapse.reporting.curves import draw_curves
from uncollapse.run import RunFolder

FIGURES = ("curves",)


def run(arguments: Sequence[str]) -> None:
    """Draw a figure of one run or of several."""
    parser = Parser(
        "plot", "Draw runs. curves: distortion, rate, MI, AU, weight and what else was recorded, over training."
    )
    parser.add("runs", nargs="+", metavar="RUN... FIGURE", help=f"run folders, then the figure: {', '.join(FIGURES)}")
    parser.add("--out", default="", metavar="FILE", help="*.png, *.svg or *.pdf (default: FIGURE.png in the first run)")
    parser.add("--by", default="", metavar="SETTING", help="name the runs by a setting, such as objective.weight")
    asked, _ = parser.parse(arguments)
    *runs, figure = asked.runs
    if figure not in FIGURES or not runs:
        raise UserError(f"plot: expected run folders and then a figure, {nearest(figure, FIGURES)}")
    if asked.by and asked.by not in catalogue():
        raise UserError(f"--by: unknown setting {asked.by!r}: {nearest(asked.by, catalogue())}")
    folders = [RunFolder(Path(run)) for run in runs]
    logs = {}
    for folder in folders:
        settings = dict(flatten(folder.origin().config.settings()))
        name = f"{asked.by.split('.')[-1]} {settings[asked.by]}" if asked.by else folder.path.resolve().name
        logs[name if name not in logs else str(folder.path)] = folder.log()
    path = Path(asked.out) if asked.out else folders[0].path / f"{figure}.png"
    draw_curves(logs, path)
    say(f"written to {path}")
