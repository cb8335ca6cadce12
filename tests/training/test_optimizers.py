"""The optimizers against torch's own."""

from dataclasses import replace

import pytest
import torch

from uncollapse.runs.job import OPTIMIZERS, make_optimizer
from uncollapse.runs.sections import OptimConfig
from uncollapse.training.optimizers import clip_and_step, gradient_norm


@pytest.mark.parametrize("kind", sorted(OPTIMIZERS))
def test_it_moves_as_torchs_does_and_goes_on_from_its_state(kind):
    settings = replace(OptimConfig(), optimizer=kind, lr=0.1, weight_decay=0.01, momentum=0.9)
    extra = {"momentum": 0.9} if kind == "sgd" else {}
    start, gradients = torch.randn(5, 3), torch.randn(8, 5, 3)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    reference = OPTIMIZERS[kind]([theirs], lr=0.1, weight_decay=0.01, **extra)
    optimizer = make_optimizer([{"params": [ours]}], settings)
    for number, gradient in enumerate(gradients):
        if number == 4:  # as after a pause
            state = optimizer.state_dict()
            optimizer = make_optimizer([{"params": [ours]}], settings)
            optimizer.load_state_dict(state)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        optimizer.step(), reference.step()
        torch.testing.assert_close(ours, theirs)
    assert not torch.equal(ours, start)
    optimizer.zero_grad()
    assert ours.grad is None


def test_it_is_a_torch_optimizer_that_schedulers_take():
    optimizer = make_optimizer([{"params": [torch.nn.Parameter(torch.ones(2))]}], OptimConfig())
    assert isinstance(optimizer, torch.optim.Optimizer)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    before = optimizer.param_groups[0]["lr"]
    optimizer.step(), scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(before / 2)


@pytest.mark.parametrize("kind", sorted(OPTIMIZERS))
@pytest.mark.parametrize("limit", [0, 0.5, 3.5, 1e9])
def test_gradients_are_clipped_together_as_torch_clips_them(kind, limit):
    settings = replace(OptimConfig(), optimizer=kind, lr=0.1, weight_decay=0.01)
    start = [torch.randn(5, 3), torch.randn(4)]
    ours, theirs = ([torch.nn.Parameter(each.clone()) for each in start] for _ in range(2))
    optimizer = make_optimizer([{"params": ours[:1]}, {"params": ours[1:]}], settings)
    extra = {"momentum": settings.momentum} if kind == "sgd" else {}
    reference = OPTIMIZERS[kind](theirs, lr=0.1, weight_decay=0.01, **extra)
    for _ in range(4):
        gradients = [torch.randn_like(each) for each in start]
        for one, other, gradient in zip(ours, theirs, gradients, strict=True):
            one.grad, other.grad = gradient.clone(), gradient.clone()
        norm = gradient_norm(ours)
        torch.testing.assert_close(norm, torch.cat([each.flatten() for each in gradients]).norm())
        if limit:
            torch.nn.utils.clip_grad_norm_(theirs, limit)
        clip_and_step(optimizer, norm, limit), reference.step()
        torch.testing.assert_close(ours, theirs)


def test_a_group_without_gradients_or_without_weights_is_left_alone():
    moved, still = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    optimizer = make_optimizer(
        [{"params": each} for each in ([moved], [still], [])],
        replace(OptimConfig(), optimizer="adam", weight_decay=0.1),
    )
    moved.grad = torch.ones(2)
    optimizer.step()
    assert bool((moved < 1).all()) and torch.equal(still, torch.ones(2)) and still not in optimizer.state
