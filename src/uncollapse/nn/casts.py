"""Reduced precision: where it is used, and casts of weights under autocast."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from uncollapse.torch_private import onednn

Precision = Literal["fp32", "bf16"]


def multiplies_in_bf16(device: torch.device) -> bool:
    """Return whether a device has bf16 arithmetic; a CPU without it takes several times longer than in fp32."""
    return onednn(torch.bfloat16) if device.type == "cpu" else True


def precision(kind: Precision, device: torch.device) -> torch.autocast:
    """Return the context for arithmetic in a precision; in place of bf16 fp32, where a CPU does not multiply in bf16."""
    return torch.autocast(device.type, torch.bfloat16, enabled=kind == "bf16" and multiplies_in_bf16(device))


@contextmanager
def fresh_casts(device: torch.device) -> Iterator[None]:
    """Neither keep nor find casts of weights, for what is computed without gradients within a training step.

    Older versions of torch (2.6) hand such a cast out again where gradients are wanted, and the weight gets none.
    """
    kind = device.type
    on, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
    with torch.autocast(kind, dtype, enabled=on, cache_enabled=False):
        yield
