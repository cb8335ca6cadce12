"""Figures of the posterior-mean space: the model's posterior mean against the encoder's, over training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from uncollapse.errors import UserError
from uncollapse.reporting.curves import COLOURS, SUFFIXES
from uncollapse.runs.folder import MeanSpace

PANELS = 6
FRAMES_A_SECOND = 4


def draw_mean_space(records: MeanSpace, path: Path, at: Sequence[int] = (), *, trajectories: bool = False) -> None:
    """Draw points at some steps, the way of each point, or an animation.

    Args:
        records: what was recorded.
        path: *.png, *.svg or *.pdf; *.gif for an animation over all steps.
        at: the steps to show; by default six, evenly spread over those recorded.
        trajectories: draw in one panel the way of every point from its first place to its last.

    Raises:
        UserError: another suffix, or steps that were not recorded.
    """
    if path.suffix not in (*SUFFIXES, ".gif"):
        raise UserError(f"--out: expected a file named *{', *'.join(SUFFIXES)} or *.gif, got {path.name!r}")
    if missing := [step for step in at if step not in records.steps.tolist()]:
        known = ", ".join(map(str, records.steps[:12])) + (" …" if len(records.steps) > 12 else "")
        raise UserError(f"--at: step {missing[0]} was not recorded; recorded: {known}")
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gif":
        _animate(records, path)
        return
    numbers = [int(np.flatnonzero(records.steps == step)[0]) for step in at] or _spread(len(records.steps))
    panels = 1 if trajectories else len(numbers)
    columns = min(3, panels)
    rows = -(-panels // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(3.0 * columns, 3.3 * rows), squeeze=False, layout="constrained")
    for axis in axes.flat[panels:]:
        axis.set_visible(False)
    limit = _limit(records)
    if trajectories:
        _frame(axes[0, 0], limit, f"steps {records.steps[0]} to {records.steps[-1]}")
        _ways(axes[0, 0], records)
    else:
        for axis, number in zip(axes.flat, numbers, strict=False):
            _frame(axis, limit, f"step {records.steps[number]}")
            _points(axis, records, number)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _spread(count: int) -> list[int]:
    return sorted(set(np.linspace(0, count - 1, PANELS).round().astype(int).tolist()))


def _limit(records: MeanSpace) -> float:
    """Return half the width of the figure: that of the farthest point, at least 1."""
    return max(1.0, 1.05 * float(max(np.abs(records.model).max(), np.abs(records.inference).max())))


def _frame(axis: Any, limit: float, title: str) -> None:
    axis.plot([-limit, limit], [-limit, limit], color="0.6", linewidth=1, linestyle="--")
    axis.axhline(0, color="0.8", linewidth=0.8)
    axis.axvline(0, color="0.8", linewidth=0.8)
    axis.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
    axis.set_title(title, fontsize=10)
    axis.set_xlabel("model posterior mean", fontsize=9)
    axis.set_ylabel("inference mean", fontsize=9)


def _points(axis: Any, records: MeanSpace, number: int) -> Any:
    return axis.scatter(records.model[number], records.inference[number], s=7, color=COLOURS[0], alpha=0.5, linewidth=0)


def _ways(axis: Any, records: MeanSpace) -> None:
    for point in range(records.model.shape[1]):
        axis.plot(records.model[:, point], records.inference[:, point], color=COLOURS[5], linewidth=0.7, alpha=0.8)
    for number, colour, marker in ((0, COLOURS[6], "o"), (-1, COLOURS[1], "s")):
        axis.scatter(records.model[number], records.inference[number], s=12, color=colour, marker=marker, zorder=3)


def _animate(records: MeanSpace, path: Path) -> None:
    import matplotlib.pyplot as plt
    from matplotlib.animation import FuncAnimation, PillowWriter

    figure, axis = plt.subplots(figsize=(3.6, 3.6), layout="constrained")
    _frame(axis, _limit(records), "")
    points = _points(axis, records, 0)

    def show(number: int) -> tuple[Any, ...]:
        points.set_offsets(np.stack([records.model[number], records.inference[number]], 1))
        axis.set_title(f"step {records.steps[number]}", fontsize=10)
        return (points,)

    FuncAnimation(figure, show, frames=len(records.steps)).save(path, writer=PillowWriter(fps=FRAMES_A_SECOND))
    plt.close(figure)
