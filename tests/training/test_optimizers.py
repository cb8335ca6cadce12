"""The optimizers against torch's own."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from uncollapse import kernels
from uncollapse.config import OptimConfig
from uncollapse.training.optimizers import KINDS, descend, gradient_norm, make_optimizer, set_sparse_embeddings


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_it_moves_as_torchs_does_and_goes_on_from_its_state(kind):
    settings = replace(OptimConfig(), optimizer=kind, lr=0.1, weight_decay=0.01, momentum=0.9)
    extra = {"momentum": 0.9} if kind == "sgd" else {}
    start, gradients = torch.randn(5, 3), torch.randn(8, 5, 3)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    reference = KINDS[kind]([theirs], lr=0.1, weight_decay=0.01, **extra)
    optimizer = make_optimizer([[ours]], settings)
    for number, gradient in enumerate(gradients):
        if number == 4:  # as after a pause
            state = optimizer.state_dict()
            optimizer = make_optimizer([[ours]], settings)
            optimizer.load_state_dict(state)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        optimizer.step(), reference.step()
        torch.testing.assert_close(ours, theirs)
    assert not torch.equal(ours, start)
    optimizer.zero_grad()
    assert ours.grad is None


def test_it_is_a_torch_optimizer_that_schedulers_take():
    optimizer = make_optimizer([[torch.nn.Parameter(torch.ones(2))]], OptimConfig())
    assert isinstance(optimizer, torch.optim.Optimizer)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    before = optimizer.param_groups[0]["lr"]
    optimizer.step(), scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(before / 2)


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("limit", [0, 0.5, 1e9])
def test_gradients_are_clipped_together_as_torch_clips_them(kind, limit):
    settings = replace(OptimConfig(), optimizer=kind, lr=0.1, weight_decay=0.01)
    start = [torch.randn(5, 3), torch.randn(4)]
    ours, theirs = ([torch.nn.Parameter(each.clone()) for each in start] for _ in range(2))
    optimizer = make_optimizer([ours[:1], ours[1:]], settings)
    extra = {"momentum": settings.momentum} if kind == "sgd" else {}
    reference = KINDS[kind](theirs, lr=0.1, weight_decay=0.01, **extra)
    for _ in range(4):
        gradients = [torch.randn_like(each) for each in start]
        for one, other, gradient in zip(ours, theirs, gradients, strict=True):
            one.grad, other.grad = gradient.clone(), gradient.clone()
        norm = gradient_norm(ours)
        torch.testing.assert_close(norm, torch.cat([each.flatten() for each in gradients]).norm())
        if limit:
            torch.nn.utils.clip_grad_norm_(theirs, limit)
        descend(optimizer, norm, limit), reference.step()
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("limit", [0, 0.5, 1e9])
def test_an_embedding_of_which_some_rows_are_read_moves_as_with_all_of_its_gradient(limit):
    """Words that stand twice in a batch, and sentences that are read twice before a step."""
    start, words = torch.randn(9, 3), [torch.tensor([[1, 4, 4], [0, 4, 7]]), torch.tensor([[7, 2, 2]])]
    moved, norms = [], []
    for settings in (OptimConfig(), replace(OptimConfig(), momentum=1e-12)):
        model = torch.nn.Sequential(
            torch.nn.Embedding.from_pretrained(start.clone(), freeze=False), torch.nn.Linear(3, 2)
        )
        torch.nn.init.constant_(model[1].weight, 0.3), torch.nn.init.zeros_(model[1].bias)
        set_sparse_embeddings(model, settings)
        optimizer = make_optimizer([list(model.parameters())], settings)
        for _ in range(3):
            optimizer.zero_grad()
            for some in words:
                (model(some) ** 2).sum().backward()
            norms.append(gradient_norm(model.parameters()))
            assert model[0].weight.grad.is_sparse == (not settings.momentum)
            descend(optimizer, norms[-1], limit)
        moved.append(list(model.parameters()))
    for one, other in zip(*moved, strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(norms[:3], norms[3:])
    assert torch.equal(moved[0][0][[3, 5, 6, 8]], start[[3, 5, 6, 8]]) and not torch.equal(moved[0][0], start)


def test_rows_that_stand_twice_are_added_up_without_a_norm_too():
    table = torch.nn.Embedding(3, 2, sparse=True)
    start, optimizer = table.weight.detach().clone(), make_optimizer([[table.weight]], OptimConfig(lr=1.0))
    table(torch.tensor([1, 1])).sum().backward()
    descend(optimizer, torch.tensor(0.0), 0)
    torch.testing.assert_close(start - table.weight.detach(), torch.tensor([[0.0, 0.0], [2.0, 2.0], [0.0, 0.0]]))


@pytest.mark.parametrize("settings", [{"optimizer": "adam"}, {"momentum": 0.5}, {"weight_decay": 0.1}])
def test_gradients_hold_every_row_where_the_optimizer_moves_every_row(settings):
    table = torch.nn.Embedding(4, 2)
    set_sparse_embeddings(table, replace(OptimConfig(), **settings))
    assert not table.sparse
    set_sparse_embeddings(table, OptimConfig())
    assert table.sparse
    set_sparse_embeddings(table, OptimConfig(), wanted=False)
    assert not table.sparse
    with kernels.off("embedding"):
        set_sparse_embeddings(table, OptimConfig())
    assert not table.sparse


def test_a_group_without_gradients_or_without_weights_is_left_alone():
    moved, still = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    optimizer = make_optimizer([[moved], [still], []], replace(OptimConfig(), optimizer="adam", weight_decay=0.1))
    moved.grad = torch.ones(2)
    optimizer.step()
    assert bool((moved < 1).all()) and torch.equal(still, torch.ones(2)) and still not in optimizer.state


def test_training_does_not_import_the_compiler(tmp_path):
    """The import costs more than a second and 72 MiB."""
    text = tmp_path / "few.txt"
    text.write_text("a b c\nb c d\nc d a\nd a b\n" * 20)
    script = (
        "import sys, torch; from uncollapse.cli import main\n"
        "from uncollapse.config import OptimConfig; from uncollapse.training.optimizers import make_optimizer\n"
        "optimizer = make_optimizer([[torch.nn.Parameter(torch.ones(2))]], OptimConfig())\n"
        "optimizer.zero_grad(); optimizer.step(); optimizer.load_state_dict(optimizer.state_dict())\n"
        f"code = main(['train', '--data.path', {str(text)!r}, '--train.epochs', '1', '--out', {str(tmp_path / 'run')!r}])\n"
        "assert not code, code\n"
        "assert 'torch._dynamo' not in sys.modules, 'imported'"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
