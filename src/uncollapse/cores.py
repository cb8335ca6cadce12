"""How many cores of a CPU work, and on what.

torch divides every operation between its threads, and after each of them the faster wait for the slower. Pieces of work that do
not depend on each other need not wait: each gets a thread of its own, and does its operations alone.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import TypeVar

import torch

from uncollapse import kernels

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Let torch use so many threads for a while; 0 leaves it alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def a_core_each(work: Callable[[Item], Result], items: Sequence[Item], device: torch.device) -> Iterator[Result]:
    """Yield what the work gives for every item, in their order; on a CPU as many at once as torch has threads.

    Args:
        work: may not depend on torch's modes outside of it (no_grad, autocast), which every thread has its own of.
        items: what to do.
        device: where it is done.

    Raises:
        Exception: whatever the work raises; what was not begun is left.
    """
    threads = 1 if device.type != "cpu" or kernels.plain("cores") else torch.get_num_threads()
    even = len(items) - len(items) % threads if threads > 1 else 0
    if even:
        pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
        try:
            for found in [pool.submit(copy_context().run, work, item) for item in items[:even]]:
                yield found.result()
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)  # of threads that begin later, too
    yield from map(work, items[even:])  # by all cores together, for some would have nothing to do
