"""Pads, for which nothing is computed that is not read. Batches are of nearly equal lengths: most of them have none."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from uncollapse.data.corpus import Batch


@dataclass(frozen=True)
class Places:
    """Where the tokens of a batch stand: N places of `[B, T]`, for K readings of each sentence of `[B K, T]`.

    Attributes:
        shape: (B, T).
        index: the places, counted row by row, `[N]`; None where they are all.
    """

    shape: tuple[int, int]
    index: Tensor | None = None

    @staticmethod
    def of(batch: Batch, samples: int = 1) -> "Places":
        """Return the places of what is predicted, under K codes a sentence."""
        sentences, length = batch.targets.shape
        if not batch.padded:
            return Places((sentences * samples, length))
        return Places.where(batch.mask.repeat_interleave(samples, 0) if samples > 1 else batch.mask)

    @staticmethod
    def where(mask: Tensor) -> "Places":
        """Return the places where a mask `[B, T]` is true."""
        return Places((mask.shape[0], mask.shape[1]), mask.flatten().nonzero()[:, 0])

    def pack(self, values: Tensor) -> Tensor:
        """Return the values there, `[B, T, ...]` -> `[N, ...]`."""
        values = values.flatten(0, 1)
        if self.index is None:
            return values
        return values.index_select(0, self.index)  # the gradient takes a tenth of the time of that of values[mask]

    def unpack(self, values: Tensor) -> Tensor:
        """Put values there, and zeros elsewhere, `[N, ...]` -> `[B, T, ...]`."""
        if self.index is not None:
            values = values.new_zeros(math.prod(self.shape), *values.shape[1:]).index_copy(0, self.index, values)
        return values.unflatten(0, self.shape)

    def sum_rows(self, values: Tensor) -> Tensor:
        """Return the sum of every row, `[N]` -> `[B]`."""
        return self.unpack(values).sum(1)


def last_timesteps(mask: Tensor, share: float) -> Tensor:
    """Return the mask `[B, T]` of the last round(share * T) of the T timesteps that a mask has of each sentence, at least one.

    Source: Li et al. 2020 (TWR-VAE), the last 25, 50 and 75 %.
    """
    count = mask.sum(1, keepdim=True)
    first = count - (count * share).round().long().clamp(min=1)
    return (torch.arange(mask.shape[1], device=mask.device) >= first) & mask


def last(states: Tensor, batch: Batch) -> Tensor:
    """Return the states behind EOS, `[B, T, H]` -> `[B, H]`, of a network that only looks back."""
    if not batch.padded:
        return states[:, -1]
    return states[torch.arange(len(batch), device=states.device), batch.lengths]
