import math

import numpy as np
import pytest
import torch

import uncollapse as uc
from tests.conftest import TINY
from uncollapse.data.order import shuffled_batches
from uncollapse.distributions.posteriors import Gaussian
from uncollapse.evaluation.scores import Scores
from uncollapse.objectives import Controller
from uncollapse.runs.builders.data import build_splits
from uncollapse.runs.builders.model import build_model
from uncollapse.runs.builders.objective import build_objective
from uncollapse.runs.compose import compose
from uncollapse.runs.config import merge
from uncollapse.runs.job import Job
from uncollapse.training.aggressive import LONGEST_WAIT, InnerLoop, PairedLoop, Phase, falls
from uncollapse.training.callbacks.base import Callback
from uncollapse.training.fit import Trainer


def inner_steps(losses):
    """Run the inner loop on made-up losses per word (one word a batch) and return how many steps it took."""
    loop = InnerLoop()
    for loss in losses:
        if not loop.goes_on():
            break
        loop.add(loss, 1)
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
    answers = []
    for words in [10] * 15 + [5] * 15:
        loop.add(30.0, words)
        answers.append(loop.goes_on())
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
        phase.count(InnerLoop(30))
        assert phase.on == expected
    phase = Phase("paper", on=True)
    assert phase.check([0.2]) and phase.check([0.3]) and not phase.check([0.25]) and not phase.on


def paired(gains):
    """Run a loop of an encoder whose steps lower the loss of eight batches by `gains(steps)`."""
    noise = torch.linspace(-0.01, 0.01, 8)
    loop = PairedLoop(lambda: 10 - gains(loop.steps) + noise * (1 + loop.steps / 100))  # the pairs differ a little
    return run_through(loop)


def run_through(loop):
    while loop.goes_on():
        loop.add(0.0, 1)
    return loop


@pytest.mark.parametrize(
    ("gains", "steps", "useful"),
    [
        (lambda n: 0.0, 4, 0),  # two looks without a gain end the loop
        (lambda n: min(n, 8) * 0.1, 32, 8),  # it saturates after eight steps
        (lambda n: n * 0.1, 64, 64),  # the most there can be
        (lambda n: 0.1 if n == 2 else 0.4 if n >= 8 else 0.0, 32, 8),  # one look without a gain is forgiven
        (lambda n: -n * 0.1, 4, 0),
    ],
)
def test_paired_steps_go_on_while_the_losses_of_the_same_sentences_fall(gains, steps, useful):
    loop = paired(gains)
    assert (loop.steps, loop.useful) == (steps, useful)


def test_a_gain_within_the_noise_of_the_pairs_is_none():
    torch.manual_seed(0)
    loop = PairedLoop(lambda: 10 - 0.01 * loop.steps + torch.randn(8))
    assert run_through(loop).useful == 0


def test_steps_that_did_not_pay_are_left_out_ever_longer_and_those_that_do_come_at_once():
    phase, begun = Phase("adaptive", on=True), []
    for step in range(60):
        if phase.begins():
            begun.append(step)
            phase.count(run_through(PairedLoop(lambda: torch.ones(8))))
    assert np.diff(begun).tolist()[:4] == [2, 4, LONGEST_WAIT + 1, LONGEST_WAIT + 1] and phase.outer == len(begun)
    for _ in range(3):
        phase.left = 0
        assert phase.begins()
        phase.count(paired(lambda n: n * 0.1))
        assert phase.wait == 0
    phase.on = False
    assert not phase.begins()


def test_the_budget_counts_steps_and_looks_and_ends_the_phase():
    phase = Phase("adaptive", on=True, batch_size=32, budget=20.0)
    for spent, on in ((12, True), (24, False)):  # four steps; three looks at eight batches, each a third of a step
        phase.count(run_through(phase.loop(lambda: torch.ones(8))))
        assert phase.spent == pytest.approx(spent) and phase.on == on


