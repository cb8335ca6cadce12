"""Curves over training: what the log of one run holds, or of several runs laid over each other."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from uncollapse.errors import UserError, suggest

PANELS = {
    "distortion": ("distortion", ("valid.distortion",), "nats"),
    "rate": ("rate", ("valid.rate",), "nats"),
    "loss": ("loss", ("train.loss",), "nats"),
    "nll": ("nll_elbo: training, and dotted the test split", ("train.nll_elbo", "test.nll_elbo"), "nats"),
    "divergence": ("divergence in the penalty", ("train.divergence",), "nats"),
    "weight": ("weight of the divergence", ("weight",), ""),
    "information": (
        "rate, dotted MI, dash-dotted rate - MI",
        ("valid.rate", "valid.mi", "valid.rate - valid.mi"),
        "nats",
    ),
    "mi": ("mutual information", ("valid.mi",), "nats"),
    "au": ("active units", ("valid.au",), ""),
    "teacher-forcing": ("teacher forcing", ("teacher_forcing",), "probability"),
    "transfer-bleu4": ("BLEU-4 of conversions", ("valid.transfer_bleu4",), ""),
    "transfer-exact": ("exact conversions", ("valid.transfer_exact",), "share"),
    "tense-bleu4": ("BLEU-4 of the lab's pairs", ("valid.tense_bleu4",), ""),
    "gaussian-score": ("Gaussian score", ("valid.gaussian_score",), "share"),
    "inner-steps": ("inner steps", ("aggressive.inner_steps",), "a step"),
}
"""Panel -> its title, where the log keeps it (a second series is drawn dotted, a third dash-dotted), and the unit."""
ASKED_ONLY = ("loss", "nll", "divergence", "information")
"""Panels that are drawn where they are asked for."""
# Okabe & Ito: distinct for the colour-blind; the dashes are distinct in print
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":")
SUFFIXES = (".png", ".svg", ".pdf")

Log = Sequence[Mapping[str, Any]]


def series(log: Log, key: str) -> tuple[list[int], list[float]]:
    """Return the epochs that hold a value, and the values; `key` names nested entries by dots, or is the difference of two."""
    if " - " in key:
        (epochs, values), (_, others) = (series(log, part) for part in key.split(" - "))
        return epochs, [value - other for value, other in zip(values, others, strict=True)]
    epochs, values = [], []
    for entry in log:
        value: Any = entry
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is not None:
            epochs.append(int(entry["epoch"]))
            values.append(float(value))
    return epochs, values


def shown(logs: Mapping[str, Log]) -> list[str]:
    """Return the panels worth drawing: those recorded, but no weight or forcing that never moves and is 1."""
    names = []
    for name, (_, keys, _) in PANELS.items():
        values = {value for log in logs.values() for value in series(log, keys[0])[1]}
        constant = name in ("weight", "teacher-forcing") and values == {1.0}
        if values and not constant and name not in ASKED_ONLY:
            names.append(name)
    return names


def draw_curves(logs: Mapping[str, Log], path: Path, *, panels: Sequence[str] = ()) -> None:
    """Draw one panel a quantity, one line a run, into a PNG, SVG or PDF.

    Args:
        logs: the training log of each run, by the name to show.
        path: the file; its suffix says the kind.
        panels: names of `PANELS`; by default those that were recorded.

    Raises:
        UserError: another suffix, an unknown panel, or runs that have recorded nothing.
    """
    for name in panels:
        if name not in PANELS:
            raise UserError(f"unknown panel {name!r}: {suggest(name, PANELS)}")
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

    panels = panels or shown(logs)
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4.2 * columns, 2.9 * rows), squeeze=False, layout="constrained")
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, (title, keys, unit) in zip(axes.flat, (PANELS[name] for name in panels), strict=False):
        for i, (name, log) in enumerate(logs.items()):
            style = {"color": COLOURS[i % len(COLOURS)], "linestyle": DASHES[i // len(COLOURS) % len(DASHES)]}
            for number, key in enumerate(keys):
                epochs, values = series(log, key)
                style |= {"label": name} if not number else {"label": "", "linestyle": (":", "-.")[number - 1]}
                axis.plot(epochs, values, linewidth=1.6, **style, marker="." if len(epochs) < 4 else "")
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
