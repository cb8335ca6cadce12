"""The optimizers: torch's, fused, and the clipped step."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from uncollapse.sections import OptimConfig

KINDS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


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
    return KINDS[settings.optimizer]([{"params": group} for group in groups], **common)


def gradient_norm(weights: Iterable[nn.Parameter]) -> Tensor:
    """Return the Euclidean norm of the gradients of some weights together, scalar; 0 where there are none."""
    return nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])


def descend(optimizer: torch.optim.Optimizer, norm: Tensor, limit: float) -> None:
    """Step along gradients that are clipped to a norm of at most `limit`; 0 for no limit.

        gradient <- gradient / max(1, norm / limit)

    Source: Pascanu, Mikolov & Bengio 2013, algorithm 1.

    Args:
        optimizer: of the weights.
        norm: of their gradients (`gradient_norm`).
        limit: of the norm.
    """
    if limit and float(norm) > limit:  # a pass over all gradients
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        nn.utils.clip_grads_with_norm_(weights, limit, norm)
    optimizer.step()
