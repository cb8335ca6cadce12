"""Casts of weights under autocast."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def fresh_casts(device: torch.device) -> Iterator[None]:
    """Neither keep nor find casts of weights, for what is computed without gradients within a training step.

    Older versions of torch (2.6) hand such a cast out again where gradients are wanted, and the weight gets none.
    """
    kind = device.type
    on, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
    with torch.autocast(kind, dtype, enabled=on, cache_enabled=False):
        yield
