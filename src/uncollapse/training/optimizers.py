"""The optimizers: torch's, without what they import for its compiler; clipping within their one pass; gradients of few rows."""

import inspect
from collections.abc import Iterable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from uncollapse import kernels
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


def set_sparse_embeddings(model: nn.Module, settings: OptimConfig, wanted: bool = True) -> None:
    """Have the gradient of an embedding hold only the rows of the words that a batch has, where nothing else would move.

    Momentum, a decay of weights and Adam move every row in every step, so that there the gradients hold all of them.

    Args:
        model: whose embeddings are told.
        settings: the optimizer.
        wanted: whether such gradients can be used at all.
    """
    others_rest = settings.optimizer == "sgd" and not settings.momentum and not settings.weight_decay
    for part in model.modules():
        if isinstance(part, nn.Embedding):
            part.sparse = wanted and others_rest and part.weight.device.type == "cpu" and not kernels.plain("embedding")


def gradient_norm(weights: Iterable[nn.Parameter]) -> Tensor:
    """Return the Euclidean norm of the gradients of some weights together, scalar.

    A gradient that holds rows is left with each of them once.
    """
    found = []
    for weight in weights:
        if weight.grad is not None and weight.grad.is_sparse:
            weight.grad = weight.grad.coalesce()
            found.append(weight.grad.values())
        elif weight.grad is not None:
            found.append(weight.grad)
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(found)))


@torch.no_grad()
def descend(optimizer: torch.optim.Optimizer, norm: Tensor, limit: float) -> None:
    """Step along gradients that are clipped to a norm of at most `limit`; 0 for no limit.

    The step reads gradient / max(1, norm / limit): a fused optimizer divides in its own pass, as for `torch.amp.GradScaler`.
    Where a gradient holds rows (`set_sparse_embeddings`), plain SGD moves those alone and forgets the gradient.

    Source: Pascanu, Mikolov & Bengio 2013, algorithm 1.

    Args:
        optimizer: of the weights.
        norm: of their gradients (`gradient_norm`).
        limit: of the norm.
    """
    scale = (norm / limit).clamp(min=1) if limit else None
    for group in optimizer.param_groups:
        for weight in group["params"]:
            if weight.grad is not None and weight.grad.is_sparse:
                rows, weight.grad = weight.grad.coalesce(), None
                rate = group["lr"] if scale is None else group["lr"] / float(scale)
                weight.index_add_(0, rows.indices()[0], rows.values(), alpha=-rate)
    optimizer.grad_scale = scale  # type: ignore[attr-defined]
    optimizer.step()


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
