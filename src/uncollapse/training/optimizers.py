"""The clipped step."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def gradient_norm(weights: Iterable[nn.Parameter]) -> Tensor:
    """Return the Euclidean norm of the gradients of some weights together, scalar; 0 where there are none."""
    return nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])


def clip_and_step(optimizer: torch.optim.Optimizer, norm: Tensor, limit: float) -> None:
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
