"""The doctor: what is wrong with a run, by which evidence, why, and what to type."""

from collections.abc import Callable

from uncollapse.runs.doctor import space, training
from uncollapse.runs.doctor.chart import Chart, Finding

Check = Callable[[Chart], Finding | None]
CHECKS: tuple[Check, ...] = (
    space.dead_rate,
    space.collapse,
    space.unread_code,
    space.lagging,
    training.unfinished_schedule,
    training.early_decay,
    training.missed_target,
    space.one_dimension,
    space.holes,
    space.dead_region,
    space.fragile,
    space.wrong_width,
    training.first_epoch,
    training.overfitting,
    space.no_gain,
    space.capped,
    space.coarse,
    training.unknown_words,
    training.left_out,
    training.still_improving,
)
"""What is looked for, the worst first."""
OF_THE_LOG: tuple[Check, ...] = (
    training.unfinished_schedule,
    training.early_decay,
    training.missed_target,
    training.first_epoch,
    training.overfitting,
    training.still_improving,
)
"""What needs the log of the training."""


def findings(chart: Chart) -> list[Finding]:
    """Return what is wrong with a run, the worst first. An imported run has no log: checks that need one are skipped."""
    checks = CHECKS if chart.trained else tuple(check for check in CHECKS if check not in OF_THE_LOG)
    return [finding for check in checks for finding in [check(chart)] if finding is not None]
