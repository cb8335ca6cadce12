"""The optimizers: torch's, without what they import for its compiler."""

import inspect
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch import nn

from uncollapse.config import OptimConfig

KINDS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
WRAPPED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


def make_optimizer(parameters: Iterator[nn.Parameter], settings: OptimConfig) -> torch.optim.Optimizer | None:
    """Return the optimizer that the settings name, or None where there is nothing to train."""
    trained = list(parameters)
    if not trained:
        return None
    # fused: one pass over weights and gradients
    common: dict[str, Any] = {"lr": settings.lr, "weight_decay": settings.weight_decay, "fused": True}
    if settings.optimizer == "sgd":
        common["momentum"] = settings.momentum
    return light(KINDS[settings.optimizer])(trained, **common)


@cache
def light(kind: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """Return an optimizer class that does the same and does not wake torch's compiler.

    torch wraps these methods so that `torch.compile` leaves them alone. The first call of one imports the compiler: 1.6 s and
    72 MiB that a training which compiles nothing need not pay (docs/performance.md).
    """
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in WRAPPED}
    methods["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return type(f"Light{kind.__name__}", (kind,), methods)
