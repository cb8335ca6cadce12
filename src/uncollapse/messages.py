"""Messages and progress, on stderr: no control character of the data in them, and one that takes long says how long."""

import io
import math
import re
import sys
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn, Self, TextIO

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Characters that a terminal obeys or that cannot be written: C0 but tab and newline, DEL, C1, half a surrogate pair."""
BLOCKS = "▁▂▃▄▅▆▇█"
SILENCE = 30.0
"""Seconds after which a line is printed where there is no terminal."""
RECENT = 5
"""Lines whose steps give the time left: some steps cost fifty times as much as others (an aggressive phase)."""


def shown(text: str) -> str:
    """Return text with its control characters spelled out, as JSON does."""
    return CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def say(*texts: str) -> None:
    """Print messages to stderr, each on its line."""
    for text in texts:
        print(shown(text), file=sys.stderr)


class Prefixed(io.TextIOBase):
    """A text stream whose lines begin with a name, each written to another stream in one piece."""

    def __init__(self, stream: TextIO, prefix: str) -> None:
        self.stream, self.prefix, self.line = stream, prefix, ""

    def write(self, text: str) -> int:
        """Write the lines that are complete."""
        *lines, self.line = (self.line + text).split("\n")
        if lines:
            self.stream.write("".join(f"{self.prefix}{line}\n" for line in lines))
            self.stream.flush()
        return len(text)


def spell_time(seconds: float) -> str:
    """Return seconds in words: `42 s`, `7 min`, `3.2 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def plain_console(**options: Any) -> Any:
    """Return a console of rich that takes text as it is, and lets the command end when the reader of a pipe has gone."""
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> NoReturn:
            """Raise the error: rich would exit with status 1."""
            raise BrokenPipeError

    return Plain(highlight=False, markup=False, emoji=False, **options)


def sparkline(values: Sequence[float]) -> str:
    """Return numbers as a row of bars from the least to the greatest, one character each."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    heights = ((value - low) / (high - low) if high > low else 0.0 for value in values)
    return "".join(BLOCKS[round(7 * height) if math.isfinite(height) else 7] for height in heights)


class Bar:
    """The progress of something long: a bar with the time left in a terminal, elsewhere a line every half minute."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        bar, self.note = self, ""

        class Panel(Progress):
            def get_renderables(self) -> Iterable[Any]:
                """Return the bar, and the note below it."""
                yield from super().get_renderables()
                if bar.note:
                    yield bar.note

        columns = (
            "{task.description}",
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            "{task.fields[live]}",
        )
        console = plain_console(stderr=True, soft_wrap=True)
        self.terminal = sys.stderr.isatty()
        self.bar = Panel(*columns, console=console, transient=True, disable=not self.terminal)
        self.task: Any = None
        self.name, self.done, self.total = "", 0, 0
        self.said: deque[tuple[float, int]] = deque(maxlen=RECENT)

    def __enter__(self) -> Self:
        """Show the bar."""
        if self.terminal:
            self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Take the bar away."""
        if self.terminal:
            self.bar.stop()

    def begin(self, name: str, total: int, done: int = 0) -> None:
        """Begin to count to a total, of which some is done."""
        if self.task is not None:
            self.bar.remove_task(self.task)
        self.task = self.bar.add_task(name, total=total, completed=done, live="")
        self.name, self.done, self.total = name, done, total
        self.said = deque([(time.monotonic(), done)], RECENT)

    def rename(self, name: str) -> None:
        """Change the description."""
        self.name = name
        self.bar.update(self.task, description=name)

    def advance(self, live: str = "") -> None:
        """Count one step; where there is no terminal, say now and then how far it is and how long it will still take."""
        self.done += 1
        self.bar.update(self.task, advance=1, live=live)
        now = time.monotonic()
        if not self.terminal and now - self.said[-1][0] >= SILENCE:
            then, before = self.said[0]
            left = (now - then) / (self.done - before) * (self.total - self.done)
            say(f"{self.name}: {self.done:,} of {self.total:,}  {live}  about {spell_time(left)} left at this pace")
            self.said.append((now, self.done))
