import numpy as np
import pytest
import torch

import uncollapse as uc
from tests.conftest import TINY
from uncollapse.objectives import Controller
from uncollapse.runs.build import build_model, build_objective, build_splits
from uncollapse.runs.config import compose, merge
from uncollapse.runs.job import Job
from uncollapse.training.aggressive import InnerLoop, Phase, falls
from uncollapse.training.fit import Trainer


def inner_steps(losses):
    """Run the inner loop on made-up losses per word (one word a batch) and return how many steps it took."""
    loop = InnerLoop()
    for loss in losses:
        if not loop.goes_on(loss, 1):
            break
    return loop.steps


@pytest.mark.parametrize(
    ("losses", "steps"),
    [
        ([5.0] * 15 + [6.0] * 200, 30),  # rises at once: the least there can be
        ([5.0] * 15 + [4.0] * 15 + [4.5] * 200, 45),
        ([100 - i / 10 for i in range(300)], 99),  # falls for ever: the most there can be
        ([5.0] * 300, 99),  # no rise is no reason to stop
        ([9.0] * 14 + [0.0] + [8.4] * 14 + [8.4], 30),  # means of fifteen are compared, not single losses
    ],
)
def test_the_inner_stop_rule_on_made_up_losses(losses, steps):
    assert inner_steps(losses) == steps


def test_inner_losses_are_per_word():
    loop = InnerLoop()
    answers = [loop.goes_on(30.0, 10) for _ in range(15)] + [loop.goes_on(30.0, 5) for _ in range(15)]
    assert answers == [True] * 29 + [False]


@pytest.mark.parametrize(
    ("before", "now", "fell"),
    [
        ([], [0.1] * 10, False),
        ([1.0, 1.1, 0.9, 1.0], [0.5, 0.6, 0.4, 0.5], True),
        ([1.0, 1.0, 1.0, 1.0], [2.0, 2.0, 2.0, 2.0], False),
        ([1.0, 2.0, 3.0, 4.0], [4.0, 0.9, 3.0, 2.0], False),  # a fall of 0.03 within the noise
        ([0.5], [0.49], True),  # the paper's rule: one number, any fall
        ([0.5], [0.51], False),
        ([], [-0.01], True),
    ],
)
def test_the_outer_stop_rule_on_made_up_values(before, now, fell):
    assert falls(before, now) == fell


def test_the_phase_ends_at_its_limit_or_when_mi_falls():
    phase = Phase("pooled", limit=3, on=True)
    for expected in (True, True, False):
        phase.count(30)
        assert phase.on == expected
    phase = Phase("paper", on=True)
    assert phase.check([0.2]) and phase.check([0.3]) and not phase.check([0.25]) and not phase.on


def trainer(**changes):
    """Return a trainer, and a batch of its corpus."""
    config = compose("grammar", ["aggressive"], merge(TINY, changes))
    splits = build_splits(config.data)
    model = build_model(config, len(splits.vocabulary))
    return Job(model, build_objective(config, 13), splits, config.optim, config.train).trainer(), splits.train.batch(
        np.arange(16)
    )


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_inner_steps_leave_the_decoder_and_outer_steps_the_encoder_bitwise():
    t, batch = trainer(optim={"optimizer": "sgd", "lr": 0.1, "weight_decay": 0.01, "momentum": 0.9})
    t.model.train()
    for moved, other in (("encoder", "decoder"), ("encoder", "decoder"), ("decoder", "encoder")) * 2:
        before = {name: weights(getattr(t.model, name)) for name in (moved, other)}
        t.step(batch, moved)
        assert same(before[other], weights(getattr(t.model, other)))
        assert not same(before[moved], weights(getattr(t.model, moved)))
        assert all(p.grad is None for p in getattr(t.model, other).parameters())


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_steps_of_one_part_are_clipped_by_the_norm_over_all_weights(part):
    """Against clipping by torch, with the same noise."""
    t, batch = trainer(optim={"optimizer": "sgd", "lr": 1.0, "clip": 0.01})
    t.model.eval()  # no dropout
    parts = t.weights
    torch.manual_seed(0)
    t.objective(t.model, batch, 0).loss.backward()
    total = torch.nn.utils.clip_grad_norm_(t.model.parameters(), 0.01)
    expected = [w.grad.clone() for w in parts[part] if w.grad is not None]
    before = [w.detach().clone() for w in parts[part] if w.grad is not None]
    torch.manual_seed(0)
    assert t.step(batch, part).norm == pytest.approx(float(total), rel=1e-5)
    after = [w for w in parts[part] if w.grad is not None]
    for one, other, gradient in zip(before, after, expected, strict=True):
        torch.testing.assert_close(one - other, gradient, atol=1e-6, rtol=1e-3)


