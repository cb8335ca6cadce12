"""Schedules: pure functions of the step, and the one-line notation in which settings write them.

`0.4`, `linear(0.1, 1, 10 epochs)`, `sigmoid(0, 1, 5000 steps)`, `cyclical(0, 1, 10 epochs, cycles=4, ratio=0.5)`,
`step-decay(1, 0.85, 3 epochs)`, `join(0 for 2 epochs, linear(0, 1, 10 epochs))`, `by-epoch(linear(1, 0, 500 epochs))`.
A length is written in `steps`, in `epochs` or as a share of the run (`50%`).
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from uncollapse.errors import UserError, suggest

Shape = Callable[[float], float]


@dataclass(frozen=True)
class Schedule:
    """A value for every step.

    Attributes:
        at: the value at a step (from 0).
        length: the steps after which the value no longer changes (infinite where it never settles).
        end: the value that it settles at.
    """

    at: Callable[[int], float]
    length: float
    end: float

    @property
    def settles(self) -> float:
        """Return the step from which the value no longer changes; 0 where it never stops changing."""
        return self.length if math.isfinite(self.length) else 0

    @property
    def zero(self) -> bool:
        """Return whether it is written as a constant 0."""
        return self.length == 0 and self.end == 0

    def __call__(self, step: int) -> float:
        """Return the value at `step`."""
        return self.at(step)


def constant(value: float) -> Schedule:
    """Return the schedule that is `value` at every step."""
    return Schedule(lambda step: value, 0, value)


def ramp(start: float, end: float, steps: int, *, shape: Shape) -> Schedule:
    """Go from `start` to `end` within `steps` along a shape: a rising function from [0, 1] onto [0, 1]."""
    return Schedule(lambda step: end if step >= steps else start + (end - start) * shape(step / steps), steps, end)


def straight(share: float) -> float:
    """Return the share itself: the linear shape."""
    return share


def rescaled_logistic(share: float) -> float:
    """Rise as the logistic function on [-6, 6], rescaled so that it joins 0 and 1 exactly."""
    low = 1 / (1 + math.exp(6))
    return (1 / (1 + math.exp(-12 * (share - 0.5))) - low) / (1 - 2 * low)


def logistic(share: float) -> float:
    """Rise as the logistic function on [-5, 5], from 0.0067 to 0.9933 (report A of the tense lab)."""
    return 1 / (1 + math.exp(-10 * (share - 0.5)))


SHAPES: dict[str, Shape] = {"linear": straight, "sigmoid": rescaled_logistic, "logistic": logistic}


def linear(start: float, end: float, steps: int) -> Schedule:
    """Go from `start` to `end` in a straight line (Bowman et al. 2016)."""
    return ramp(start, end, steps, shape=straight)


def sigmoid(start: float, end: float, steps: int) -> Schedule:
    """Go from `start` to `end` along a logistic curve (Bowman et al. 2016, figure 2)."""
    return ramp(start, end, steps, shape=rescaled_logistic)


CYCLES = 4


def cyclical(
    start: float, end: float, steps: int, *, cycles: int = CYCLES, ratio: float = 0.5, shape: str = "linear"
) -> Schedule:
    """Rise from `start` to `end` in the first `ratio` of each of `cycles` cycles, stay, and begin again.

    After `steps` it stays at `end`. Source: Fu et al. 2019, section 3, equations 6 and 7.
    """
    cycle = steps / cycles
    rise = SHAPES[shape]

    def at(step: int) -> float:
        if step >= steps:
            return end
        share = (step % cycle) / cycle
        return start + (end - start) * rise(min(share / ratio, 1.0))

    return Schedule(at, steps, end)


def step_decay(start: float, factor: float, every: int) -> Schedule:
    """Multiply by `factor` once in `every` steps."""
    if not 0 <= factor <= 1:
        raise UserError(f"step-decay: expected a factor from 0 to 1, got {factor:g}")
    return Schedule(lambda step: start * factor ** (step // every), math.inf, 0.0 if factor < 1 else start)


def join(*parts: tuple[Schedule, int], last: Schedule) -> Schedule:
    """Follow each `(schedule, steps)` in turn, then `last`; every schedule counts from its own first step."""

    def at(step: int) -> float:
        for schedule, steps in parts:
            if step < steps:
                return schedule(step)
            step -= steps
        return last(step)

    return Schedule(at, sum(steps for _, steps in parts) + last.length, last.end)


def by_epoch(schedule: Schedule, epoch: int) -> Schedule:
    """Keep within an epoch the value that a schedule has at its first step."""
    length = math.ceil(schedule.length / epoch) * epoch if math.isfinite(schedule.length) else schedule.length
    return Schedule(lambda step: schedule(step // epoch * epoch), length, schedule.end)


@dataclass(frozen=True)
class Clock:
    """What turns a written length into steps: the steps of an epoch and of the whole run."""

    epoch: int
    run: int

    def steps(self, text: str) -> int:
        """Return the steps of a written length such as `3 epochs`, `500 steps`, `0.5 epochs` or `50%` (at least one step)."""
        match = re.fullmatch(r"([-+.\deE]+)\s*(steps?|epochs?|%)", text.strip())
        number = _number(match[1]) if match else None
        if match is None or number is None:
            raise UserError(
                f"length {text.strip()!r}: expected a number of steps or epochs, or a share of the run such as 50%"
            )
        unit = {"s": 1.0, "e": float(self.epoch), "%": self.run / 100}[match[2][0]]
        return max(int(match[2] == "%" and number > 0), round(number * unit))


MOST, DEEPEST = 1e15, 100
"""The greatest number of a schedule, and its most parts."""
# name -> (what makes it, its leading arguments; the last is the length)
_LEADING = {
    "linear": ("start", "end", "length"),
    "sigmoid": ("start", "end", "length"),
    "cyclical": ("start", "end", "length"),
    "step-decay": ("start", "factor", "length"),
}
_MAKERS: dict[str, Callable[..., Schedule]] = {
    "linear": linear,
    "sigmoid": sigmoid,
    "cyclical": cyclical,
    "step-decay": step_decay,
}


def parse(text: str, clock: Clock) -> Schedule:
    """Read a schedule from its one-line notation.

    Args:
        text: a number, or a schedule as in this module's head.
        clock: the steps of an epoch and of the run.

    Raises:
        UserError: not the notation, or an impossible schedule (a length below one step, a cycle shorter than a step).
    """
    text = text.strip()
    if text.count("(") > DEEPEST:
        raise UserError(f"schedule: expected at most {DEEPEST} parts, got more: {text[:40]!r}")
    value = _number(text)
    if value is not None:
        return constant(value)
    match = re.fullmatch(r"([a-z-]+)\s*\((.*)\)", text, re.DOTALL)
    if not match:
        raise UserError(f"schedule {text!r}: expected a number or, for example, linear(0.1, 1, 10 epochs)")
    name, inside = match[1], match[2]
    if name == "join":
        return _parse_join(inside, clock)
    if name == "by-epoch":
        return by_epoch(parse(inside, clock), clock.epoch)
    if name not in _MAKERS:
        raise UserError(f"schedule {text!r}: unknown shape {name!r}; {suggest(name, [*_MAKERS, 'join', 'by-epoch'])}")
    return _parse_shape(text, name, split_outside_brackets(inside), clock)


def _parse_shape(text: str, name: str, arguments: list[str], clock: Clock) -> Schedule:
    leading = [a for a in arguments if "=" not in a]
    if len(leading) != len(_LEADING[name]):
        raise UserError(
            f"schedule {text!r}: expected {name}({', '.join(_LEADING[name])}), got {len(leading)} leading values"
        )
    numbers = [_number(a) for a in leading[:-1]]
    if None in numbers:
        raise UserError(f"schedule {text!r}: expected numbers before the length")
    steps = clock.steps(leading[-1])
    if steps < 1:
        raise UserError(f"schedule {text!r}: its length is {steps} steps; expected at least one")
    return _MAKERS[name](*numbers, steps, **_parse_options(text, name, arguments, steps))


def _parse_options(text: str, name: str, arguments: list[str], steps: int) -> dict[str, int | float | str]:
    given = dict(a.replace(" ", "").split("=", 1) for a in arguments if "=" in a)
    allowed = ("cycles", "ratio", "shape") if name == "cyclical" else ()
    for key in given:
        if key not in allowed:
            raise UserError(f"schedule {text!r}: {name} takes {', '.join(allowed) or 'no options'}, got {key!r}")
    options: dict[str, int | float | str] = {}
    if name == "cyclical":
        written = given.get("cycles", str(CYCLES))
        cycles = _number(written)
        if cycles is None or cycles != int(cycles) or cycles < 1 or steps / cycles < 1:
            raise UserError(
                f"schedule {text!r}: expected whole cycles of at least one step, got {written} in {steps} steps"
            )
        options["cycles"] = int(cycles)
    if "ratio" in given:
        ratio = _number(given["ratio"])
        if ratio is None or not 0 < ratio <= 1:
            raise UserError(f"schedule {text!r}: expected a ratio above 0 and up to 1, got {given['ratio']}")
        options["ratio"] = ratio
    if "shape" in given:
        if given["shape"] not in SHAPES:
            raise UserError(f"schedule {text!r}: shape: {suggest(given['shape'], SHAPES)}")
        options["shape"] = given["shape"]
    return options


def _parse_join(inside: str, clock: Clock) -> Schedule:
    *pieces, last = split_outside_brackets(inside)
    parts = []
    for piece in pieces:
        head, separator, length = piece.rpartition(" for ")
        if not separator:
            raise UserError(f"join: expected `SCHEDULE for LENGTH` before the last part, got {piece!r}")
        parts.append((parse(head, clock), clock.steps(length)))
    if any(steps < 1 for _, steps in parts):
        raise UserError(f"join({inside}): expected parts of at least one step")
    return join(*parts, last=parse(last, clock))


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) <= MOST else None


def split_outside_brackets(text: str) -> list[str]:
    """Split at the commas that stand outside parentheses."""
    parts, depth = [""], 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]
