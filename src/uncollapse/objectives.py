"""The objective: what the optimizer sees. Never reported as a bound.

    loss = mean(distortion) + weight(step) * | mean_B(floor(d)) - target(step) | + extras

d is the divergence of each sentence: of the posterior at the last timestep, or averaged over the last share of the timesteps.
With the floor 0 and the target 0 the bars change nothing (d >= 0), so that vanilla, beta-VAE, annealing, free bits, Prokhorov's
C, TWR and their mixtures are points of one formula.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from uncollapse.data.corpus import Batch
from uncollapse.latent import UNLABELLED, Diagonal, Labels, Prior, Source
from uncollapse.model import VAE
from uncollapse.nn.interfaces import Inference
from uncollapse.schedules import Schedule, constant

Divergence = Callable[[Diagonal, Diagonal], Tensor]
FloorKind = Literal["sentence", "dimension", "batch"]
TargetKind = Literal["batch", "sentence", "controller"]


@dataclass(frozen=True)
class Terms:
    """The parts of one training step.

    Attributes:
        loss: what is minimised, scalar.
        distortion: -log p(x given z) of every sentence, `[B]`, nats.
        rate: KL(q, p) of the decoded code of every sentence, `[B]`, nats.
        divergence: what the penalty is made of, mean over sentences, scalar, nats.
        weight: the weight of the penalty at this step.
    """

    loss: Tensor
    distortion: Tensor
    rate: Tensor
    divergence: Tensor
    weight: float


@dataclass(frozen=True)
class Objective:
    """Distortion plus a penalty on a divergence of posterior from prior.

    Attributes:
        divergence: from (q, p) to `[..., Z]` where it is additive over dimensions, else `[...]`.
        weight: of the penalty.
        floor: nats that cost nothing (free bits).
        floor_kind: what the floor holds for: each sentence, each dimension (its share, floor / Z), or the batch mean.
        target: the C of Prokhorov et al. 2019, nats.
        target_kind: what is held to the target: the batch mean, each sentence, or nothing here (a controller moves the weight).
        share: the last share of the timesteps that is penalised; 0 for the last timestep alone.
        mmd: weight of the maximum mean discrepancy of the codes of a batch from the prior.
        bow: weight of the bag-of-words loss.
        forcing: probability that the decoder reads the true token and not its own (scheduled sampling).
    """

    divergence: Divergence
    weight: Schedule
    floor: float = 0.0
    floor_kind: FloorKind = "sentence"
    target: Schedule = field(default_factory=lambda: constant(0.0))
    target_kind: TargetKind = "batch"
    share: float = 0.0
    mmd: float = 0.0
    bow: float = 0.0
    forcing: Schedule = field(default_factory=lambda: constant(1.0))

    def __call__(
        self, model: VAE, batch: Batch, step: int, *, factor: float = 1.0, target: Batch | None = None
    ) -> Terms:
        """Return the terms of a batch at a step, with one draw of z a sentence.

        Args:
            model: the network.
            batch: the sentences.
            step: counted from the beginning of the schedules.
            factor: of the weight, set by a controller.
            target: what is decoded from the code of each sentence; the sentence itself by default.
        """
        target = batch if target is None else target
        inference = model.infer(batch)
        posterior = inference.posterior
        z = posterior.at(model.prior.noise(len(batch), 1, device=posterior.mu.device))
        distortion = model.distortion(target, z, self.forcing(step)).squeeze(1)
        divergence = self.of_sentences(inference, model.prior, batch.labels)
        weight = self.weight(step) * factor
        loss = distortion.mean() + weight * self.penalty(divergence, step)
        if self.mmd:
            loss = loss + self.mmd * discrepancy(z[:, 0], model.prior, batch.labels)
        if self.bow and model.words is not None:
            loss = loss + self.bow * model.words(target, model.given(z[:, 0], target.labels)).mean()
        total = divergence.sum(-1) if divergence.ndim == 2 else divergence
        with torch.no_grad():  # it is only reported
            rate = model.rate(posterior, z, batch.labels)
        return Terms(loss, distortion, rate, total.mean(), weight)

    def of_sentences(self, inference: Inference, prior: Prior, labels: Labels = UNLABELLED) -> Tensor:
        """Return the divergence of each sentence, `[B, Z]` or `[B]`: at the last timestep, or a mean over the last ones."""
        steps, mask = inference.steps, inference.mask
        if steps is None or mask is None:
            return self.divergence(inference.posterior, prior.beside(inference.posterior, labels))
        count = mask.sum(1)
        if not self.share:
            last = steps[torch.arange(len(mask), device=mask.device), count - 1]
            return self.divergence(last, prior.beside(last, labels))
        # the last ceil(share * T) timesteps of each sentence
        wanted = (share_of(count, self.share)[:, None] > count[:, None] - 1 - positions(mask)) & mask
        every = self.divergence(steps, prior.beside(steps, labels))
        chosen = (wanted if every.ndim == 2 else wanted[..., None]).to(every.dtype)
        return (every * chosen).sum(1) / chosen.sum(1)

    @property
    def settles(self) -> float:
        """Return the step from which no schedule changes any more; those that never stop changing are not waited for."""
        return max(self.weight.settles, self.target.settles, self.forcing.settles)

    def penalty(self, divergence: Tensor, step: int) -> Tensor:
        """Return | mean_B(floor(d)) - target |, scalar."""
        target = 0.0 if self.target_kind == "controller" else self.target(step)
        floored = self._floor(divergence)
        return (floored.mean() - target).abs() if self.target_kind != "sentence" else (floored - target).abs().mean()

    def settled(self, distortion: Tensor, rate: Tensor) -> float:
        """Return what the best weights are chosen by: the loss that the schedules end at, with the rate as the divergence.

        For vanilla and annealed it is the negative ELBO. A model that is held at a rate must not be chosen for having less of it.

        Args:
            distortion: of the sentences of a split, `[N]`.
            rate: likewise.
        """
        weight = 1.0 if self.target_kind == "controller" or math.isinf(self.weight.length) else self.weight.end
        held = (rate.mean() if self.floor_kind == "batch" else rate).clamp(min=self.floor)
        held = held if self.target_kind == "sentence" else held.mean()
        return float(distortion.mean() + weight * (held - self.target.end).abs().mean())

    def _floor(self, divergence: Tensor) -> Tensor:
        """Return the divergence of each sentence (or of the batch) with the floor put under it."""
        if self.floor_kind == "dimension" and self.floor:
            # sum_d max(d_d, floor / Z)
            return divergence.clamp(min=self.floor / divergence.shape[-1]).sum(-1)
        total = divergence.sum(-1) if divergence.ndim == 2 else divergence
        if not self.floor:
            return total
        return total.clamp(min=self.floor) if self.floor_kind == "sentence" else total.mean().clamp(min=self.floor)


def positions(mask: Tensor) -> Tensor:
    """Return the timesteps 0, 1, … of a mask `[B, T]`, `[1, T]`."""
    return torch.arange(mask.shape[1], device=mask.device)[None]


def share_of(count: Tensor, share: float) -> Tensor:
    """Return ceil(share * count), at least 1."""
    return (count * share).ceil().long().clamp(min=1)


def discrepancy(z: Tensor, prior: Prior, labels: Labels = UNLABELLED) -> Tensor:
    """Return the unbiased squared MMD between codes `[B, Z]` and as many draws from the prior, scalar.

    The kernel is a sum of inverse multiquadrics, sum_s C_s / (C_s + |a - b|^2) with C_s = 2 Z s, s from 0.1 to 10.

    Source: Tolstikhin et al. 2018 (WAE), algorithm 2 and appendix; Zhao et al. 2019 (InfoVAE).
    """
    n = len(z)
    if n < 2:
        return z.sum() * 0
    other = prior.sample(n, Source(device=z.device), labels).to(z.dtype)

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        squared = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
        widths = (2 * z.shape[1] * scale for scale in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0))
        return sum((c / (c + squared.clamp(min=0)) for c in widths), start=torch.zeros_like(squared))

    def off_diagonal(table: Tensor) -> Tensor:
        return (table.sum() - table.diagonal().sum()) / (n * (n - 1))

    return off_diagonal(kernel(z, z)) + off_diagonal(kernel(other, other)) - 2 * kernel(z, other).mean()
