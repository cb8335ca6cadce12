"""`uncollapse plot`."""

from pathlib import Path

from uncollapse.cli.output import say, show
from uncollapse.cli.parser import Parser, converted
from uncollapse.errors import UserError, suggest
from uncollapse.evaluation.mean_space import Means
from uncollapse.reporting.curves import PANELS, draw_curves
from uncollapse.reporting.mean_space import draw_mean_space
from uncollapse.runs.config import catalogue, flatten
from uncollapse.runs.folder import RunFolder
from uncollapse.runs.shipped import refuse_shipped, run_path

FIGURES = ("curves", "posterior-mean-space")


def run(arguments: list[str]) -> None:
    """Draw a figure of one run or of several."""
    parser = Parser(
        "plot",
        "Draw runs. curves: distortion, rate, MI, AU, weight and what else was recorded, over training. posterior-mean-space: of "
        "one run with a scalar latent and train.record_every, the encoder's mean of each sentence against the model's.",
    )
    places = f"run folders, then the figure: {', '.join(FIGURES)}"
    parser.add_argument("runs", nargs="+", metavar="RUN... FIGURE", help=places)
    kinds = "*.png, *.svg or *.pdf; *.gif: posterior-mean-space over all steps (default: FIGURE.png in the first run)"
    parser.flag("--out", "FILE", kinds)
    parser.flag("--at", "N,N…", "posterior-mean-space: the steps to show (default: six)")
    parser.switch("--trajectories", "posterior-mean-space: the way of every point, in one panel")
    parser.flag(
        "--point", "N", "posterior-mean-space: the way of this point (from 0), with arrows", default=int, least=0
    )
    parser.flag("--panels", "A,B…", f"curves: which of {', '.join(PANELS)} (default: those recorded)")
    parser.flag("--by", "SETTING", "name the runs by a setting, such as objective.weight")
    asked, _ = parser.parse(arguments)
    *runs, figure = asked.runs
    if figure not in FIGURES or not runs:
        raise UserError(f"plot: expected run folders and then a figure, {suggest(figure, FIGURES)}")
    if asked.by and asked.by not in catalogue():
        raise UserError(f"--by: unknown setting {asked.by!r}: {suggest(asked.by, catalogue())}")
    if figure == "posterior-mean-space" and (asked.panels or asked.by):
        raise UserError("--panels and --by are for curves, not for posterior-mean-space")
    if figure == "curves" and (asked.at or asked.trajectories or asked.point is not None):
        raise UserError("--at, --trajectories and --point are for posterior-mean-space, not for curves")
    folders = [RunFolder(run_path(run)) for run in runs]
    if not asked.out:
        refuse_shipped(folders[0].path)
    path = Path(asked.out) if asked.out else folders[0].path / f"{figure}.png"
    if figure == "posterior-mean-space":
        if asked.at and (asked.trajectories or asked.point is not None):
            raise UserError("--at: shows single steps; leave it out with --trajectories and --point")
        _mean_space(folders, path, asked.at, trajectories=asked.trajectories, point=asked.point)
    else:
        _curves(folders, path, asked.by, [name.strip() for name in asked.panels.split(",") if name.strip()])
    say(f"written to {path}")


def _curves(folders: list[RunFolder], path: Path, by: str, panels: list[str]) -> None:
    logs = {}
    for folder in folders:
        settings = dict(flatten(folder.origin().config.settings()))
        name = f"{by.split('.')[-1]} {settings[by]}" if by else folder.path.resolve().name
        logs[name if name not in logs else str(folder.path)] = folder.log()
    draw_curves(logs, path, panels=panels)


def _mean_space(folders: list[RunFolder], path: Path, at: str, *, trajectories: bool, point: int | None) -> None:
    """Draw the posterior-mean space of one run, and print how far its points lie from diagonal and axes."""
    if len(folders) > 1:
        raise UserError(f"plot: expected one run for posterior-mean-space, got {len(folders)}")
    steps = [converted(int, part) for part in at.split(",") if at]
    if not all(isinstance(step, int) for step in steps):
        raise UserError(f"--at: expected steps such as 0,500,1000, got {at!r}")
    folders[0].origin()  # a folder that is no run is said to be none
    records = folders[0].mean_space()
    if not len(records.steps):
        hint = "train with --model.latent 1 and --train.record_every STEPS"
        raise UserError(f"{folders[0].path}: nothing was recorded; {hint}")
    draw_mean_space(records, path, steps, trajectories=trajectories, point=point)
    show("step\tdiagonal\thorizontal\tvertical")
    records = records.whole()
    for number, step in enumerate(records.steps.tolist()):
        far = Means(records.model[number], records.inference[number]).distances()
        show("\t".join([str(step), *(f"{value:.3f}" for value in far.values())]))
