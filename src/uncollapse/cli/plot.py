"""`uncollapse plot`."""

from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import uncollapse as uc
from uncollapse.cli.output import say, show
from uncollapse.cli.parser import Parser
from uncollapse.errors import UserError, suggest
from uncollapse.evaluation.mean_space import Means
from uncollapse.reporting.canvas import save
from uncollapse.reporting.curves import PANELS, curves_figure
from uncollapse.reporting.latent import METHODS, plane_figure, rates_figure, robustness_figure
from uncollapse.reporting.mean_space import draw_mean_space
from uncollapse.reporting.views import codes_view, map_view, plane_points, traversals_view
from uncollapse.runs.config import catalogue, converted, flatten
from uncollapse.runs.folder import RunFolder
from uncollapse.runs.shipped import refuse_shipped, run_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FLAGS = {
    "at": ("posterior-mean-space",),
    "trajectories": ("posterior-mean-space",),
    "point": ("posterior-mean-space",),
    "panels": ("curves",),
    "by": ("curves", "plane", "robustness"),
    "color": ("map",),
    "method": ("map",),
    "split": ("map", "codes", "traversals", "plane", "robustness"),
}
"""Flag -> the figures that it is for."""


def run(arguments: list[str]) -> None:
    """Draw a figure of one run or of several."""
    parser = Parser("plot", f"Draw runs. {' '.join(f'{name}: {help}.' for name, (_, help) in FIGURES.items())}")
    places = f"run folders, then the figure: {', '.join(FIGURES)}"
    parser.add_argument("runs", nargs="+", metavar="RUN... FIGURE", help=places)
    kinds = "*.png, *.svg or *.pdf; *.gif: posterior-mean-space over the steps (default: FIGURE.png in the first run)"
    parser.flag("--out", "FILE", kinds)
    parser.flag(
        "--at",
        "N,N…",
        "posterior-mean-space: the steps to show (default: six); of a way or a *.gif the first and the last (default: all)",
    )
    parser.switch("--trajectories", "posterior-mean-space: the way of every point, in one panel")
    way = "posterior-mean-space: the way of this point (from 0), with arrows"
    parser.flag("--point", "N", way, default=int, least=0)
    parser.flag("--panels", "A,B…", f"curves: which of {', '.join(PANELS)} (default: those recorded)")
    parser.flag("--by", "SETTING", "name the runs by a setting, such as objective.weight")
    parser.flag("--color", "FIELD", "map: the label field of the colours (default: the first there is)")
    parser.flag("--method", "NAME", f"map: {' or '.join(METHODS)} (default {METHODS[0]})")
    parser.flag("--split", "NAME", f"{', '.join(FLAGS['split'])}: train, valid or test (default test)")
    asked, _ = parser.parse(arguments)
    *runs, figure = asked.runs
    if figure not in FIGURES or not runs:
        raise UserError(f"plot: expected run folders and then a figure, {suggest(figure, FIGURES)}")
    for flag, figures in FLAGS.items():
        if getattr(asked, flag) not in ("", None, False) and figure not in figures:
            raise UserError(f"--{flag}: is for {', '.join(figures)}, not for {figure}")
    if asked.by and asked.by not in catalogue():
        raise UserError(f"--by: unknown setting {asked.by!r}: {suggest(asked.by, catalogue())}")
    folders = [RunFolder(run_path(run)) for run in runs]
    if not asked.out:
        refuse_shipped(folders[0].path)
    path = Path(asked.out) if asked.out else folders[0].path / f"{figure}.png"
    drawn = FIGURES[figure][0](folders, asked, path)
    if drawn is not None:
        save(drawn, path)
    say(f"written to {path}")


def _named(folders: list[RunFolder], by: str) -> dict[str, RunFolder]:
    """Return the runs by the name to show: of the folder, or a setting."""
    named = {}
    for folder in folders:
        settings = dict(flatten(folder.origin().config.settings()))
        name = f"{by.split('.')[-1]} {settings.get(by, 'none')}" if by else folder.path.resolve().name
        named[name if name not in named else str(folder.path)] = folder
    return named


def _only(folders: list[RunFolder], figure: str) -> RunFolder:
    if len(folders) > 1:
        raise UserError(f"plot: expected one run for {figure}, got {len(folders)}")
    folders[0].origin()  # a folder that is no run is said to be none
    return folders[0]


