"""Memory that is used again: a training step frees what the next one needs, and the system need not hand it out anew.

glibc gives large blocks back to the system when they are freed; the next step takes them again and pays for every page of them,
cleared by the system. At the Yahoo size that is a sixth of a step (docs/performance.md).
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from uncollapse import kernels

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt: free bytes at the end of the heap, and sizes of a block, from which memory is given back."""
KEEP = {TRIM_THRESHOLD: 2**31 - 1, MMAP_THRESHOLD: 32 * 2**20}
AFTER = {TRIM_THRESHOLD: 64 * 2**20, MMAP_THRESHOLD: 32 * 2**20}
"""Where glibc's own adjustment ends in a process that has freed large blocks. Once a threshold has been set it adjusts none any
more: with its initial 128 KiB all code that comes after would pay for the pages of every tensor anew."""
_depth = 0  # within a block that keeps memory, another changes nothing


@contextmanager
def kept() -> Iterator[None]:
    """Keep freed memory for the process while this lasts; afterwards give back what is free. Without glibc, do nothing."""
    global _depth
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if kernels.plain("memory") or _depth or not (hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim")):
        yield
        return
    assert libc is not None
    for parameter, value in KEEP.items():
        libc.mallopt(parameter, value)
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        for parameter, value in AFTER.items():
            libc.mallopt(parameter, value)
        libc.malloc_trim(0)