def test_the_log_says_what_the_phase_did_and_it_resumes_bitwise(tmp_path):
    from tests.training.test_fit import StopAt, assert_same

    changes = merge(TINY, {"data": {"sentences": 80}, "train": {"epochs": 3}})
    run = uc.train("grammar", "aggressive", out=tmp_path / "whole", **changes)
    first = run.log[0]["aggressive"]
    assert 30 <= first["inner_steps"] <= 99 and first["mi_before"] == 0 and isinstance(first["goes_on"], bool)
    with pytest.raises(uc.Interrupted):
        uc.train("grammar", "aggressive", out=tmp_path / "parts", callbacks=[StopAt(7)], **changes)
    uc.train("grammar", "aggressive", out=tmp_path / "parts", resume=True, **changes)
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_the_phase_can_be_limited(tmp_path):
    changes = merge(TINY, {"data": {"sentences": 80}, "train": {"epochs": 3, "aggressive_steps": 2}})
    log = uc.train("grammar", "aggressive", out=tmp_path / "run", **changes).log
    assert "aggressive" in log[0] and not log[0]["aggressive"]["goes_on"] and "aggressive" not in log[1]


def test_pretraining_is_not_aggressive(tmp_path):
    changes = merge(TINY, {"data": {"sentences": 80}, "train": {"epochs": 2, "pretrain_epochs": 1}})
    log = uc.train("grammar", ["fbp", "aggressive"], out=tmp_path / "run", **changes).log
    assert "aggressive" not in log[0] and log[1]["aggressive"]["mi_before"] == 0


def test_the_controller_settles_at_its_target():
    """A made-up plant: the rate answers to the weight as rate = 8 / (1 + weight)."""
    for target in (1.0, 3.0, 6.0):
        controller = Controller()
        for _ in range(5000):
            controller.update(8 / (1 + controller.factor), target)
        assert 8 / (1 + controller.factor) == pytest.approx(target, rel=0.01)


def test_pretraining_ends_with_a_new_decoder_and_the_learned_encoder(tmp_path, monkeypatch):
    seen = {}
    original = Trainer._end_pretraining

    def spy(self):
        seen["encoder"] = weights(self.model.encoder)
        seen["trained"] = weights(self.model.decoder)
        original(self)
        seen["new"] = weights(self.model.decoder)
        seen["same encoder"] = same(seen["encoder"], weights(self.model.encoder))

    monkeypatch.setattr(Trainer, "_end_pretraining", spy)
    changes = merge(TINY, {"train": {"pretrain_epochs": 1, "epochs": 3}})
    run = uc.train("grammar", "fbp", out=tmp_path / "run", **changes)
    config = run.config
    fresh = build_model(config, len(run.vocabulary)).decoder.state_dict()
    assert seen["same encoder"] and same(seen["new"], fresh) and not same(seen["trained"], fresh)
    assert next(entry["advice"] for entry in run.log) == "pretrain" and run.log[0]["weight"] == 0
    assert run.log[1]["weight"] == pytest.approx(12 / 130)  # the schedule begins after pretraining


def test_pretraining_and_the_controller_resume_bitwise(tmp_path):
    from tests.training.test_fit import StopAt, assert_same

    for remedies, stop in ((["fbp"], 9), (["fbp"], 20), (["kl-controller"], 20)):
        name = f"{remedies[0]}-{stop}"
        changes = merge(TINY, {"train": {"pretrain_epochs": 1, "epochs": 3} if remedies == ["fbp"] else {"epochs": 2}})
        uc.train("grammar", remedies, out=tmp_path / name / "whole", **changes)
        with pytest.raises(uc.Interrupted):
            uc.train("grammar", remedies, out=tmp_path / name / "parts", callbacks=[StopAt(stop)], **changes)
        uc.train("grammar", remedies, out=tmp_path / name / "parts", resume=True, **changes)
        assert_same(tmp_path / name / "whole", tmp_path / name / "parts")