def test_inner_losses_of_pictures_are_compared_every_ten_steps():
    for rule, steps in (("paper-best", 20), ("paper", 30)):
        loop = Phase(rule, on=True).loop(lambda: torch.ones(8))
        while loop.goes_on():
            loop.add(float(loop.steps), 1)
        assert loop.steps == steps


def test_the_rule_for_pictures_counts_the_epochs_below_the_best():
    phase = Phase("paper-best", on=True)
    goes_on = [phase.check([mi]) for mi in (0.5, 0.4, 0.6, 0.6, 0.5, 0.59, 0.7, 0.1, 0.2)]
    assert goes_on == [True] * 8 + [False]  # 0.6 again is not below; a new best does not begin the count anew


def test_the_papers_mutual_information_is_of_batches_of_one_length_with_draws_of_its_own():
    """A plain computation by batches of 2 of lengths 3, 3, 3 and 5, 5: [0, 2], [4] and [1, 3]."""
    random, lengths = torch.Generator().manual_seed(3), np.array([3, 5, 3, 5, 3])
    q = Gaussian(torch.randn(5, 2, generator=random), torch.randn(5, 2, generator=random))
    scores = Scores(q, torch.zeros(5, 2), torch.zeros(5), torch.zeros(5))
    phase = Phase("paper", on=True, batch_size=2)
    torch.manual_seed(7)
    entries = [phase.end_epoch(scores, lengths, 1) for _ in range(2)]
    torch.manual_seed(7)
    total = 0.0
    for rows in shuffled_batches(lengths, 2, 0, epoch=0, order="equal"):
        assert sorted(rows.tolist()) in ([0, 2], [4], [1, 3])
        normal = torch.distributions.Normal(q.mu[rows], (q.logvar[rows] / 2).exp())
        z = normal.mean + normal.stddev * torch.randn(len(rows), 1, 2)[:, 0]
        density = torch.stack([normal.log_prob(one).sum(-1) for one in z]).logsumexp(1) - math.log(len(rows))
        total += float((-normal.entropy().sum(-1) - density).sum())
    assert entries[0]["mi_after"] == pytest.approx(total / 5, rel=1e-5)
    assert entries[1]["mi_after"] != entries[0]["mi_after"]


@pytest.mark.parametrize("rule", ["adaptive", "always"])
def test_mutual_information_does_not_end_a_phase_of_another_rule(rule):
    phase = Phase(rule, on=True)
    assert phase.check([0.5]) and phase.check([0.1]) and phase.on


def test_held_out_losses_are_of_the_same_noise_and_leave_training_alone():
    t, batch = trainer(train={"aggressive": "adaptive"})
    t.model.train()
    random = torch.get_rng_state()
    before = t._held_losses()
    assert torch.equal(random, torch.get_rng_state()) and t.model.training
    torch.rand(7)  # training draws on
    assert torch.equal(before, t._held_losses())
    t.step(batch, "encoder")
    assert not torch.equal(before, t._held_losses())
    assert len(before) == 8 and len(set(before.tolist())) == 8


def test_adaptive_training_resumes_bitwise_and_spends_no_more_than_its_budget(tmp_path):
    from tests.training.test_fit import StopAt, assert_same

    changes = merge(TINY, {"data": {"sentences": 200}, "train": {"epochs": 3, "aggressive": "adaptive"}})
    run = uc.train("grammar", "aggressive", out=tmp_path / "whole", **changes)
    assert sum(entry.get("aggressive", {}).get("inner_steps", 0) for entry in run.log) <= 0.4 * 3 + 64 / 13
    with pytest.raises(uc.Interrupted):
        uc.train("grammar", "aggressive", out=tmp_path / "parts", callbacks=[StopAt(17)], **changes)
    uc.train("grammar", "aggressive", out=tmp_path / "parts", resume=True, **changes)
    assert_same(tmp_path / "whole", tmp_path / "parts")


