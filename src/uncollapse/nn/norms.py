"""Batch normalisation by the joined batch of all processes."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from uncollapse.parallel import sum_over_processes


class BatchNorm(_BatchNorm):
    """Batch normalisation of `[N, C, ...]`; by the running moments in evaluation and for a single row or picture.

    Attributes:
        joined: whether a batch is the rows of all processes together.
    """

    joined = False

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"BatchNorm: expected [N, C, ...], got {list(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        """Normalise `[N, C, ...]`."""
        if self.training and self.joined:
            return self._by_joined_batch(input)
        if self.training and len(input) == 1:
            moments = self.running_mean, self.running_var
            return nn.functional.batch_norm(input, *moments, self.weight, self.bias, eps=self.eps)
        return super().forward(input)

    def _by_joined_batch(self, x: Tensor) -> Tensor:
        """Return (x - mean) / sqrt(var + eps) of every channel, over the rows of all processes."""
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        assert self.num_batches_tracked is not None
        others = [axis for axis in range(x.ndim) if axis != 1]
        shape = [1, -1, *[1] * (x.ndim - 2)]
        count = sum_over_processes(x.new_tensor(x.numel() / x.shape[1]))
        mean = sum_over_processes(x.sum(others)) / count
        centred = x - mean.view(shape)
        variance = sum_over_processes((centred**2).sum(others)) / count
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        normal = centred * (variance.view(shape) + self.eps).rsqrt()
        return normal if self.weight is None else normal * self.weight.view(shape) + self.bias.view(shape)
