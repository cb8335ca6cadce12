"""Curves over training: what the log of one run holds, or of several runs laid over each other."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from uncollapse.errors import UserError

# title, where the log keeps it, unit
PANELS = (
    ("distortion", "valid.distortion", "nats"),
    ("rate", "valid.rate", "nats"),
    ("weight of the divergence", "weight", ""),
    ("mutual information", "valid.mi", "nats"),
    ("active units", "valid.au", ""),
    ("teacher forcing", "teacher_forcing", "probability"),
    ("BLEU-4 of conversions", "valid.transfer_bleu4", ""),
    ("exact conversions", "valid.transfer_exact", "share"),
    ("BLEU-4 of the lab's pairs", "valid.tense_bleu4", ""),
    ("Gaussian score", "valid.gaussian_score", "share"),
    ("inner steps", "aggressive.inner_steps", "a step"),
)
# Okabe & Ito: distinct for the colour-blind; the dashes are distinct in print
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":")
SUFFIXES = (".png", ".svg", ".pdf")

Log = Sequence[Mapping[str, Any]]


def series(log: Log, key: str) -> tuple[list[int], list[float]]:
    """Return the epochs that hold a value, and the values; `key` names nested entries by dots."""
    epochs, values = [], []
    for entry in log:
        value: Any = entry
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is not None:
            epochs.append(int(entry["epoch"]))
            values.append(float(value))
    return epochs, values


def shown(logs: Mapping[str, Log]) -> list[tuple[str, str, str]]:
    """Return the panels worth drawing: those recorded, but no weight or forcing that never moves and is 1."""
    names = []
    for title, key, unit in PANELS:
        values = {value for log in logs.values() for value in series(log, key)[1]}
        if values and not (key in ("weight", "teacher_forcing") and values == {1.0}):
            names.append((title, key, unit))
    return names


def draw_curves(logs: Mapping[str, Log], path: Path) -> None:
    """Draw one panel a quantity, one line a run, into a PNG, SVG or PDF.

    Args:
        logs: the training log of each run, by the name to show.
        path: the file; its suffix says the kind.

    Raises:
        UserError: another suffix, or runs that have recorded nothing.
    """
    if path.suffix not in SUFFIXES:
        raise UserError(
            f"--out: expected a file named *{', *'.join(SUFFIXES[:-1])} or *{SUFFIXES[-1]}, got {path.name!r}"
        )
    for name, log in logs.items():
        if not log:
            raise UserError(f"{name}: nothing to plot, the run has not finished an epoch; go on with --resume")
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = shown(logs)
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4.2 * columns, 2.9 * rows), squeeze=False, layout="constrained")
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, (title, key, unit) in zip(axes.flat, panels, strict=False):
        for i, (name, log) in enumerate(logs.items()):
            epochs, values = series(log, key)
            style = {"color": COLOURS[i % len(COLOURS)], "linestyle": DASHES[i // len(COLOURS) % len(DASHES)]}
            axis.plot(epochs, values, label=name, linewidth=1.6, **style, marker="." if len(epochs) < 4 else "")
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("epoch", fontsize=9)
        axis.set_ylabel(unit, fontsize=9)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    if len(logs) > 1:
        axes.flat[0].legend(fontsize=8, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)
