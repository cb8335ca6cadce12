"""Extras: further terms of the loss, beside distortion and penalties."""

from dataclasses import dataclass

import torch
from torch import Tensor

from uncollapse.data.labels import UNLABELLED, Labels
from uncollapse.distributions.priors import Prior, Source
from uncollapse.objectives import ForwardPass


@dataclass(frozen=True)
class MMD:
    """An extra: the maximum mean discrepancy of the codes of a batch from the prior (Zhao et al. 2019, InfoVAE)."""

    weight: float

    def __call__(self, forward: ForwardPass, step: int) -> Tensor:
        """Return the weighted discrepancy."""
        shard = forward.batch.shard
        z = shard.join(forward.z[:, 0].flatten(1))
        labels = {field: shard.join(classes) for field, classes in forward.batch.labels.items()}
        with shard.world.shared_random():
            return self.weight * discrepancy(z, forward.model.prior, labels)


@dataclass(frozen=True)
class BagOfWordsLoss:
    """An extra: -log p(words of x | z) under the model's bag-of-words decoder (Zhao et al. 2017, section 3.3)."""

    weight: float

    def __call__(self, forward: ForwardPass, step: int) -> Tensor:
        """Return the weighted loss."""
        model, target = forward.model, forward.target
        assert model.bow_decoder is not None
        losses = model.bow_decoder(target, model.decoder_input(forward.z[:, 0], target.labels))
        return self.weight * forward.batch.shard.join(losses).mean()


def discrepancy(z: Tensor, prior: Prior, labels: Labels = UNLABELLED) -> Tensor:
    """Return the unbiased squared MMD between codes `[B, Z]` and as many draws from the prior, scalar.

    The kernel is a sum of inverse multiquadrics, sum_s C_s / (C_s + |a - b|^2) with C_s = 2 Z s, s from 0.1 to 10.

    Source: Tolstikhin et al. 2018 (WAE), algorithm 2 and appendix; Zhao et al. 2019 (InfoVAE).
    """
    n = len(z)
    if n < 2:
        return z.sum() * 0
    other = prior.sample(n, Source(device=z.device), labels).flatten(1).to(z.dtype)

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        squared = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
        widths = (2 * z.shape[1] * scale for scale in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0))
        return sum((c / (c + squared.clamp(min=0)) for c in widths), start=torch.zeros_like(squared))

    def off_diagonal(table: Tensor) -> Tensor:
        return (table.sum() - table.diagonal().sum()) / (n * (n - 1))

    return off_diagonal(kernel(z, z)) + off_diagonal(kernel(other, other)) - 2 * kernel(z, other).mean()
