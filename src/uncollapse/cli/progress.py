"""What is drawn while the machine works, a bar with the time left, and the tables that come of it."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, NoReturn

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.segment import Segment, Segments
from rich.table import Table

from uncollapse.cli.output import say, shown
from uncollapse.training.progress import Listener, spell_time

SILENCE = 30.0
"""Seconds after which a line is printed where there is no terminal."""
ADVICE = {
    "improved": "",
    "wait": "  (no better)",
    "decay": "  (best reloaded, the learning rate falls)",
    "stop": "  (stopped)",
    "pretrain": "  (pretraining)",
}


class Plain(Console):
    """A console that takes text as it is, and lets the command end when the reader of a pipe has gone."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def on_broken_pipe(self) -> NoReturn:
        """Let the error be: rich would exit with status 1."""
        raise BrokenPipeError


def show_table(table: Table) -> None:
    """Print a table to stdout, never cut to the width of a terminal that is not there."""
    console = Plain() if Plain().is_terminal else Plain(width=160)
    console.print(Segments([Segment(shown(text), style) for text, style, _ in console.render(table)]))


class Bars(Listener, AbstractContextManager["Bars"]):
    """Shows the progress of training, as its listener, and of evaluation: a bar in a terminal, elsewhere a line now and then."""

    def __init__(self) -> None:
        columns = (
            "{task.description}",
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            "{task.fields[live]}",
        )
        console = Plain(stderr=True, soft_wrap=True)
        self.terminal = sys.stderr.isatty()
        self.bar = Progress(*columns, console=console, transient=True, disable=not self.terminal)
        self.task: Any = None
        self.name, self.done, self.total, self.first = "", 0, 0, 0
        self.began = self.said = time.monotonic()

    def __enter__(self) -> "Bars":
        """Show the bar."""
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Take the bar away."""
        self.bar.stop()

    def _begin(self, name: str, total: int, done: int = 0) -> None:
        if self.task is not None:
            self.bar.remove_task(self.task)
        self.task = self.bar.add_task(name, total=total, completed=done, live="")
        self.name, self.done, self.total, self.first = name, done, total, done
        self.began = self.said = time.monotonic()

    def _advance(self, live: str = "") -> None:
        """Count a step; where there is no terminal, say every half minute how far it is and how long it will still take."""
        self.done += 1
        self.bar.update(self.task, advance=1, live=live)
        now = time.monotonic()
        if not self.terminal and now - self.said >= SILENCE:
            left = (now - self.began) / (self.done - self.first) * (self.total - self.done)
            say(f"{self.name}: {self.done:,} of {self.total:,}  {live}  about {spell_time(left)} left")
            self.said = now

    def announce(self, name: str) -> "Bars":
        """Say which of several trainings begins; return its listener."""
        say(f"-- {name}")
        return self

    def epoch_begins(self, epoch: int, done: int, batches: int, epochs: int) -> None:
        """Name the epoch; the bar is that of the whole training."""
        total, passed = batches * epochs, batches * (epoch - 1) + done
        if (self.total, self.done) != (total, passed):
            self._begin("", total, passed)
        self.name = f"epoch {epoch} of {epochs}"
        self.bar.update(self.task, description=self.name)

    def step(self, epoch: int, means: dict[str, float]) -> None:
        """Move on by a step; show distortion and rate so far."""
        self._advance(f"distortion {means['distortion']:.2f}  rate {means['rate']:.3f}")

    def epoch_ends(self, entry: dict[str, Any]) -> None:
        """Print the line of an epoch."""
        train, valid = entry["train"], entry["valid"]
        say(
            f"epoch {entry['epoch']:>3}  step {entry['step']:>6}  weight {entry['weight']:.3f}  "
            f"train distortion {train['distortion']:.2f} rate {train['rate']:.3f}  "
            f"valid nll_elbo {valid['nll_elbo']:.2f} rate {valid['rate']:.3f} mi {valid['mi']:.2f} au {valid['au']}  "
            f"{entry['seconds']:.1f} s{ADVICE[entry['advice']]}"
        )

    def remark(self, text: str) -> None:
        """Print a remark."""
        say(text)

    def track(self, batches: Sequence[np.ndarray], name: str) -> Iterator[np.ndarray]:
        """Pass on the batches of an evaluation, and show how far it is."""
        self._begin(name, len(batches))
        for batch in batches:
            yield batch
            self._advance()
