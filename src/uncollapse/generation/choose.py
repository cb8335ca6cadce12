"""From the logits of the next token to the token."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Choose = Callable[[Tensor, Tensor], Tensor]
"""From logits `[N, V]` and uniform numbers `[N]` to tokens `[N]`."""

Strategy = Literal["greedy", "sample"]


def greedy(logits: Tensor, uniform: Tensor) -> Tensor:
    """Take the most probable token."""
    return logits.argmax(-1)


def ancestral(logits: Tensor, uniform: Tensor) -> Tensor:
    """Draw from softmax(logits) by inverting its distribution function at the uniform numbers."""
    cumulative = logits.double().softmax(-1).cumsum(-1)
    # The last sum may round below 1: scale, so that no uniform number lies beyond it.
    target = uniform.double()[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, target, right=True).squeeze(1).clamp(max=logits.shape[1] - 1)


STRATEGIES: dict[Strategy, Choose] = {"greedy": greedy, "sample": ancestral}
