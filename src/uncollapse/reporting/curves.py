"""Curves over training: what the log of one run holds, or of several runs laid over each other."""

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import TYPE_CHECKING, Any

from uncollapse.errors import UserError, suggest
from uncollapse.reporting.canvas import label, legend, panels, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 3
MOST_INSIDE = 6
"""Runs whose names stand inside of a panel; those of more stand beside it."""
PANELS = {
    "distortion": ("distortion", ("valid.distortion",), "nats"),
    "rate": ("rate", ("valid.rate",), "nats"),
    "loss": ("training loss; dotted: test nll_elbo", ("train.loss", "test.nll_elbo"), "nats"),
    "nll": ("training nll_elbo; dotted: test", ("train.nll_elbo", "test.nll_elbo"), "nats"),
    "divergence": ("training divergence; dotted: test rate", ("train.divergence", "test.rate"), "nats"),
    "weight": ("weight of the divergence", ("weight",), ""),
    "information": (
        "rate; dotted: MI; dash-dot: rate - MI",
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
"""Panel -> its title, a part for each series; where the log keeps them (the second dotted, the third dash-dotted); the unit."""
ASKED_ONLY = ("loss", "nll", "divergence", "information")
"""Panels that are drawn where they are asked for."""

Log = Sequence[Mapping[str, Any]]


def series(log: Log, key: str) -> tuple[list[int], list[float]]:
    """Return the epochs that hold a value, and the values; `key` names nested entries by dots, or is the difference of two."""
    if " - " in key:
        ours, others = (dict(zip(*series(log, part), strict=True)) for part in key.split(" - "))
        both = [epoch for epoch in ours if epoch in others]
        return both, [ours[epoch] - others[epoch] for epoch in both]
    epochs, values = [], []
    for entry in log:
        value: Any = entry
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is not None:
            epochs.append(int(entry["epoch"]))
            values.append(float(value))
    return epochs, values


def recorded(logs: Mapping[str, Log], name: str) -> set[float]:
    """Return the values that a panel shows; none where no run has recorded it."""
    return {value for log in logs.values() for value in series(log, PANELS[name][1][0])[1]}


def shown(logs: Mapping[str, Log]) -> list[str]:
    """Return the panels worth drawing: those recorded, but no weight or forcing that never moves and is 1."""
    still = {name: {1.0} for name in ("weight", "teacher-forcing")}
    return [name for name in PANELS if name not in ASKED_ONLY and recorded(logs, name) not in (set(), still.get(name))]


def curves_figure(logs: Mapping[str, Log], *, names: Sequence[str] = ()) -> "Figure":
    """Draw one panel a quantity, one line a run.

    Args:
        logs: the training log of each run, by the name to show.
        names: of `PANELS`; by default those that were recorded.

    Raises:
        UserError: an unknown panel, one that no run has recorded, or a run without an epoch.
    """
    from matplotlib.ticker import MaxNLocator

    for name in names:
        if name not in PANELS:
            raise UserError(f"unknown panel {name!r}: {suggest(name, PANELS)}")
    for name, log in logs.items():
        if not log:
            raise UserError(f"{name}: nothing to plot, the run has not finished an epoch; go on with --resume")
    if missing := [name for name in names if not recorded(logs, name)]:
        there = ", ".join(name for name in PANELS if recorded(logs, name))
        raise UserError(f"panel {missing[0]}: none of the runs has recorded it; recorded: {there}")
    names = names or shown(logs)
    figure, axes = panels(len(names), columns=COLUMNS)
    for axis, (title, keys, unit) in zip(axes, (PANELS[name] for name in names), strict=True):
        for i, (name, log) in enumerate(logs.items()):
            for number, key in enumerate(keys):
                epochs, values = series(log, key)
                how = style(i) | ({"label": name} if not number else {"linestyle": (":", "-.")[number - 1]})
                axis.plot(epochs, values, linewidth=1.6, marker="." if len(epochs) < 4 else "", **how)
        drawn = [any(series(log, key)[1] for log in logs.values()) for key in keys]
        label(axis, "; ".join(compress(title.split("; "), drawn)), "epoch", unit)
        axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if len(logs) > 1:
        many = len(logs) > MOST_INSIDE
        legend(axes[min(COLUMNS, len(axes)) - 1 if many else 0], outside=many)
    return figure
