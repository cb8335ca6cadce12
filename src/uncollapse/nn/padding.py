"""Pads, for which nothing is computed that is not read. Batches are of nearly equal lengths: most of them have none."""

from dataclasses import dataclass

import torch
from torch import Tensor

from uncollapse.nn.interfaces import Text


@dataclass(frozen=True)
class Places:
    """Where the predicted tokens of a batch stand, for K readings of each sentence: N places of `[B K, T]`.

    Attributes:
        shape: (B K, T).
        mask: `[B K, T]`, true at the places; None where all are.
    """

    shape: tuple[int, int]
    mask: Tensor | None

    @staticmethod
    def of(batch: Text, samples: int = 1) -> "Places":
        """Return the places of a batch under K codes a sentence."""
        sentences, length = batch.targets.shape
        mask = (batch.mask.repeat_interleave(samples, 0) if samples > 1 else batch.mask) if batch.padded else None
        return Places((sentences * samples, length), mask)

    def pick(self, values: Tensor) -> Tensor:
        """Return what stands there, `[B K, T, ...]` -> `[N, ...]`."""
        return values.flatten(0, 1) if self.mask is None else values[self.mask]

    def sums(self, values: Tensor) -> Tensor:
        """Return the sum of every row, `[N]` -> `[B K]`."""
        if self.mask is None:
            return values.view(self.shape).sum(1)
        return values.new_zeros(self.shape).masked_scatter(self.mask, values).sum(1)


def last(states: Tensor, batch: Text) -> Tensor:
    """Return the states behind EOS, `[B, T, H]` -> `[B, H]`, of a network that only looks back."""
    if not batch.padded:
        return states[:, -1]
    return states[torch.arange(len(batch), device=states.device), batch.lengths]
