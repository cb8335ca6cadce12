"""Dropout from random bits: torch draws a number a weight, and on the CPU one after another."""

import torch
from torch import Tensor, nn

from uncollapse import kernels


class Dropout(nn.Dropout):
    """Zeroes of probability p, the rest times 1 / (1 - p), in training.

    8 random bits decide each entry where p is a multiple of 1 / 256; else 16 do, p is rounded to a multiple of 1 / 65536, and the
    scale fits it, so that the mean is exact.
    """

    def forward(self, values: Tensor) -> Tensor:
        """Drop entries of a tensor of any shape."""
        p = float(self.p)
        if not (self.training and 0 < p < 1) or values.device.type != "cpu" or kernels.plain("dropout"):
            return super().forward(values)
        kind = torch.int8 if (p * 2**8).is_integer() else torch.int16
        levels = 2 ** (8 * kind.itemsize)
        dropped = min(round(p * levels), levels - 1)
        # all but one of the 2^64 values of a word
        words = torch.randint(-(2**63), 2**63 - 1, (-(-values.numel() * kind.itemsize // 8),), device="cpu")
        bits = words.view(kind)[: values.numel()].view(values.shape)
        # in their own type: comparing into booleans, and converting those, takes torch ten times as long
        kept = bits.ge_(dropped - levels // 2).to(values.dtype).mul_(levels / (levels - dropped))
        return values * kept
