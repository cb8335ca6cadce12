"""The optimizers: torch's, without what they import for its compiler, and the clipping of gradients within their one pass."""

import inspect
from collections.abc import Iterable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from uncollapse.config import OptimConfig

KINDS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
WRAPPED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


def make_optimizer(groups: Iterable[list[nn.Parameter]], settings: OptimConfig) -> torch.optim.Optimizer:
    """Return the optimizer that the settings name. A weight without a gradient stays where it is, and so does its state.

    Args:
        groups: weights that are trained together, in groups that may be trained apart.
        settings: which optimizer, and how fast.
    """
    # fused: one pass over weights and gradients
    common: dict[str, Any] = {"lr": settings.lr, "weight_decay": settings.weight_decay, "fused": True}
    if settings.optimizer == "sgd":
        common["momentum"] = settings.momentum
    return light(KINDS[settings.optimizer])([{"params": group} for group in groups], **common)


def gradient_norm(gradients: list[Tensor]) -> Tensor:
    """Return the Euclidean norm of all gradients together, scalar."""
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))


def clip(optimizer: torch.optim.Optimizer, norm: Tensor, limit: float) -> None:
    """Have the next step use gradients whose norm is at most `limit`; 0 for no limit.

    The step reads gradient / max(1, norm / limit): a fused optimizer divides in its own pass, as for `torch.amp.GradScaler`.

    Source: Pascanu, Mikolov & Bengio 2013, algorithm 1.
    """
    optimizer.grad_scale = (norm / limit).clamp(min=1) if limit else None  # type: ignore[attr-defined]


@cache
def light(kind: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """Return an optimizer class that does the same and does not wake torch's compiler.

    torch wraps these methods so that `torch.compile` leaves them alone. The first call of one imports the compiler: 1.6 s and
    72 MiB that a training which compiles nothing need not pay (docs/performance.md).
    """
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in WRAPPED}
    step = methods["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    step.hooked = True  # so that torch does not wrap it in a record for its profiler
    return type(f"Light{kind.__name__}", (kind,), methods)