def _curves(folders: list[RunFolder], asked: Namespace, path: Path) -> "Figure":
    names = [name.strip() for name in asked.panels.split(",") if name.strip()]
    return curves_figure({name: folder.log() for name, folder in _named(folders, asked.by).items()}, names=names)


def _rates(folders: list[RunFolder], asked: Namespace, path: Path) -> "Figure":
    return rates_figure(_only(folders, "rates").looks())


def _evaluated(folders: list[RunFolder], asked: Namespace, need: str) -> dict[str, Mapping[str, object]]:
    """Return the evaluations of runs, each with a number that is needed."""
    split, found = asked.split or "test", {}
    for name, folder in _named(folders, asked.by).items():
        found[name] = folder.metrics().get(split, {})
        if need not in found[name]:
            protocol = "" if need == "rate" else f" --protocol {need}"
            again = f"uncollapse evaluate {folder.path} --split {split}{protocol}"
            raise UserError(f"{folder.path}: {need} was not measured on {split}; run `{again}`")
    return found


def _plane(folders: list[RunFolder], asked: Namespace, path: Path) -> "Figure":
    return plane_figure(plane_points(_evaluated(folders, asked, "rate")))


def _robustness(folders: list[RunFolder], asked: Namespace, path: Path) -> "Figure":
    measured = _evaluated(folders, asked, "robustness")
    return robustness_figure({name: metrics["robustness"] for name, metrics in measured.items()})  # type: ignore[misc]


def _map(folders: list[RunFolder], asked: Namespace, path: Path) -> "Figure":
    done = uc.load(_only(folders, "map").path)
    return map_view(done, asked.split or "test", field=asked.color, method=asked.method or METHODS[0]).figure


def _codes(folders: list[RunFolder], asked: Namespace, path: Path) -> "Figure":
    return codes_view(uc.load(_only(folders, "codes").path), asked.split or "test")


def _traversals(folders: list[RunFolder], asked: Namespace, path: Path) -> "Figure":
    return traversals_view(uc.load(_only(folders, "traversals").path), asked.split or "test")


def _mean_space(folders: list[RunFolder], asked: Namespace, path: Path) -> None:
    """Draw the posterior-mean space of one run, and print how far its points lie from diagonal and axes."""
    folder = _only(folders, "posterior-mean-space")
    steps = [converted(int, part) for part in asked.at.split(",") if asked.at]
    if not all(isinstance(step, int) for step in steps):
        raise UserError(f"--at: expected steps such as 0,500,1000, got {asked.at!r}")
    if len(steps) not in (0, 2) and (asked.trajectories or asked.point is not None or path.suffix == ".gif"):
        raise UserError(f"--at: of a way or an animation, expected its first and its last step, got {asked.at!r}")
    records = folder.mean_space()
    if not len(records.steps):
        hint = "train with --model.latent 1 and --train.record_every STEPS"
        raise UserError(f"{folder.path}: nothing was recorded; {hint}")
    draw_mean_space(records, path, steps, trajectories=asked.trajectories, point=asked.point)
    show("step\tdiagonal\thorizontal\tvertical")
    records = records.whole()
    for number, step in enumerate(records.steps.tolist()):
        far = Means(records.model[number], records.inference[number]).distances()
        show("\t".join([str(step), *(f"{value:.3f}" for value in far.values())]))


Draw = Callable[[list[RunFolder], Namespace, Path], "Figure | None"]
FIGURES: dict[str, tuple[Draw, str]] = {
    "curves": (_curves, "distortion, rate, MI, AU, weight and what else was recorded, over training"),
    "rates": (_rates, "the rate of each dimension over training, of one run"),
    "plane": (_plane, "evaluated runs by rate and distortion"),
    "map": (_map, "the codes of a split in two dimensions, coloured by a label, of one run"),
    "codes": (_codes, "histograms of the codes beside the prior, of one run"),
    "traversals": (_traversals, "what is written while the dimensions of most rate move, of one run"),
    "robustness": (_robustness, "tokens recovered from moved codes (evaluate --protocol robustness)"),
    "posterior-mean-space": (
        _mean_space,
        "of one run with a scalar latent and train.record_every, the encoder's mean of each sentence against the model's",
    ),
}
"""Figure -> what draws it, and what it shows."""
