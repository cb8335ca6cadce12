"""Tables of runs side by side, as cells: a head and rows of text."""

from collections.abc import Mapping, Sequence
from typing import Any

from uncollapse.evaluation.verdict import judge
from uncollapse.reporting.protocols import COLUMNS as PROTOCOL_COLUMNS
from uncollapse.runs.comparison import Paired

BOUNDS = {"nll_iw": 2, "nll_elbo": 2, "distortion": 2, "rate": 3, "mi": 2, "au": 0, "ppl_iw": 2}
"""Number -> digits that are shown."""
WITH_ERROR = ("nll_iw", "mi")
Cells = tuple[list[str], list[list[str]]]


def bounds_cells(evaluations: Mapping[str, Mapping[str, Any]]) -> Cells:
    """Return a row a run: its bounds, what the code carries and the verdict; the exact floor last, where it is known."""
    rows = [
        [name, *(_cell(metrics, number, digits) for number, digits in BOUNDS.items()), judge(metrics).state]
        for name, metrics in evaluations.items()
    ]
    floors = {metrics["nll_floor"] for metrics in evaluations.values() if "nll_floor" in metrics}
    if len(floors) == 1:
        rows.append(["floor (exact)", f"{floors.pop():.2f}", *[""] * len(BOUNDS)])
    return ["run", *BOUNDS, "latent space"], rows


def protocol_cells(evaluations: Mapping[str, Mapping[str, Any]]) -> Cells:
    """Return a row a number of the protocols, a column a run."""
    measured = [name for name in PROTOCOL_COLUMNS if any(name in metrics for metrics in evaluations.values())]
    rows = [
        [name, *(_cell(metrics, name, PROTOCOL_COLUMNS[name][0]) for metrics in evaluations.values())]
        for name in measured
    ]
    return ["by protocol", *evaluations], rows


def settings_cells(differing: Mapping[str, Mapping[str, Any]]) -> Cells:
    """Return a row a setting that differs, a column a run."""
    runs = list(next(iter(differing.values()), {}))
    rows = [
        [key, *("" if values[name] is None else str(values[name]) for name in runs)]
        for key, values in differing.items()
    ]
    return ["setting", *runs], rows


def paired_cells(tests: Sequence[Paired], first: str) -> Cells:
    """Return a row a paired test."""
    head = [f"nll_elbo less that of {first}", "nats", "standard error", "p (t-test)", "pairs"]
    rows = [
        [
            one.name,
            f"{one.difference:+.3f}",
            f"{one.se:.3f}",
            f"{one.p:.2g}" if one.p else "< 1e-300",
            f"{one.count:,} {one.over}",
        ]
        for one in tests
    ]
    return head, rows


def _cell(metrics: Mapping[str, Any], name: str, digits: int) -> str:
    if name not in metrics:
        return ""
    error = name in WITH_ERROR or name in PROTOCOL_COLUMNS
    spread = f" +- {metrics[f'{name}_se']:.{digits}f}" if error and f"{name}_se" in metrics else ""
    return f"{metrics[name]:.{digits}f}{spread}"