def trainer(**changes):
    """Return a trainer, and a batch of its corpus."""
    config = compose("grammar", ["aggressive"], merge(TINY, changes))
    splits = build_splits(config.data)
    model = build_model(config, len(splits.vocabulary))
    return Job(model, build_objective(config, 13), splits, config.optim, config.train).trainer(), splits.train.batch(
        np.arange(16)
    )


@pytest.mark.parametrize(("rule", "every"), [("paper", 15), ("paper-best", 10)])
def test_an_outer_step_is_the_papers_algorithm(rule, every):
    """Their loop written plainly: the encoder alone on random batches until the loss per word rises, then the decoder once."""
    (t, batch), (theirs, _) = (trainer(train={"aggressive": rule}, optim={"optimizer": "sgd", "lr": 0.5}) for _ in "ab")
    batches, clip = t.train(0), 5.0
    t.model.train()
    torch.manual_seed(3)
    t._aggressive_step(batch, batches)
    model, objective = theirs.model.train(), theirs.objective
    encoder = list(model.encoder.parameters())
    decoder = [weight for name, weight in model.named_parameters() if not name.startswith("encoder.")]
    assert len(encoder) + len(decoder) == len(list(model.parameters()))

    def descend(moved, current):
        model.zero_grad()
        loss = objective(model, current, 0).loss
        loss.backward()
        norm = torch.stack([weight.grad.norm() for weight in model.parameters()]).norm()
        with torch.no_grad():
            for weight in moved:
                weight -= 0.5 * weight.grad * min(1.0, float(clip / norm))
        return float(loss)

    torch.manual_seed(3)
    current, before, total, words, steps = batch, math.inf, 0.0, 0, 0
    while steps < 99:
        total += descend(encoder, current) * len(current)
        words += int((current.lengths).sum())
        steps += 1
        if steps % every == 0:
            if total / words > before:
                break
            before, total, words = total / words, 0.0, 0
        if steps < 99:
            current = batches[int(torch.randint(len(batches), ()))]
    descend(decoder, batch)
    assert t.phase.inner == steps and 2 * every <= steps
    for (name, ours), plain in zip(t.model.state_dict().items(), model.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-3, atol=1e-5, msg=name)


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


@pytest.mark.parametrize("rule", ["pooled", "paper"])
def test_the_log_says_what_the_phase_did_and_it_resumes_bitwise(rule, tmp_path):
    from tests.training.test_fit import StopAt, assert_same

    changes = merge(TINY, {"data": {"sentences": 40}, "train": {"epochs": 3, "aggressive": rule}})
    run = uc.train("grammar", "aggressive", out=tmp_path / "whole", **changes)
    first = run.log[0]["aggressive"]
    assert 30 <= first["inner_steps"] <= 99 and first["mi_before"] == 0 and isinstance(first["goes_on"], bool)
    with pytest.raises(uc.Interrupted):
        uc.train("grammar", "aggressive", out=tmp_path / "parts", callbacks=[StopAt(4)], **changes)
    uc.train("grammar", "aggressive", out=tmp_path / "parts", resume=True, **changes)
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_the_phase_can_be_limited_and_the_progress_says_while_it_lasts(tmp_path, monkeypatch):
    from uncollapse.messages import Bar

    said = []
    monkeypatch.setattr(Bar, "advance", lambda bar, live: said.append("aggressive" in live))
    changes = merge(TINY, {"data": {"sentences": 80}, "train": {"epochs": 3, "aggressive_steps": 2}})
    log = uc.train("grammar", "aggressive", out=tmp_path / "run", **changes).log
    assert "aggressive" in log[0] and not log[0]["aggressive"]["goes_on"] and "aggressive" not in log[1]
    assert said[:3] == [True, False, False] and not any(said[3:])


