"""Figures of the posterior-mean space: the model's posterior mean against the encoder's, over training."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from uncollapse.errors import UserError
from uncollapse.files import write_atomically
from uncollapse.reporting.canvas import COLOURS, check_suffix, label, panels, save
from uncollapse.runs.mean_space import MeanSpaceRecords

SHOWN = 6
FRAMES_A_SECOND = 4
MOVERS = {"encoder": 1, "decoder": 6, "both": 2}
"""What moves in a step -> the colour of its arrow."""


def draw_mean_space(
    records: MeanSpaceRecords,
    path: Path,
    at: Sequence[int] = (),
    *,
    trajectories: bool = False,
    point: int | None = None,
) -> None:
    """Draw points at some steps, the way of each point, or an animation.

    Args:
        records: what was recorded.
        path: *.png, *.svg or *.pdf; *.gif for an animation over the records.
        at: the steps to show, by default six, evenly spread over those recorded; of ways and animations the first and the last,
            by default all.
        trajectories: draw in one panel the way of every point from its first place to its last.
        point: draw the way of this point alone, an arrow from record to record; the encoder's half of a step in another colour.

    Raises:
        UserError: another suffix, steps that were not recorded, or no such point.
    """
    check_suffix(path, ".gif")
    whole = records.whole()
    if missing := [step for step in at if step not in whole.steps.tolist()]:
        known = ", ".join(map(str, whole.steps[:12])) + (" …" if len(whole.steps) > 12 else "")
        raise UserError(f"--at: step {missing[0]} was not recorded; recorded: {known}")
    if point is not None and not 0 <= point < records.model.shape[1]:
        raise UserError(f"--point: expected one of the {records.model.shape[1]} recorded, counted from 0, got {point}")
    alone = trajectories or point is not None
    if at and (alone or path.suffix == ".gif"):
        records = records.between(min(at), max(at))
    if path.suffix == ".gif":
        _animate(records, path, trajectories=trajectories, point=point)
        return
    numbers = [int(np.flatnonzero(whole.steps == step)[0]) for step in at] or _spread(len(whole.steps))
    figure, axes = panels(1 if alone else len(numbers), size=(3.0, 3.3))
    limit = _limit(records)
    if alone:
        _frame(axes[0], limit, f"steps {records.steps[0]} to {records.steps[-1]}")
        _ways(axes[0], records, len(records.steps), trajectories=trajectories, point=point)
    else:
        for axis, number in zip(axes, numbers, strict=True):
            _frame(axis, limit, f"step {whole.steps[number]}")
            _points(axis, whole, number)
    save(figure, path)


def _spread(count: int) -> list[int]:
    return sorted(set(np.linspace(0, count - 1, SHOWN).round().astype(int).tolist()))


def _limit(records: MeanSpaceRecords) -> float:
    """Return half the width of the figure: that of the farthest point, at least 1."""
    return max(1.0, 1.05 * float(max(np.abs(records.model).max(), np.abs(records.inference).max())))


def _frame(axis: Any, limit: float, title: str) -> None:
    axis.plot([-limit, limit], [-limit, limit], color="0.6", linewidth=1, linestyle="--")
    axis.axhline(0, color="0.8", linewidth=0.8)
    axis.axvline(0, color="0.8", linewidth=0.8)
    axis.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
    axis.locator_params(nbins=5)  # their labels do not touch
    label(axis, title, "model posterior mean", "inference mean")
    axis.grid(False)


def _points(axis: Any, records: MeanSpaceRecords, number: int) -> Any:
    return axis.scatter(records.model[number], records.inference[number], s=7, color=COLOURS[0], alpha=0.5, linewidth=0)


def _ways(axis: Any, records: MeanSpaceRecords, until: int, *, trajectories: bool, point: int | None) -> None:
    """Draw the ways of the points over the first records: lines of all, or arrows of one."""
    shown = slice(0, until)
    if trajectories:
        for number in range(records.model.shape[1]):
            way = records.model[shown, number], records.inference[shown, number]
            axis.plot(*way, color=COLOURS[5], linewidth=0.7, alpha=0.8)
        for number, colour, marker in ((0, COLOURS[6], "o"), (until - 1, COLOURS[1], "s")):
            axis.scatter(records.model[number], records.inference[number], s=12, color=colour, marker=marker, zorder=3)
    else:
        _points(axis, records, until - 1)
    if point is not None:
        places = np.stack([records.model[shown, point], records.inference[shown, point]], 1)
        movers = who_moved(records.half[:until])
        far = np.diff(places, axis=0)
        axis.quiver(
            *places[:-1].T,
            *far.T,
            color=[COLOURS[MOVERS[name]] for name in movers],
            angles="xy",
            scale_units="xy",
            scale=1,
            width=0.006,
            zorder=4,
        )
        if records.half.any():
            names = [name for name in MOVERS if name in movers]
            handles = [axis.plot([], [], color=COLOURS[MOVERS[name]], label=name)[0] for name in names]
            axis.legend(handles=handles, fontsize=8, loc="upper left")


def who_moved(half: np.ndarray) -> list[str]:
    """Return what moved between each record and the next: the encoder, then the decoder, or both in one step."""
    return ["encoder" if now else "decoder" if before else "both" for before, now in pairwise(half.tolist())]


def _animate(records: MeanSpaceRecords, path: Path, *, trajectories: bool, point: int | None) -> None:
    """Write an animation, a frame a record; ways grow from frame to frame."""
    from matplotlib.animation import FuncAnimation, PillowWriter
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure, (axis,) = panels(1, size=(3.6, 3.6))
    FigureCanvasAgg(figure)
    limit = _limit(records)

    def show(number: int) -> list[Any]:
        axis.clear()
        moved = "the encoder has moved, " if records.half[number] else ""
        _frame(axis, limit, f"{moved}step {records.steps[number]}")
        _ways(axis, records, number + 1, trajectories=trajectories, point=point)
        return []

    with TemporaryDirectory() as folder:
        whole = Path(folder) / "animation.gif"
        FuncAnimation(figure, show, frames=len(records.steps)).save(whole, writer=PillowWriter(fps=FRAMES_A_SECOND))
        write_atomically(path, whole.read_bytes())
