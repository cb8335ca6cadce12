"""What a user sees while the machine works, on stderr: a bar with the time left, and one line an epoch."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from uncollapse.training.progress import Sums

ERRORS = Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """Print a message to stderr."""
    ERRORS.print(text, markup=False)


def _bar() -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[live]}"),
    )
    return Progress(*columns, console=ERRORS, transient=True, disable=not sys.stderr.isatty())


class Bars(AbstractContextManager["Bars"]):
    """Shows the progress of training (as its listener) and of evaluation (as its stage)."""

    def __init__(self, epochs: int | None = None) -> None:
        self.bar = _bar()
        self.task: Any = None

    def __enter__(self) -> "Bars":
        """Show the bar."""
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        self.bar.stop()

    def _begin(self, name: str, total: int, done: int = 0) -> None:
        if self.task is not None:
            self.bar.remove_task(self.task)
        self.task = self.bar.add_task(name, total=total, completed=done, live="")

    def epoch_begins(self, epoch: int, done: int, batches: int) -> None:
        """Begin the bar of an epoch."""
        self._begin(f"epoch {epoch}", batches, done)

    def step(self, epoch: int, sums: Sums) -> None:
        """Move on by a step; show distortion and rate so far."""
        means = sums.means()
        self.bar.update(self.task, advance=1, live=f"distortion {means['distortion']:.2f}  rate {means['rate']:.3f}")

    def epoch_ends(self, entry: dict[str, Any]) -> None:
        """Print the line of an epoch."""
        train, valid = entry["train"], entry["valid"]
        advice = {
            "improved": "",
            "wait": "  (no better)",
            "decay": "  (best reloaded, the learning rate falls)",
            "stop": "  (stopped)",
            "pretrain": "  (pretraining)",
        }
        say(
            f"epoch {entry['epoch']:>3}  step {entry['step']:>6}  weight {entry['weight']:.3f}  "
            f"train distortion {train['distortion']:.2f} rate {train['rate']:.3f}  "
            f"valid nll_elbo {valid['nll_elbo']:.2f} rate {valid['rate']:.3f} mi {valid['mi']:.2f} au {valid['au']}  "
            f"{entry['seconds']:.1f} s{advice[entry['advice']]}"
        )

    def remark(self, text: str) -> None:
        """Print a remark."""
        say(text)

    def stage(self, name: str, total: int) -> Callable[[int], None]:
        """Begin the bar of a stage of evaluation."""
        self._begin(name, total)
        return lambda done: self.bar.update(self.task, advance=done)