def test_an_evaluation_says_how_many_inner_steps_the_training_took(tmp_path, monkeypatch):
    taken, add = [], InnerLoop.add
    monkeypatch.setattr(InnerLoop, "add", lambda loop, *loss: (taken.append(loss), add(loop, *loss))[1])
    changes = merge(TINY, {"data": {"sentences": 80}, "train": {"epochs": 2, "aggressive": "always"}})
    run = uc.train("grammar", "aggressive", out=tmp_path / "run", **changes)
    assert len(run.log) == 2 and run.evaluate("valid", 2, 10)["inner_steps"] == len(taken) >= 60
    plain = uc.train("grammar", out=tmp_path / "plain", **merge(changes, {"train": {"aggressive": "off"}}))
    assert "inner_steps" not in plain.evaluate("valid", 2, 10)


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
    assert [entry.get("pretraining", False) for entry in run.log] == [True, False, False] and run.log[0]["weight"] == 0
    assert run.log[0]["selection"] == pytest.approx(run.log[0]["valid"]["distortion"])
    assert run.log[1]["weight"] == pytest.approx(12 / 130)  # the schedule begins after pretraining


SCRIPT = {1: 5.0, 2: 4.0, 3: 4.5, 4: 4.4, 5: 4.6}
"""Validation losses of an autoencoder: better until epoch 2, a decay after 3, the second one, which is the last, after 5."""


def short_pretraining(monkeypatch):
    original = Trainer._selection

    def selection(self, valid, scores):
        return SCRIPT[self.progress.epoch] if self.pretraining else original(self, valid, scores)

    monkeypatch.setattr(Trainer, "_selection", selection)
    rule = {"lr": 0.01, "patience": 1, "decay_after": 0, "max_decays": 2}
    return merge(TINY, {"train": {"pretrain_epochs": 8, "epochs": 11}, "optim": rule, "data": {"sentences": 200}})


def test_pretraining_ends_by_the_plateau_rule_with_its_best_encoder(tmp_path, monkeypatch):
    """As their two runs: an autoencoder until its rate has been halved often enough, then a VAE with all its epochs."""
    encoders, lrs = {}, {}

    class Watch(Callback):
        def on_measure(self, trainer, entry):
            encoders[entry["epoch"]], lrs[entry["epoch"]] = weights(trainer.model.encoder), entry["lr"]

        def on_epoch(self, trainer):
            encoders["begins", trainer.progress.epoch] = weights(trainer.model.encoder)

    changes = short_pretraining(monkeypatch)
    log = uc.train("grammar", "fbp", out=tmp_path / "run", callbacks=[Watch()], **changes).log
    assert [entry["advice"] for entry in log[:5]] == ["improved", "improved", "decay", "wait", "stop"]
    assert [entry["epoch"] for entry in log if "pretraining" in entry] == [1, 2, 3, 4, 5]
    assert len(log) == 5 + 3 and log[5]["advice"] == "improved"  # the VAE has its own epochs
    assert same(encoders["begins", 3], encoders[2]) and same(encoders["begins", 5], encoders[2])
    assert not same(encoders[5], encoders[2])
    assert [lrs[epoch] for epoch in range(1, 7)] == [0.01, 0.01, 0.01, 0.005, 0.005, 0.01]
    steps = log[0]["step"]
    assert log[5]["step"] == 6 * steps and log[5]["weight"] == pytest.approx((steps - 1) / (10 * steps))


def test_a_pretraining_that_ended_early_resumes_bitwise(tmp_path, monkeypatch):
    from tests.training.test_fit import StopAt, assert_same

    changes = short_pretraining(monkeypatch)
    run = uc.train("grammar", "fbp", out=tmp_path / "whole", **changes)
    steps = run.log[0]["step"]
    for epochs in (3.5, 5.5, 6.5):
        out = tmp_path / f"parts-{epochs}"
        with pytest.raises(uc.Interrupted):
            uc.train("grammar", "fbp", out=out, callbacks=[StopAt(int(epochs * steps))], **changes)
        assert (out / "model.safetensors").exists() == (epochs > 6)  # an autoencoder is no run
        uc.train("grammar", "fbp", out=out, resume=True, **changes)
        assert_same(tmp_path / "whole", out)


