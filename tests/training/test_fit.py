"""The loop: what it learns, what it saves, and that an interrupted run goes on bit for bit."""

import os
import signal

import pytest
import torch

import uncollapse as uc
from tests.conftest import TINY, all_remedies
from uncollapse.data.order import shuffled_batches
from uncollapse.errors import UserError
from uncollapse.runs import plan as plan_module
from uncollapse.runs.builders.data import build_splits
from uncollapse.runs.builders.model import build_model
from uncollapse.runs.builders.objective import build_objective
from uncollapse.runs.compose import compose
from uncollapse.runs.config import Config, merge
from uncollapse.runs.folder import RunFolder
from uncollapse.runs.job import Job
from uncollapse.runs.plan import plan
from uncollapse.training import fit as fit_module
from uncollapse.training.callbacks import Callback, Checkpoint
from uncollapse.training.fit import Trainer
from uncollapse.training.optimizers import clip_and_step
from uncollapse.training.states import load_state, save_state
from uncollapse.training.timing import Pace, measure_pace


class StopAt(Callback):
    """Presses Ctrl-C after some steps."""

    def __init__(self, step):
        self.left = step

    def on_step(self, trainer, update):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)


class Remember(Callback):
    def __init__(self):
        self.entries = []

    def on_validate(self, trainer, entry):
        self.entries.append(entry)


def settings(**changes):
    return merge(TINY, changes)


def content(folder):
    folder = RunFolder(folder)
    log = [{k: v for k, v in entry.items() if k != "seconds"} for entry in folder.log()]
    return folder.load_weights(), load_state(folder.state_file), log


def assert_same(one, other):
    for a, b in zip(content(one)[:1], content(other)[:1], strict=True):
        assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    states = content(one)[1], content(other)[1]
    assert all(torch.equal(states[0]["model"][k], states[1]["model"][k]) for k in states[0]["model"])
    assert torch.equal(states[0]["random"]["cpu"], states[1]["random"]["cpu"])
    for i, moments in states[0]["optimizer"]["state"].items():
        assert all(torch.equal(v, states[1]["optimizer"]["state"][i][k]) for k, v in moments.items())
    progress = [{k: v for k, v in s["progress"].items() if k != "seconds"} for s in states]
    assert progress[0] == progress[1]
    assert all(states[0][name] == states[1][name] for name in ("plateau", "phase", "objective"))
    assert content(one)[2] == content(other)[2]


