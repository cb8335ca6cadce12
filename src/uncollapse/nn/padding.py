"""Pads, for which nothing is computed that is not read. Batches are of nearly equal lengths: most of them have none."""

from dataclasses import dataclass

import torch
from torch import Tensor

from uncollapse.nn.interfaces import Text


@dataclass(frozen=True)
class Places:
    """Where the tokens of a batch stand: N places of `[B, T]`, for K readings of each sentence of `[B K, T]`.

    Attributes:
        shape: (B, T).
        mask: `[B, T]`, true at the places; None where all are.
    """

    shape: tuple[int, int]
    mask: Tensor | None

    @staticmethod
    def of(batch: Text, samples: int = 1) -> "Places":
        """Return the places of what is predicted, under K codes a sentence."""
        sentences, length = batch.targets.shape
        mask = (batch.mask.repeat_interleave(samples, 0) if samples > 1 else batch.mask) if batch.padded else None
        return Places((sentences * samples, length), mask)

    def pick(self, values: Tensor) -> Tensor:
        """Return what stands there, `[B, T, ...]` -> `[N, ...]`."""
        return values.flatten(0, 1) if self.mask is None else values[self.mask]

    def spread(self, values: Tensor) -> Tensor:
        """Put values there, and zeros elsewhere, `[N, ...]` -> `[B, T, ...]`."""
        shape = *self.shape, *values.shape[1:]
        if self.mask is None:
            return values.view(shape)
        mask = self.mask.view(*self.shape, *(1 for _ in values.shape[1:]))
        return values.new_zeros(shape).masked_scatter(mask, values)

    def sums(self, values: Tensor) -> Tensor:
        """Return the sum of every row, `[N]` -> `[B]`."""
        return self.spread(values).sum(1)


def last(states: Tensor, batch: Text) -> Tensor:
    """Return the states behind EOS, `[B, T, H]` -> `[B, H]`, of a network that only looks back."""
    if not batch.padded:
        return states[:, -1]
    return states[torch.arange(len(batch), device=states.device), batch.lengths]
