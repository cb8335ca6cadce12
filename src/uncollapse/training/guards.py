"""Contexts of training: threads, and requests to stop that wait for the end of a step."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


class Interrupted(Exception):
    """Training was asked to stop; its state is saved."""


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Let torch use so many threads; 0 leaves it alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def stop_requests(stop: threading.Event) -> Iterator[None]:
    """Set an event at the first Ctrl-C or SIGTERM; a second one acts at once. Off the main thread there are no signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def request(number: int, frame: Any) -> None:
        stop.set()
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in before:
        signal.signal(number, request)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
