"""The objective: the training loss. Reported bounds are computed elsewhere (`evaluation`).

    loss = mean(distortion) + sum of penalties + sum of extras
    penalty = weight(step) * | mean_B(floor(d)) - target(step) |

d is the divergence of each sentence: of the posterior at the last timestep, or averaged over the last share of the timesteps.
With the floor 0 and the target 0 the bars change nothing (d >= 0), so that vanilla, beta-VAE, annealing, free bits, Prokhorov's
C, TWR and their mixtures are points of one formula.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from uncollapse.data.corpus import Batch
from uncollapse.data.labels import UNLABELLED, Labels
from uncollapse.distributions.divergences import Divergence, kl, penalised
from uncollapse.distributions.priors import Prior
from uncollapse.model import VAE
from uncollapse.nn.interfaces import EncoderOutput, Feedback
from uncollapse.nn.padding import last_timesteps
from uncollapse.schedules import Schedule, constant

FloorKind = Literal["sentence", "dimension", "batch"]
TargetKind = Literal["batch", "sentence", "controller"]
GAIN = 0.01
MEMORY = 0.95
LEAST, MOST = 1e-4, 1e3


@dataclass(frozen=True)
class Terms:
    """The parts of one training step.

    Attributes:
        loss: what is minimised, scalar.
        distortion: -log p(x | z) of every sentence, `[B]`, nats.
        rate: KL(q, p) of the decoded code of every sentence, `[B]`, nats.
        divergence: of the first penalty, mean over sentences, scalar, nats; None for an objective without one.
        weight: of the first penalty at this step.
    """

    loss: Tensor
    distortion: Tensor
    rate: Tensor
    divergence: Tensor | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class ForwardPass:
    """What penalties and extras are computed from.

    Attributes:
        model: the network.
        batch: the sentences.
        target: what is decoded from the code of each sentence.
        output: of the encoder.
        z: one draw of q a sentence, `[B, 1, *event]`.
    """

    model: VAE
    batch: Batch
    target: Batch
    output: EncoderOutput
    z: Tensor


@dataclass
class Controller:
    """Multiplies a weight by exp(gain (rate / target - 1)) at every step, the rate averaged over the last steps.

    Source: Rezende & Viola 2018 (GECO), algorithm 1, with the rate in place of the distortion; Shao et al. 2020 (ControlVAE).

    Attributes:
        factor: of the weight.
        rate: the moving average of the rate; negative before the first step.
    """

    factor: float = 1.0
    rate: float = -1.0

    def update(self, rate: float, target: float) -> None:
        """Move the factor by the mean rate of a batch, nats."""
        self.rate = rate if self.rate < 0 else MEMORY * self.rate + (1 - MEMORY) * rate
        # beyond twice the target it moves no faster, so that one bad batch cannot throw it
        error = min(self.rate / max(target, 1e-6) - 1, 1.0)
        self.factor = min(max(self.factor * math.exp(GAIN * error), LEAST), MOST)


def _scheduled(value: Schedule | float) -> Schedule:
    return value if isinstance(value, Schedule) else constant(float(value))


@dataclass(frozen=True)
class Penalty:
    """A penalty on a divergence of the posterior from the prior.

    Attributes:
        divergence: from (q, p) to `[..., Z]` where it is additive over dimensions, else `[...]`.
        weight: a number or a schedule.
        floor: nats that cost nothing (free bits).
        floor_kind: what the floor holds for: each sentence, each dimension (its share, floor / Z), or the batch mean.
        target: the C of Prokhorov et al. 2019, nats; a number or a schedule.
        target_kind: apply | d - target | to the batch mean or to each sentence, or adapt the weight until rate = target.
        timesteps: the last share of the timesteps that is penalised; 0 for the last timestep alone.
    """

    divergence: Divergence = kl
    weight: Schedule | float = 1.0
    floor: float = 0.0
    floor_kind: FloorKind = "sentence"
    target: Schedule | float = 0.0
    target_kind: TargetKind = "batch"
    timesteps: float = 0.0
    controller: Controller = field(default_factory=Controller)

    @property
    def schedules(self) -> tuple[Schedule, Schedule]:
        """Return the schedules of weight and target."""
        return _scheduled(self.weight), _scheduled(self.target)

    def weight_at(self, step: int) -> float:
        """Return the weight at a step, times the factor of the controller."""
        return self.schedules[0](step) * self.controller.factor

    def target_at(self, step: int) -> float:
        """Return the target at a step."""
        return self.schedules[1](step)

    @property
    def settles(self) -> float:
        """Return the step from which neither weight nor target changes any more."""
        return max(schedule.settles for schedule in self.schedules)

    def divergences(self, output: EncoderOutput, prior: Prior, z: Tensor, *, labels: Labels = UNLABELLED) -> Tensor:
        """Return the divergence of each sentence, `[B, Z]` or `[B]`: at the last timestep, or a mean over the last ones."""
        steps, mask = output.steps, output.mask
        if steps is None or mask is None:
            every = penalised(self.divergence, output.posterior, prior, z=z, labels=labels)
            return every.flatten(1) if every.ndim > 2 else every
        if not self.timesteps:
            last = steps[torch.arange(len(mask), device=mask.device), mask.sum(1) - 1]
            return penalised(self.divergence, last, prior, z=z, labels=labels)
        every = penalised(self.divergence, steps, prior, z=z, labels=labels)
        kept = last_timesteps(mask, self.timesteps).to(every.dtype)
        kept = kept if every.ndim == 2 else kept[..., None]
        return (every * kept).sum(1) / kept.sum(1)

    def distance(self, divergence: Tensor, step: int) -> Tensor:
        """Return | mean_B(floor(d)) - target |, scalar."""
        target = 0.0 if self.target_kind == "controller" else self.target_at(step)
        floored = self._floor(divergence)
        return (floored.mean() - target).abs() if self.target_kind != "sentence" else (floored - target).abs().mean()

    def settled(self, rate: Tensor) -> Tensor:
        """Return the penalty with the final weight and target, and the KL of the sentences of a split `[N]` as the divergence."""
        weight, target = self.schedules
        last = 1.0 if self.target_kind == "controller" or math.isinf(weight.length) else weight.end
        floored = (rate.mean() if self.floor_kind == "batch" else rate).clamp(min=self.floor)
        floored = floored if self.target_kind == "sentence" else floored.mean()
        return last * (floored - target.end).abs().mean()

    def _floor(self, divergence: Tensor) -> Tensor:
        """Return the divergence of each sentence (or of the batch), not less than the floor."""
        if self.floor_kind == "dimension" and self.floor:
            # sum_d max(d_d, floor / Z)
            return divergence.clamp(min=self.floor / divergence.shape[-1]).sum(-1)
        total = divergence.sum(-1) if divergence.ndim == 2 else divergence
        if not self.floor:
            return total
        return total.clamp(min=self.floor) if self.floor_kind == "sentence" else total.mean().clamp(min=self.floor)


Extra = Callable[[ForwardPass, int], Tensor]
"""A further term of the loss, scalar, from a forward pass and the step.