@pytest.mark.parametrize(
    ("stop", "optimizer"),
    [
        (5, {"optimizer": "adam", "lr": 0.01}),
        (13, {"optimizer": "sgd", "lr": 0.5, "momentum": 0.9}),
        (20, {"optimizer": "sgd", "lr": 0.5}),
    ],
)
def test_n_steps_resume_and_n_steps_are_two_n_steps(tmp_path, stop, optimizer):
    """Thirteen steps are an epoch: the stops lie within the first, at its end and within the second."""
    changes = settings(optim=optimizer, decoder={"dropout_in": 0.3, "dropout_out": 0.3})
    uc.train("grammar", "annealed", out=tmp_path / "whole", **changes)
    with pytest.raises(uc.Interrupted):
        uc.train("grammar", "annealed", out=tmp_path / "parts", callbacks=[StopAt(stop)], **changes)
    uc.train("grammar", "annealed", out=tmp_path / "parts", resume=True, **changes)
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_an_epoch_of_fewer_steps_visits_other_batches_each_time_and_resumes_bitwise(tmp_path):
    changes = settings(train={"steps_per_epoch": 4, "epochs": 3})
    run = uc.train("grammar", "annealed", out=tmp_path / "whole", **changes)
    assert [entry["step"] for entry in run.log] == [4, 8, 12]
    orders = [shuffled_batches(run.splits()[0].train.lengths, 16, 1, epoch=epoch)[:4] for epoch in range(2)]
    assert {i for batch in orders[0] for i in batch} != {i for batch in orders[1] for i in batch}
    with pytest.raises(uc.Interrupted):
        uc.train("grammar", "annealed", out=tmp_path / "parts", callbacks=[StopAt(6)], **changes)
    uc.train("grammar", "annealed", out=tmp_path / "parts", resume=True, **changes)
    assert_same(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("order", ["equal", "random", "sorted"])
def test_batches_are_those_of_the_order_and_an_epoch_is_all_of_them(tmp_path, monkeypatch, order):
    trained, step = [], Trainer.step
    monkeypatch.setattr(Trainer, "step", lambda self, batch: (trained.append(batch.index), step(self, batch))[1])
    changes = settings(train={"batches": order, "epochs": 2}, objective={"weight": "linear(0, 1, 1 epochs)"})
    run = uc.train("grammar", out=tmp_path / "run", **changes)
    lengths = run.splits()[0].train.lengths
    epochs = [shuffled_batches(lengths, 16, 1, epoch=epoch, order=order) for epoch in (0, 1)]
    trained = trained[-sum(map(len, epochs)) :]  # before them, those that measure the pace
    assert all((a == b).all() for a, b in zip(trained, epochs[0] + epochs[1], strict=True))
    assert [entry["step"] for entry in run.log] == [len(epochs[0]), 2 * len(epochs[0])]
    assert run.log[0]["weight"] == pytest.approx(
        1 - 1 / len(epochs[0])
    )  # an epoch of a schedule is one of the training


@pytest.mark.parametrize("select", ["loss", "nll_elbo"])
def test_weights_may_be_chosen_by_the_loss_with_its_floor_or_by_the_elbo(tmp_path, select):
    changes = settings(train={"select": select}, objective={"floor": 50.0, "weight": "0.5"})
    for entry in uc.train("grammar", out=tmp_path / "run", **changes).log:
        valid = entry["valid"]
        floored = valid["distortion"] + 0.5 * 50.0  # no sentence has a rate of fifty nats
        assert entry["selection"] == pytest.approx(floored if select == "loss" else valid["nll_elbo"], rel=1e-5)


def test_a_part_of_sorted_batches_would_be_short_sentences_alone(tmp_path):
    with pytest.raises(UserError, match="train.batches sorted: the first 4 batches are the shortest sentences"):
        uc.train("grammar", out=tmp_path / "run", **settings(train={"batches": "sorted", "steps_per_epoch": 4}))


def test_a_finished_run_goes_on_to_more_epochs_and_keeps_what_it_learned(tmp_path):
    uc.train("grammar", "annealed", out=tmp_path / "run", **settings())
    before = RunFolder(tmp_path / "run").log()
    run = uc.train("grammar", "annealed", out=tmp_path / "run", resume=True, **settings(train={"epochs": 5}))
    assert run.log[: len(before)] == before and len(run.log) == 5 == run.config.train.epochs
    assert run.log[-1]["valid"]["nll_elbo"] < before[-1]["valid"]["nll_elbo"]
    with pytest.raises(uc.UserError, match="or a longer training: train.epochs was 5, now 4"):
        uc.train("grammar", "annealed", out=tmp_path / "run", resume=True, **settings(train={"epochs": 4}))


def test_minutes_that_were_too_few_can_be_made_more(tmp_path):
    few = settings(train={"epochs": 0, "minutes": 0.01})
    first = uc.train("grammar", "annealed", out=tmp_path / "run", **few)
    more = settings(train={"epochs": 0, "minutes": 0.05})
    second = uc.train("grammar", "annealed", out=tmp_path / "run", resume=True, **more)
    assert second.config.train.epochs > first.config.train.epochs and second.config.train.minutes == 0.05
    assert len(second.log) == second.config.train.epochs
    assert len(uc.train("grammar", "annealed", out=tmp_path / "run", resume=True, **more).log) == len(second.log)


def test_a_text_visited_in_parts_goes_on_by_the_same_command(tmp_path, monkeypatch):
    monkeypatch.setattr(plan_module, "measure_pace", lambda *_, **__: Pace(0.1, 0.1))
    changes = settings(train={"epochs": 0, "minutes": 8.5 / 60})
    changes["data"] = {"sentences": 640}  # forty steps, of which 20 are the least of an epoch
    with pytest.raises(uc.Interrupted):
        uc.train("grammar", "annealed", out=tmp_path / "run", callbacks=[StopAt(30)], **changes)
    run = uc.train("grammar", "annealed", out=tmp_path / "run", resume=True, **changes)
    assert run.config.train.steps_per_epoch == 20 and [entry["step"] for entry in run.log] == [20, 40, 60, 80]


def test_a_training_that_the_plateau_ended_goes_on_when_it_is_made_longer(tmp_path):
    changes = settings(optim={"lr": 0.0, "patience": 1, "decay_after": 0, "max_decays": 1}, train={"epochs": 6})
    assert len(uc.train("grammar", out=tmp_path / "run", **changes).log) == 2  # stopped
    changes["train"]["epochs"] = 8
    assert len(uc.train("grammar", out=tmp_path / "run", resume=True, **changes).log) == 3


def test_a_training_that_is_made_longer_by_an_epoch_at_a_time_is_the_long_one(tmp_path):
    changes = settings(optim={"lr": 3.0, "patience": 2, "decay_after": 0, "max_decays": 2}, train={"epochs": 30})
    whole = uc.train("grammar", out=tmp_path / "whole", **changes).log
    advice = [entry["advice"] for entry in whole]
    assert "wait" in advice[: advice.index("decay")] and advice[-1] == "stop"
    for epochs in range(1, len(whole) + 1):
        changes["train"]["epochs"] = epochs
        parts = uc.train("grammar", out=tmp_path / "parts", resume=epochs > 1, **changes).log
    assert [(entry["lr"], entry["advice"]) for entry in parts] == [(entry["lr"], entry["advice"]) for entry in whole]


class Fails(Callback):
    def on_step(self, trainer, update):
        raise OSError("as a full disk")


def test_a_training_that_the_plateau_ended_goes_on_at_its_last_rate_whatever_comes_between(tmp_path):
    changes = settings(optim={"lr": 3.0, "patience": 1, "decay_after": 0, "max_decays": 2}, train={"epochs": 30})
    before = uc.train("grammar", out=tmp_path / "run", **changes).log
    assert before[-1]["advice"] == "stop" and len(before) < 30
    changes["train"]["epochs"] = 40
    with pytest.raises(OSError, match="full disk"):
        uc.train("grammar", out=tmp_path / "run", resume=True, callbacks=[Fails()], **changes)
    longer = uc.train("grammar", out=tmp_path / "run", resume=True, **changes).log[len(before) :]
    assert longer and {entry["lr"] for entry in longer} == {3.0 * 0.5**2}


def test_a_decay_survives_an_interruption(tmp_path):
    changes = settings(optim={"lr": 3.0, "patience": 1, "decay_after": 0, "max_decays": 50}, train={"epochs": 6})
    uc.train("grammar", out=tmp_path / "whole", **changes)
    assert "decay" in [entry["advice"] for entry in RunFolder(tmp_path / "whole").log()]
    for stop in (20, 20, 20):
        with pytest.raises(uc.Interrupted):
            uc.train(
                "grammar",
                out=tmp_path / "parts",
                callbacks=[StopAt(stop)],
                resume=(tmp_path / "parts").exists(),
                **changes,
            )
    uc.train("grammar", out=tmp_path / "parts", resume=True, **changes)
    assert_same(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("remedy", all_remedies())
def test_every_remedy_learns_saves_and_loads(tmp_path, remedy):
    listener = Remember()
    limit = {"aggressive_steps": 3, "pretrain_epochs": 1 if remedy == "fbp" else 0}
    changes = settings(train={"epochs": 4, **limit}, optim={"lr": 0.02})
    run = uc.train("grammar", remedy, out=tmp_path / "run", callbacks=[listener], **changes)
    distortions = [entry["train"]["distortion"] for entry in listener.entries]
    assert distortions[-1] < 0.85 * distortions[0]
    again = uc.load(tmp_path / "run", "cpu")
    assert all(torch.equal(a, b) for a, b in zip(run.model.parameters(), again.model.parameters(), strict=True))
    assert again.sample(3, seed=1) == run.sample(3, seed=1)


def test_the_moments_of_batch_normalisation_resume_bitwise(tmp_path):
    """Other remedies with a state of their own are resumed in test_aggressive: the phase, the controller, pretraining."""
    changes = settings(train={"epochs": 2}, data={"sentences": 48})
    uc.train("grammar", "bn", out=tmp_path / "whole", **changes)
    with pytest.raises(uc.Interrupted):
        uc.train("grammar", "bn", out=tmp_path / "parts", callbacks=[StopAt(4)], **changes)
    uc.train("grammar", "bn", out=tmp_path / "parts", resume=True, **changes)
    assert_same(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_cell_learns_in_every_precision(tmp_path, cell, precision):
    listener = Remember()
    changes = settings(
        encoder={"kind": cell}, decoder={"kind": cell}, train={"epochs": 3, "precision": precision}, optim={"lr": 0.02}
    )
    uc.train("grammar", out=tmp_path / "run", callbacks=[listener], **changes)
    assert listener.entries[-1]["train"]["distortion"] < 0.85 * listener.entries[0]["train"]["distortion"]


def test_the_loss_of_the_objective_is_its_formula():
    config = Config.from_settings(settings(data={"name": "grammar"}, objective={"weight": "linear(0, 1, 10 steps)"}))
    splits = build_splits(config.data)
    model = build_model(config, len(splits.vocabulary))
    objective = build_objective(config, 13)
    for step, weight in ((0, 0.0), (5, 0.5), (100, 1.0)):
        terms = objective(model, splits.train.batch(range(16)), step)
        assert terms.weight == weight
        torch.testing.assert_close(terms.loss, (terms.distortion + weight * terms.rate).mean())


def test_the_gradient_of_the_penalty_reaches_the_encoder_by_finite_differences():
    config = Config.from_settings(settings(data={"name": "grammar"}, decoder={"dropout_in": 0, "dropout_out": 0}))
    splits = build_splits(config.data)
    model = build_model(config, len(splits.vocabulary)).double()
    objective, batch = build_objective(config, 13), splits.train.batch(range(4))
    weight = model.encoder.posterior.weight

    def loss():
        torch.manual_seed(0)
        return objective(model, batch, 0).loss

    loss().backward()
    for index in ((0, 0), (3, 5), (6, 2)):
        numeric = []
        for delta in (1e-5, -1e-5):
            with torch.no_grad():
                weight[index] += delta
                numeric.append(loss().item())
                weight[index] -= delta
        assert weight.grad[index].item() == pytest.approx((numeric[0] - numeric[1]) / 2e-5, rel=1e-4, abs=1e-8)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_saved_state(tmp_path):
    with pytest.raises(uc.TrainingError, match=r"not finite at step \d+ \(epoch .*batch .*try a lower --optim.lr"):
        uc.train("grammar", out=tmp_path / "run", **settings(optim={"optimizer": "sgd", "lr": 1e30, "clip": 0}))
    state = load_state(RunFolder(tmp_path / "run").state_file)
    assert state["progress"]["step"] == 0 and max(float(w.abs().max()) for w in state["model"].values()) < 10


@pytest.mark.parametrize("error", [MemoryError, UserError])
def test_a_training_that_fails_ends_its_callbacks_and_saves_nothing(error, tmp_path):
    class Fails(Callback):
        ends = 0

        def on_step(self, trainer, update):
            if trainer.progress.step == 2:
                raise error("no more")

        def on_end(self, trainer):
            self.ends += 1

    fails = Fails()
    with pytest.raises(error, match="no more"):
        uc.train("grammar", out=tmp_path / "run", callbacks=[fails], **TINY)
    assert fails.ends == 1 and load_state(RunFolder(tmp_path / "run").state_file)["progress"]["step"] == 0


def test_every_callback_of_a_class_has_its_own_state():
    class Best(Callback):
        def __init__(self, value):
            self.value = value

        def state_dict(self):
            return {"value": self.value}

        def load_state_dict(self, state):
            self.value = state["value"]

    def trainer(*values):
        config = compose("grammar", [], TINY)
        splits = build_splits(config.data)
        job = Job(
            build_model(config, len(splits.vocabulary)), build_objective(config, 13), splits, config.optim, config.train
        )
        return job.trainer([Best(value) for value in values])

    again = trainer(0.0, 0.0)
    again.load_state_dict(trainer(1.0, 2.0).state_dict())
    assert [callback.value for callback in again.callbacks] == [1.0, 2.0]


def test_tied_weights_are_kept_of_an_epoch(tmp_path):
    changes = {"decoder": {"tied": True, "emb": 12, "hidden": 12}, "train": {"keep": "rate>=0"}}
    run = uc.train("grammar", out=tmp_path / "run", **settings(**changes))
    first = uc.load(run.path, epoch=1).model.state_dict()
    assert torch.equal(first["decoder.embedding.weight"], first["decoder.output.weight"])


def test_pretraining_with_a_shared_table_is_refused():
    config = compose("grammar", [], settings(model={"share_embedding": True}))
    splits = build_splits(config.data)
    model, objective = build_model(config, len(splits.vocabulary)), build_objective(config, 13)
    with pytest.raises(UserError, match="shares weights with the encoder"):
        uc.fit(model, objective, splits, optimizer=torch.optim.Adam, epochs=2, pretrain_epochs=1)


def test_a_schedule_longer_than_the_run_is_said_once_and_its_last_weight_recorded(tmp_path, capsys):
    run = uc.train("grammar", "annealed", out=tmp_path / "run", **TINY)
    said = [line for line in capsys.readouterr().err.splitlines() if "weight ends at" in line]
    assert said == ["the schedule linear(0.1, 1, 10 epochs) is longer than the run: weight ends at 0.27, not 1"]
    assert run.log[-1]["weight"] == pytest.approx(0.1 + 0.9 * 25 / 130)
    assert run.evaluate("valid", 2, 10)["weight_final"] == run.log[-1]["weight"]


def test_the_measurement_before_training_changes_nothing(tmp_path):
    config = compose("grammar", ["bn"], TINY)
    splits = build_splits(config.data)
    model = build_model(config, len(splits.vocabulary))
    weights, random = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    pace = measure_pace(
        Job(model, build_objective(config, 13), splits, config.optim, config.train).trainer(), splits.train, 16, step=60
    )
    assert pace.step > 0 and pace.validation > 0
    assert all(torch.equal(weights[k], v) for k, v in model.state_dict().items())
    assert torch.equal(random, torch.get_rng_state()) and all(p.grad is None for p in model.parameters())


def test_open_epochs_are_chosen_before_training_and_kept_on_resume(tmp_path):
    changes = settings(train={"epochs": 0, "minutes": 0.01})
    listener = Remember()
    with pytest.raises(uc.Interrupted):
        uc.train(
            "default", out=tmp_path / "run", callbacks=[StopAt(3)], **merge(changes, {"data": {"name": "grammar"}})
        )
    chosen = RunFolder(tmp_path / "run").origin().config.train.epochs
    assert 1 <= chosen <= 40
    uc.train(
        "default",
        out=tmp_path / "run",
        resume=True,
        callbacks=[listener],
        **merge(changes, {"data": {"name": "grammar"}}),
    )
    assert listener.entries[-1]["epoch"] == chosen


def test_the_same_seed_gives_the_same_run_and_another_another(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        uc.train("grammar", out=tmp_path / name, seed=seed, **TINY)
    assert_same(tmp_path / "a", tmp_path / "b")
    with pytest.raises(AssertionError):
        assert_same(tmp_path / "a", tmp_path / "c")


def test_gradients_are_clipped_to_the_norm(tmp_path, monkeypatch):
    moves = []

    def step(optimizer, *rest):
        weights = [p for g in optimizer.param_groups for p in g["params"]]
        before = [p.detach().double() for p in weights]
        clip_and_step(optimizer, *rest)
        moves.append(torch.stack([(p - b).norm() for p, b in zip(weights, before, strict=True)]).norm().item())

    monkeypatch.setattr(fit_module, "clip_and_step", step)
    uc.train("grammar", out=tmp_path / "run", **settings(optim={"optimizer": "sgd", "lr": 0.1, "clip": 0.01}))
    assert max(moves) == pytest.approx(0.1 * 0.01, rel=1e-3)


def test_consistent_forms_are_of_the_row_that_was_recognised_and_leave_the_mode():
    from uncollapse.schedules import constant
    from uncollapse.tasks.forms.consistency import FormConsistency

    config = compose(
        "verbs", (), merge(TINY, {"data": {"name": "verbs", "sentences": 40}, "model": {"condition_emb": 0}})
    )
    splits = build_splits(config.data)
    from uncollapse.data.labels import LabelSpace

    model = build_model(config, len(splits.vocabulary), space=LabelSpace(splits.train.label_names))
    extra = FormConsistency(splits.train, splits.longest_sentence, constant(0.3))
    model.train()
    torch.manual_seed(0)
    assert extra.draw(model, 20) is None and model.training  # an untrained decoder says nothing that is known

    said = []

    class Parrot(type(model.decoder)):
        """Always writes the second row of the corpus, under the given label."""

        def start(self, z):
            said.append(z[:, -4:].argmax(1))
            rows = splits.train.forms[1][said[-1].numpy()]
            return (splits.train.batch(rows).tokens, torch.zeros(len(z), dtype=torch.long))

        def step(self, token, state):
            tokens, place = state
            after = tokens.gather(1, place[:, None] + 1)[:, 0]
            return torch.nn.functional.one_hot(after, len(splits.vocabulary)).float() * 1e4, (tokens, place + 1)

    model.decoder.__class__ = Parrot
    z, forms = extra.draw(model, 300)
    assert len(z) == len(forms) == 300
    assert set(forms.index.tolist()) == set(splits.train.forms[1].tolist())
    asked, drawn = torch.cat(said), forms.labels["tense"]
    assert 0.1 < (asked == drawn).float().mean() < 0.45  # any form of the row, not only the one that was written


def test_training_uses_the_threads_that_are_asked_for_and_gives_them_back(tmp_path):
    seen = set()

    class Watch(Callback):
        def on_step(self, trainer, update):
            seen.add(torch.get_num_threads())

    before = torch.get_num_threads()
    uc.train("grammar", out=tmp_path / "run", callbacks=[Watch()], **settings(train={"threads": 2, "epochs": 1}))
    assert seen == {2} and torch.get_num_threads() == before


def test_a_state_that_is_not_of_the_run_is_refused_in_one_line(tmp_path):
    uc.train("grammar", out=tmp_path / "run", **settings(train={"epochs": 1}))
    folder = RunFolder(tmp_path / "run")
    good = load_state(folder.state_file)
    needed = good.keys() - {"callbacks"}
    others = [{name: part for name, part in good.items() if name != missing} for missing in needed]
    others += [{**good, name: wrong} for name in needed for wrong in (None, [1], "text", {"a": 1})]
    others += [{**good, "callbacks": wrong} for wrong in (None, [1], "text")]
    others += [{**good, "model": {name: value[:1] for name, value in good["model"].items()}}]
    _, job = plan(folder.origin(), folder.cache, folder)
    for state in others:
        save_state(folder.state_file, state)
        with pytest.raises(UserError, match=r"last.pt: .*start anew with --overwrite"):
            Checkpoint(folder.path).resume(job.trainer())
