"""Bars of trainings and evaluations, and tables."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from rich.segment import Segment, Segments
from rich.table import Table

from uncollapse.messages import Bar, plain_console, say, shown
from uncollapse.runs.executors import Executor
from uncollapse.training.callbacks import Callback, Progress


def show_table(table: Table) -> None:
    """Print a table to stdout, never cut to the width of a terminal that is not there."""
    console = plain_console() if plain_console().is_terminal else plain_console(width=1000)
    console.print(Segments([Segment(shown(text), style) for text, style, _ in console.render(table)]))


def announce_lines(name: str) -> list[Callback]:
    """Return the callbacks of one of several trainings that run at a time: lines, since bars would cover each other.

    Each begins with the name of its run; a judge of a run's corpora is named after it, behind a comma.
    """
    say(f"{name.partition(', ')[2] or 'training'} begins")
    return [Progress()]


class Bars(Bar):
    """The bar of a command that trains several models, or evaluates one."""

    def announce(self, name: str) -> list[Callback]:
        """Say which of several trainings begins; return its callbacks."""
        say(f"-- {name}")
        return [Progress(self)]

    def of(self, executor: Executor) -> Callable[[str], list[Callback]]:
        """Return what announces the trainings of an executor."""
        return self.announce if executor.alone else announce_lines

    def track(self, batches: Sequence[np.ndarray], name: str) -> Iterator[np.ndarray]:
        """Pass on the batches of an evaluation, and show how far it is."""
        self.begin(name, len(batches))
        for batch in batches:
            yield batch
            self.advance()
