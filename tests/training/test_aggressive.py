from collections import Counter

import numpy as np
import pytest
import torch

import uncollapse as uc
from tests.conftest import TINY
from uncollapse import kernels
from uncollapse.build import build_model, build_objective, build_splits
from uncollapse.config import compose, merge
from uncollapse.nn import products
from uncollapse.nn.recurrent import LSTM
from uncollapse.run import RunFolder
from uncollapse.training.aggressive import InnerLoop, Phase, falls
from uncollapse.training.controller import Controller
from uncollapse.training.loop import Trainer


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
    from uncollapse.launch import Quiet

    return Trainer(
        model, build_objective(config, 13), splits, config.optim, config.train, RunFolder(tmp_path / "run"), Quiet()
    )


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_inner_steps_leave_the_decoder_and_outer_steps_the_encoder_bitwise(tmp_path):
    t = trainer(tmp_path, optim={"optimizer": "sgd", "lr": 0.1, "weight_decay": 0.01, "momentum": 0.9})
    t.model.train()
    batch = t.splits.train.batch(np.arange(16))
    for _ in range(2):
        for moved, held in (("encoder", "decoder"), ("decoder", "encoder")):
            before = {name: weights(getattr(t.model, name)) for name in (moved, held)}
            with t.only(moved):
                t.step(batch)
            assert same(before[held], weights(getattr(t.model, held)))
            assert not same(before[moved], weights(getattr(t.model, moved)))
            assert all(p.grad is None for p in getattr(t.model, held).parameters())
            assert all(p.requires_grad for p in t.model.parameters())


def test_an_inner_loop_lays_held_weights_out_once_and_the_next_one_anew(tmp_path, monkeypatch):
    if not products.onednn(torch.float32):
        pytest.skip("no oneDNN")
    monkeypatch.setattr(LSTM, "_pays", lambda *_: True)
    t, laid, original = trainer(tmp_path), [], products._lay_out
    t.model.train()
    names = {id(weight): name for name, weight in t.model.named_parameters()}
    monkeypatch.setattr(
        products,
        "_lay_out",
        lambda weight, *rest: laid.append((names[id(weight)], rest[-1])) or original(weight, *rest),
    )
    batch = t.splits.train.batch(np.arange(16))
    for _ in range(2):
        laid.clear()
        with t.only("encoder"):
            for _ in range(3):
                t.step(batch)
        assert Counter(laid) == {
            **{("decoder.output.weight", transposed): 1 for transposed in (False, True)},
            **{("decoder.cell.weight_hh_l0", transposed): 1 for transposed in (False, True)},
            # the parts that read tokens and z; going back z's alone, for the decoder's embedding learns nothing
            ("decoder.cell.weight_ih_l0", False): 2,
            ("decoder.cell.weight_ih_l0", True): 1,
            # what learns is laid out in each step, where it multiplies more than once or is converted anyway
            **{("encoder.cell.weight_hh_l0", transposed): 3 for transposed in (False, True)},
            ("encoder.cell.weight_ih_l0", False): 3,
        }
        with t.only("decoder"):
            t.step(batch)


@pytest.mark.parametrize("optim", [{}, {"optimizer": "sgd", "lr": 0.5}])
def test_an_inner_step_is_that_of_the_plain_formulas(tmp_path, monkeypatch, optim):
    """After the decoder has moved, too: nothing is left of what was laid out before."""
    monkeypatch.setattr(LSTM, "_pays", lambda *_: True)
    off = {*kernels.OPTIMISATIONS} - {"dropout"}  # its random numbers
    fast = trainer(tmp_path / "fast", optim=optim)
    with kernels.off(*off):
        plain = trainer(tmp_path / "plain", optim=optim)
    plain.model.load_state_dict(fast.model.state_dict())
    assert fast.model.encoder.embedding.sparse == bool(optim) and not plain.model.encoder.embedding.sparse
    batch = fast.splits.train.batch(np.arange(16))
    for t, without in ((fast, ()), (plain, off)):
        t.model.train()
        torch.manual_seed(0)
        with kernels.off(*without):
            for part in ("encoder", "encoder", "decoder", "encoder", "decoder"):
                with t.only(part):
                    t.step(batch)
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
