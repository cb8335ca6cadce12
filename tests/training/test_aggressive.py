import copy
from collections import Counter

import numpy as np
import pytest
import torch

import uncollapse as uc
from tests.conftest import TINY
from uncollapse.build import build_model, build_objective, build_splits
from uncollapse.config import compose, merge
from uncollapse.nn import products
from uncollapse.nn.output import OutputLayer
from uncollapse.nn.recurrent import LSTM
from uncollapse.run import RunFolder
from uncollapse.training.aggressive import InnerLoop, Phase, falls
from uncollapse.training.controller import Controller
from uncollapse.training.job import Job
from uncollapse.training.loop import Trainer
from uncollapse.training.progress import Listener


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


def trainer(tmp_path, **changes):
    config = compose("grammar", ["aggressive"], merge(TINY, changes))
    splits = build_splits(config.data)
    model = build_model(config, len(splits.vocabulary))
    job = Job(model, build_objective(config, 13), splits, config.optim, config.train)
    return Trainer(job, RunFolder(tmp_path / "run"), Listener())


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_inner_steps_leave_the_decoder_and_outer_steps_the_encoder_bitwise(tmp_path):
    t = trainer(tmp_path, optim={"optimizer": "sgd", "lr": 0.1, "weight_decay": 0.01, "momentum": 0.9})
    t.model.train()
    batch, held = t.splits.train.batch(np.arange(16)), None
    for moved, other in (("encoder", "decoder"), ("encoder", "decoder"), ("decoder", "encoder")) * 2:
        before = {name: weights(getattr(t.model, name)) for name in (moved, other)}
        update = t.step(batch, moved, held)
        assert same(before[other], weights(getattr(t.model, other)))
        assert not same(before[moved], weights(getattr(t.model, moved)))
        assert all(p.grad is None for p in getattr(t.model, other).parameters())
        assert all(p.requires_grad for p in t.model.parameters())
        held = t.hold_decoder(update) if moved == "encoder" and held is None else None


def test_steps_of_one_part_are_clipped_by_the_norm_over_all_weights(tmp_path):
    """Against clipping by torch; held, the decoder's share of the norm is that of the step before."""
    t = trainer(tmp_path, optim={"optimizer": "sgd", "lr": 1.0, "clip": 0.01})
    t.model.eval()  # no dropout, and the same noise in every step: the same gradients
    batch, parts = t.splits.train.batch(np.arange(16)), t.weights

    def gradients():
        torch.manual_seed(0)
        t._zero_grad(parts)
        t._differentiate(t.model, batch)
        torch.nn.utils.clip_grad_norm_(t.model.parameters(), 0.01)
        return {name: [w.grad.clone() for w in group if w.grad is not None] for name, group in parts.items()}

    expected = gradients()
    for part in ("encoder", "decoder"):
        for held in (False, True) if part == "encoder" else (False,):
            start = copy.deepcopy(t.model.state_dict())
            torch.manual_seed(0)
            update = t.step(batch, part)
            if held:
                t.model.load_state_dict(start)
                torch.manual_seed(0)
                again = t.step(batch, part, t.hold_decoder(update))
                assert again.norm == pytest.approx(update.norm, rel=1e-5)
            names = [n for n, p in t.model.named_parameters() if any(p is w for w in parts[part])]
            moved = [start[n] - t.model.state_dict()[n] for n in names]
            for one, other in zip(moved, expected[part], strict=True):
                torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-3)
            t.model.load_state_dict(start)


def test_an_inner_loop_lays_the_decoder_out_once_and_the_next_one_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(LSTM, "_pays", lambda *_: True)
    t, laid = trainer(tmp_path), []
    t.model.train()
    names = {id(weight): name for name, weight in t.model.named_parameters()}
    original = products.Layout

    def lay_out(packs, weight, dtype, rows, *, columns=products.ALL, transposed=False):
        if packs is None:
            laid.append((names[id(weight)], transposed))
            low = weight.detach()[:, columns].to(dtype)
            return original(low.T if transposed else low, rows)
        return packs.layout(weight, dtype, rows, columns=columns, transposed=transposed)

    for room in ("products", "output", "recurrent"):
        monkeypatch.setattr(f"uncollapse.nn.{room}.layout", lay_out)
    batch = t.splits.train.batch(np.arange(16))
    for _ in range(2):
        held = t.hold_decoder(t.step(batch, "encoder"))
        laid.clear()
        for _ in range(3):
            t.step(batch, "encoder", held)
        assert {name: n for name, n in Counter(laid).items() if name[0].startswith("decoder")} == {
            **{("decoder.output.weight", transposed): 1 for transposed in (False, True)},
            **{("decoder.cell.weight_hh_l0", transposed): 1 for transposed in (False, True)},
            # the parts that read tokens and z; going back z's alone, for the decoder's embedding learns nothing
            ("decoder.cell.weight_ih_l0", False): 2,
            ("decoder.cell.weight_ih_l0", True): 1,
        }
        t.step(batch, "decoder")


@pytest.mark.parametrize("optim", [{}, {"optimizer": "sgd", "lr": 0.5}])
def test_an_inner_step_is_that_of_the_plain_formulas(tmp_path, monkeypatch, optim):
    """After the decoder has moved, too: nothing is left of what was laid out before."""
    monkeypatch.setattr(LSTM, "_pays", lambda *_: True)
    fast, plain = (trainer(tmp_path / name, optim=optim) for name in ("fast", "plain"))
    plain.model.load_state_dict(fast.model.state_dict())
    for part in plain.model.modules():
        if isinstance(part, LSTM | OutputLayer):
            part.plain = True
    batch = fast.splits.train.batch(np.arange(16))
    for t in (fast, plain):
        t.model.train()
        torch.manual_seed(0)
        for _ in range(2):
            held = t.hold_decoder(t.step(batch, "encoder"))
            t.step(batch, "encoder", held)
            t.step(batch, "decoder")
    for (name, one), other in zip(fast.model.state_dict().items(), plain.model.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4, msg=name)


def test_the_log_says_what_the_phase_did_and_it_resumes_bitwise(tmp_path):
    from tests.training.test_loop import StopAt, assert_same

    changes = merge(TINY, {"data": {"sentences": 80}, "train": {"epochs": 3}})
    run = uc.train("grammar", "aggressive", out=tmp_path / "whole", **changes)
    first = run.log[0]["aggressive"]
    assert 30 <= first["inner_steps"] <= 99 and first["mi_before"] == 0 and isinstance(first["goes_on"], bool)
    with pytest.raises(uc.Interrupted):
        uc.train("grammar", "aggressive", out=tmp_path / "parts", listener=StopAt(7), **changes)
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
    from tests.training.test_loop import StopAt, assert_same

    for remedies, stop in ((["fbp"], 9), (["fbp"], 20), (["kl-controller"], 20)):
        name = f"{remedies[0]}-{stop}"
        changes = merge(TINY, {"train": {"pretrain_epochs": 1, "epochs": 3} if remedies == ["fbp"] else {"epochs": 2}})
        uc.train("grammar", remedies, out=tmp_path / name / "whole", **changes)
        with pytest.raises(uc.Interrupted):
            uc.train("grammar", remedies, out=tmp_path / name / "parts", listener=StopAt(stop), **changes)
        uc.train("grammar", remedies, out=tmp_path / name / "parts", resume=True, **changes)
        assert_same(tmp_path / name / "whole", tmp_path / name / "parts")