def test_more_epochs_asked_for_in_pretraining_leave_its_decays(tmp_path, monkeypatch, capsys):
    from tests.training.test_fit import StopAt

    changes = short_pretraining(monkeypatch)
    with pytest.raises(uc.Interrupted):
        uc.train("grammar", "fbp", out=tmp_path / "run", callbacks=[StopAt(45)], **changes)
    longer = merge(changes, {"train": {"epochs": 12}})
    log = uc.train("grammar", "fbp", out=tmp_path / "run", resume=True, **longer).log
    assert log[2]["advice"] == "decay" and log[2]["step"] <= 45 < log[3]["step"]
    assert [entry["lr"] for entry in log[2:6]] == [0.01, 0.005, 0.005, 0.01] and len(log) == 5 + 4
    err = capsys.readouterr().err
    assert err.count("(pretraining)") == 1 and err.count("pretraining ends: its best encoder stays") == 1


def test_the_adaptive_budget_is_a_share_of_the_steps_after_pretraining(tmp_path):
    budgets = set()

    class Watch(Callback):
        def on_epoch(self, trainer):
            budgets.add(trainer.phase.budget)

    changes = merge(TINY, {"data": {"sentences": 80}, "train": {"epochs": 3, "pretrain_epochs": 1}})
    log = uc.train("grammar", ["fbp", "aggressive-adaptive"], out=tmp_path / "run", callbacks=[Watch()], **changes).log
    assert list(budgets) == [pytest.approx(0.4 * 2 * log[0]["step"])]


def test_a_longer_training_has_a_larger_budget_and_begins_the_adaptive_phase_again(tmp_path):
    ends = []

    class Watch(Callback):
        def on_end(self, trainer):
            ends.append(trainer.phase)

    changes = merge(TINY, {"data": {"sentences": 200}, "train": {"epochs": 2}})
    uc.train("grammar", "aggressive-adaptive", out=tmp_path / "run", callbacks=[Watch()], **changes)
    longer = merge(changes, {"train": {"epochs": 16}})
    log = uc.train(
        "grammar", "aggressive-adaptive", out=tmp_path / "run", resume=True, callbacks=[Watch()], **longer
    ).log
    assert ends[1].budget == pytest.approx(8 * ends[0].budget) and ends[1].spent > ends[0].spent > ends[0].budget
    assert sum(entry.get("aggressive", {}).get("inner_steps", 0) for entry in log[2:]) > 0


def test_the_best_encoder_of_a_pretraining_that_reached_its_end_goes_on(tmp_path, monkeypatch):
    changes, begins = merge(short_pretraining(monkeypatch), {"train": {"pretrain_epochs": 3, "epochs": 4}}), {}

    class Watch(Callback):
        def on_epoch(self, trainer):
            begins[trainer.progress.epoch] = weights(trainer.model.encoder)

        def on_measure(self, trainer, entry):
            begins["measured", entry["epoch"]] = weights(trainer.model.encoder)

    uc.train("grammar", "fbp", out=tmp_path / "run", callbacks=[Watch()], **changes)
    assert same(begins[3], begins["measured", 2]) and not same(begins[3], begins["measured", 3])


def test_a_state_that_does_not_say_how_long_pretraining_was_goes_on(tmp_path):
    from tests.training.test_fit import StopAt, assert_same

    changes = merge(TINY, {"train": {"pretrain_epochs": 1, "epochs": 3}})
    uc.train("grammar", "fbp", out=tmp_path / "whole", **changes)
    with pytest.raises(uc.Interrupted):
        uc.train("grammar", "fbp", out=tmp_path / "parts", callbacks=[StopAt(20)], **changes)
    file = tmp_path / "parts" / "state" / "last.pt"
    state = torch.load(file, weights_only=True)
    del state["progress"]["pretrained"]
    torch.save(state, file)
    uc.train("grammar", "fbp", out=tmp_path / "parts", resume=True, **changes)
    assert_same(tmp_path / "whole", tmp_path / "parts")


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