In several processes it has the rows of its own: `forward.batch.shard.join` gives a tensor `[B, ...]` of the whole batch.
"""


@dataclass(frozen=True)
class Objective:
    """Distortion plus penalties plus extras.

    Attributes:
        penalties: of the posterior; may be empty, as for a language model.
        extras: further terms, such as `extras.MMD`, `extras.BagOfWordsLoss`, or a function of one's own.
        teacher_forcing: probability that the decoder reads the true token and not its own (scheduled sampling).
        feedback: the decoder's own token there: a draw, or the most probable one (argmax).
        per_token: whether the distortion of each sentence is divided by its tokens, EOS counted, in the loss.
        target_of: from a batch to what is decoded from the code of each sentence; by default the sentence itself.
    """

    penalties: Sequence[Penalty] = ()
    extras: Sequence[Extra] = ()
    teacher_forcing: Schedule = field(default_factory=lambda: constant(1.0))
    target_of: Callable[[Batch], Batch] | None = None
    feedback: Feedback = "draw"
    per_token: bool = False

    def __call__(self, model: VAE, batch: Batch, step: int) -> Terms:
        """Return the terms of a batch at a step of the schedules, with one draw of z a sentence.

        Of a part of a joined batch (`Batch.shard`) it returns the terms of the joined batch, in every process.
        """
        target = self.target_of(batch) if self.target_of else batch
        shard = batch.shard
        output = model.encode(batch)
        with shard.world.shared_random():
            noise = output.posterior.noise(shard.total(len(batch)), 1)[shard.rows]
        z = output.posterior.transform(noise)
        distortion = model.distortion(target, z, self.teacher_forcing(step), feedback=self.feedback).squeeze(1)
        distortion, tokens = shard.join(distortion), shard.join(target.lengths)
        loss, first, weight = self.mean_distortion(distortion, tokens), None, 1.0
        for penalty in self.penalties:
            divergence = shard.join(penalty.divergences(output, model.prior, z, labels=batch.labels))
            loss = loss + penalty.weight_at(step) * penalty.distance(divergence, step)
            if first is None:
                weight = penalty.weight_at(step)
                first = (divergence.sum(-1) if divergence.ndim == 2 else divergence).mean()
        forward = ForwardPass(model, batch, target, output, z)
        for extra in self.extras:
            loss = loss + extra(forward, step)
        with torch.no_grad():  # it is only reported
            rate = shard.join(model.rate(output.posterior, z, batch.labels))
        return Terms(loss, distortion, rate, first, weight)

    def after_step(self, rate: float, step: int) -> None:
        """Move the weights that hold the rate at a target, by the mean rate of the batch."""
        for penalty in self.penalties:
            if penalty.target_kind == "controller":
                penalty.controller.update(rate, penalty.target_at(step))

    @property
    def settles(self) -> float:
        """Return the step from which no schedule changes any more; those that never stop changing are not waited for."""
        extras = (getattr(extra, "settles", 0.0) for extra in self.extras)
        return max((self.teacher_forcing.settles, *extras, *(penalty.settles for penalty in self.penalties)))

    def mean_distortion(self, distortion: Tensor, tokens: Tensor) -> Tensor:
        """Return the mean distortion of sentences `[N]` of so many predicted tokens `[N]`, scalar: that of the loss."""
        return (distortion / tokens if self.per_token else distortion).mean()

    def settled(self, distortion: Tensor, rate: Tensor, tokens: Tensor) -> float:
        """Return what the best weights are chosen by: the loss with final weights and targets, and the KL as the divergence.

        For vanilla and annealed it is the negative ELBO. With a target, a model is not preferred for missing it.

        Args:
            distortion: of the sentences of a split, `[N]`.
            rate: likewise.
            tokens: predicted ones, likewise.
        """
        return float(
            self.mean_distortion(distortion, tokens) + sum(penalty.settled(rate) for penalty in self.penalties)
        )

    def autoencoder(self) -> "Objective":
        """Return the objective of a plain autoencoder, whose penalties weigh nothing."""
        free = [replace(penalty, weight=0.0, controller=Controller()) for penalty in self.penalties]
        return replace(self, penalties=free, extras=())

    def state_dict(self) -> dict[str, Any]:
        """Return what is remembered between steps: the controllers."""
        return {"controllers": [asdict(penalty.controller) for penalty in self.penalties]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a state."""
        for penalty, values in zip(self.penalties, state["controllers"], strict=True):
            penalty.controller.factor, penalty.controller.rate = values["factor"], values["rate"]
