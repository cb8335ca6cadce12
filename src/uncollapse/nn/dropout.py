"""Dropout from random bits: torch draws a number a weight, and on the CPU one after another."""

import torch
from torch import Tensor, nn

from uncollapse import kernels

LEVELS = 2**16
"""Of a probability: it is rounded to a multiple of 1 / LEVELS, and the scale to fit, so that the mean is exact."""


class Dropout(nn.Dropout):
    """Zeroes of probability p, the rest times 1 / (1 - p), in training; 16 random bits decide each."""

    def forward(self, values: Tensor) -> Tensor:
        """Drop entries of a tensor of any shape."""
        if not (self.training and self.p) or values.device.type != "cpu" or kernels.plain("dropout"):
            return super().forward(values)
        dropped = min(round(self.p * LEVELS), LEVELS - 1)
        words = torch.randint(-(2**63), 2**63 - 1, (-(-values.numel() // 4),))  # all but one of 2^64 values
        bits = words.view(torch.int16)[: values.numel()].view(values.shape)
        return values * (bits >= dropped - LEVELS // 2).to(values.dtype).mul_(LEVELS / (LEVELS - dropped))
