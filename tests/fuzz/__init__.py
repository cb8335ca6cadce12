"""Fuzz tests: what comes from outside is taken, or refused by one line; never another error, a hang, or all memory.

The inputs of a reader: UNCOLLAPSE_FUZZ (default 1,000, always the same). Of files a tenth are drawn by hypothesis, and each has
nine `variants`, which cost less; what takes longer, a training say, has a thousandth. Those that failed once are `kept` beside
their test.
"""

import os
import re
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce
from math import inf, nan
from pathlib import Path
from random import Random
from typing import Any

import pytest

pytest.importorskip("hypothesis")

from hypothesis import HealthCheck, example, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

from uncollapse.errors import UserError

set_hypothesis_home_dir("/tmp/uncollapse-fuzz")
INPUTS, SECONDS, MEMORY = os.environ.get("UNCOLLAPSE_FUZZ", ""), 15, 3 << 29
"""How many inputs, the most time of one, and the most memory that it may fill."""
VARIANTS = 9
fuzz = settings(
    max_examples=int(INPUTS or 1000),
    deadline=None,
    derandomize=not INPUTS,
    database=None,
    suppress_health_check=list(HealthCheck),
)
with_variants = settings(fuzz, max_examples=-(-fuzz.max_examples // (1 + VARIANTS)))
rarely = settings(fuzz, max_examples=-(-fuzz.max_examples // 1000))


class Hangs(BaseException):
    """An example took too long; no reader's `except Exception` swallows it."""


def kept(*cases: Any) -> Callable[[Any], Any]:
    """Run these cases too; a tuple is of several arguments."""
    return lambda test: reduce(lambda t, case: example(*(case if isinstance(case, tuple) else (case,)))(t), cases, test)


PROC = Path("/proc/self")
LINUX = (PROC / "clear_refs").exists()


@contextmanager
def limited() -> Iterator[None]:
    """Stop what hangs or asks for twice the memory; fail for what fills more than all of it."""

    def stop(*_: object) -> None:
        raise Hangs

    if LINUX:
        addresses, before = (resource.getpagesize() * int(n) for n in (PROC / "statm").read_text().split()[:2])
        (PROC / "clear_refs").write_text("5")  # the highest is counted from now on
        resource.setrlimit(resource.RLIMIT_AS, (addresses + 2 * MEMORY, -1))
    signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    except Hangs:
        raise AssertionError(f"took more than {SECONDS} seconds") from None
    finally:
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
        if LINUX:
            filled = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            assert filled < MEMORY, f"filled {filled >> 20:,} MiB"


def taken_or_refused(read: Callable[[], Any]) -> Any:
    """Return what a reader gives, or None where it refuses in one line; anything else fails the test."""
    try:
        with limited():
            return read()
    except UserError as error:
        said = str(error)
    assert "\n" not in said, f"more than one line: {said[:300]!r}"
    assert len(said) < 2000, f"{len(said):,} characters: {said[:300]!r}"


nested: list[Any] = reduce(lambda inner, _: [inner], range(500), [])
HUGE, LONG = 10**400, "x" * 5000
HOSTILE = [
    HUGE,
    -HUGE,
    2**63,
    -1,
    0,
    inf,
    -inf,
    nan,
    1e308,
    LONG,
    "9" * 5000,
    "a\nb",
    "\0",
    "\ud800",
    "²",
    "",
    " ",
    [],
    {},
]
wild = st.text(st.characters(), max_size=30)
scalars = st.none() | st.booleans() | st.integers(-300, 300) | st.floats() | wild | st.sampled_from(HOSTILE)
scalars |= st.sampled_from([nested, {"a\nb": LONG}])
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(wild, inner, max_size=4), max_leaves=8
)


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Return bytes with some changed, cut off, left out or put in."""
    for _ in range(draw(st.integers(1, 3))):
        at, some = draw(st.integers(0, max(0, len(content) - 1))), draw(st.binary(max_size=8))
        end = draw(st.sampled_from([at, at + len(some), at + 40, len(content)]))
        content = content[:at] + some + content[end:]
    return content


TOKEN = re.compile(rb'-?\d+(?:\.\d+)?|"[^"\n]{0,40}"|true|false|null|\b[a-z_]+\b')
TOKENS = [
    b"null",
    b"-1",
    b"0",
    b"1e999",
    b"NaN",
    b"9" * 400,
    b"[]",
    b"{}",
    b'"x"',
    b"true",
    b"[[1]]",
    b'{"a": 1}',
    b"-",
    b"",
]


def variants(content: bytes, of: bytes | None = None) -> Iterator[bytes]:
    """Yield an input, and others with some bytes, or a number, word or string, replaced: always the same ones of the same input.

    Args:
        content: the input.
        of: what the others are made from; by default the input.
    """
    yield content
    random, valid = Random(content), content if of is None else of
    for _ in range(VARIANTS):
        begin = random.randrange(len(valid) + 1)
        end, new = begin + random.choice([0, 1, 2, 8, 40]), random.randbytes(random.randrange(9))
        if random.random() < 0.5 and (token := TOKEN.search(valid, begin)):
            begin, end, new = token.start(), token.end(), random.choice(TOKENS)
        yield valid[:begin] + new + valid[end:]


@st.composite
def altered(draw: st.DrawFn, content: Any, by: st.SearchStrategy[Any] = values) -> Any:
    """Return nested values with one of them replaced, left out or added."""
    if not isinstance(content, dict | list) or not content or not draw(st.integers(0, 5)):
        return draw(by)
    copy: Any = dict(content) if isinstance(content, dict) else dict(enumerate(content))
    key, kind = draw(st.sampled_from(list(copy)[:40])), draw(st.sampled_from(["within", "within", "drop", "add"]))
    if kind == "add":
        copy[draw(wild)] = draw(by)
    elif (old := copy.pop(key)) is not None and kind == "within":
        copy[key] = draw(altered(old, by))
    return copy if isinstance(content, dict) else list(copy.values())
