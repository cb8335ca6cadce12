"""A linear probe: what a linear classifier reads from the code."""

from dataclasses import dataclass

import torch
from torch import Tensor

DECAY = 1e-3


@dataclass(frozen=True)
class Probe:
    """How well a class is read from codes that the probe was not fitted to.

    Attributes:
        accuracy: share of right classes.
        majority: what the most frequent class of the fitted codes would reach.
    """

    accuracy: float
    majority: float


def linear_probe(codes: Tensor, classes: Tensor, other_codes: Tensor, other_classes: Tensor) -> Probe:
    """Fit multinomial logistic regression to codes `[N, Z]` and their classes `[N]`, and judge it on other codes `[M, Z]`.

    The codes are standardised; the weights are penalised by 1e-3 |W|^2 / 2.

    Source: Alain & Bengio 2017.
    """
    mean, scale = codes.double().mean(0), codes.double().std(0).clamp(min=1e-8)
    inputs, held = ((part.double() - mean) / scale for part in (codes, other_codes))
    count = int(torch.cat([classes, other_classes]).max()) + 1
    weight = torch.zeros(count, codes.shape[1], dtype=torch.double, requires_grad=True)
    bias = torch.zeros(count, dtype=torch.double, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(inputs @ weight.T + bias, classes) + DECAY / 2 * weight.square().sum()
        loss.backward()
        return loss

    with torch.inference_mode(False), torch.enable_grad():
        inputs = inputs.clone()
        optimizer.step(closure)
    found = (held @ weight.detach().T + bias.detach()).argmax(1)
    majority = int(classes.bincount().argmax())
    return Probe(_share(found == other_classes), _share(other_classes == majority))


def _share(right: Tensor) -> float:
    return float(right.double().mean())
