"""A compiled step gives what the plain one gives, or is not used."""

import shutil
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

import uncollapse as uc
from tests.conftest import TINY
from tests.training.test_loop import Remember, StopAt, assert_same
from uncollapse.build import build_model, build_objective, build_splits
from uncollapse.config import available, compose, merge
from uncollapse.data.labels import LabelSpace
from uncollapse.run import RunFolder
from uncollapse.training import graphs
from uncollapse.training.graphs import refuse_unlike, worthwhile
from uncollapse.training.loop import Trainer

DROPPED = {"dropout_in": 0.5, "dropout_out": 0.4}  # of 8 random bits, and of 16


@pytest.fixture
def everything(monkeypatch):
    """Have every shape be worth a graph."""
    monkeypatch.setattr(graphs, "OFTEN", 1)


@pytest.fixture
def recorded(everything, monkeypatch):
    """Have graphs run as they are recorded, operation by operation: the compiler takes many seconds."""
    monkeypatch.setattr(graphs, "compiled", lambda step, inputs: make_fx(step)(*inputs))


def trainer(folder, recipe="grammar", remedies=(), compiles=True, **changes):
    train = {"train": {"compile": compiles, "pretrain_epochs": 0, "precision": "fp32"}}
    config = compose(recipe, remedies, merge(merge(TINY, train), changes))
    splits = build_splits(config.data)
    torch.manual_seed(0)
    model = build_model(config, len(splits.vocabulary), splits.train.lengths + 1, LabelSpace(splits.train.label_names))
    objective, listener = build_objective(config, 13), Remember()
    return Trainer(model.train(), objective, splits, config.optim, config.train, RunFolder(folder / "run"), listener)


def refused():
    """Return whether this torch's compiler gives gradients that the comparison refuses, so that the plain step is used.

    Measured: 2.6 does, 2.13 does not.
    """
    return torch.__version__.startswith("2.6.")


def alike(splits, size):
    """Return so many training sentences of one length, and so many of another."""
    lengths = splits.train.lengths
    common = np.bincount(lengths).argsort()[-2:]
    assert (np.bincount(lengths)[common] >= size).all()
    return [np.flatnonzero(lengths == length)[:size] for length in common]


def assert_same_steps(one, other, parts=("",), steps=2, size=16):
    """Both descend along the same batches with the same random numbers (a part alone, or all), to the same weights and moments."""
    for step in range(steps):
        for index in alike(one.splits, size):
            for trained in parts:
                updates = []
                for each in (one, other):
                    torch.manual_seed(step)
                    with each.only(trained) if trained else nullcontext():
                        updates.append(each.step(each.batch(index)))
                assert updates[0].__dict__ == pytest.approx(updates[1].__dict__, rel=1e-3, abs=1e-4)
                learnt = [weight for weight in one.model.parameters() if weight.grad is not None]
                assert all(weight.grad.stride() == weight.stride() for weight in learnt)  # the optimizer counts on it
                one.progress.step += 1
                other.progress.step += 1
    for (name, found), expected in zip(one.model.state_dict().items(), other.model.state_dict().values(), strict=True):
        torch.testing.assert_close(found, expected, atol=2e-4, rtol=2e-3, msg=name)


@pytest.mark.parametrize("remedy", available("remedies"))
def test_every_remedy_is_recorded_as_it_is(tmp_path, recorded, remedy):
    """With the dropout of the plain step; where something cannot be recorded, the step is the plain one."""
    latent = {} if remedy == "lm" else {"latent": 4}
    ours = trainer(tmp_path, remedies=[remedy], model=DROPPED | latent)
    assert_same_steps(ours, trainer(tmp_path, remedies=[remedy], compiles=False, model=DROPPED | latent))
    assert len(ours._graphs._graphs) == 2
    assert all(remark.startswith("compiled the step for batches of 16 x ") for remark in ours.listener.remarks)


@pytest.mark.parametrize("changes", [
    {"encoder": "gru", "decoder": "gru"},
    {"decoder": "cnn", "context": 3},
    {"word_dropout": 0.3},
])  # fmt: skip
def test_every_kind_of_network_is_recorded_as_it_is(tmp_path, recorded, changes):
    ours = trainer(tmp_path, model=changes)
    assert_same_steps(ours, trainer(tmp_path, compiles=False, model=changes))
    assert len(ours._graphs._graphs) == 2


def test_labels_are_read_anew_for_every_batch(tmp_path, recorded):
    changes = {"data": {"name": "verbs", "sentences": 0}, "model": {"condition": "tense"}}
    ours = trainer(tmp_path, "tense", **changes)
    plain = trainer(tmp_path, "tense", compiles=False, **changes)
    for index in alike(ours.splits, 32):  # the same shape, other words and other labels
        for half in (index[:16], index[16:]):
            updates = []
            for each in (ours, plain):
                torch.manual_seed(0)
                updates.append(each.step(each.batch(half)))
            assert updates[0].__dict__ == pytest.approx(updates[1].__dict__, rel=1e-3, abs=1e-4)
    assert len(ours._graphs._graphs) == 2


def test_weights_and_schedules_are_read_anew_at_every_step(tmp_path, recorded):
    """One graph a shape, for all weights of the penalty, targets and factors of a controller."""
    changes = {"objective": {"weight": "linear(0, 3, 6 steps)", "target": 4.0, "ramp": "6 steps"}}
    ours, plain = trainer(tmp_path, **changes), trainer(tmp_path, compiles=False, **changes)
    ours.controller.factor = plain.controller.factor = 0.7
    assert_same_steps(ours, plain, steps=4)
    assert len(ours._graphs._graphs) == 2


def test_parts_that_learn_alone_have_graphs_of_their_own(tmp_path, recorded):
    parts = ("encoder", "decoder", "")
    ours, plain = trainer(tmp_path, model=DROPPED), trainer(tmp_path, compiles=False, model=DROPPED)
    assert_same_steps(ours, plain, parts)
    assert len(ours._graphs._graphs) == 6
    with ours.only("encoder"):
        ours.step(ours.batch(alike(ours.splits, 16)[0]))
    assert all(weight.grad is None for weight in ours.weights["decoder"])


def test_what_no_graph_serves_is_left_to_the_plain_step(tmp_path, recorded):
    ours, plain = trainer(tmp_path), trainer(tmp_path, compiles=False)
    order = np.argsort(ours.splits.train.lengths, kind="stable")
    padded = np.append(order[:1], alike(ours.splits, 15)[0])
    for index in (padded, alike(ours.splits, 5)[0]):  # pads; a shape that is not met
        torch.manual_seed(0)
        found = ours.step(ours.batch(index))
        torch.manual_seed(0)
        assert found == plain.step(plain.batch(index))
    assert not ours._graphs._graphs
    parallel = trainer(
        tmp_path, "tense", data={"name": "verbs"}, objective={"translate": True}, model={"condition": "tense"}
    )
    parallel.step(parallel.batch(alike(parallel.splits, 16)[0]))
    assert not parallel._graphs._graphs
    forced = trainer(tmp_path, objective={"teacher_forcing": "0.5"})
    forced.step(forced.batch(alike(forced.splits, 16)[0]))
    assert not forced._graphs._graphs


def test_pretraining_is_not_served(tmp_path, recorded):
    ours = trainer(tmp_path, train={"pretrain_epochs": 1})
    ours.step(ours.batch(alike(ours.splits, 16)[0]))
    assert not ours.__dict__.get("_graphs") or not ours._graphs._graphs


def test_shapes_are_worth_a_graph_if_they_come_often_and_are_small(tmp_path, monkeypatch):
    t = trainer(tmp_path)
    monkeypatch.setattr(graphs, "OFTEN", 1)
    every = worthwhile(t.splits.train, t.train)
    lengths = {tokens - 1 for _, tokens in every}
    assert lengths <= set(t.splits.train.lengths.tolist()) and {size for size, _ in every} <= {16, 8}
    monkeypatch.setattr(graphs, "OFTEN", t.train.epochs + 1)
    often = worthwhile(t.splits.train, t.train)
    assert often < every and not any(size == 8 for size, _ in often)  # the last batch comes once an epoch
    aggressive = replace(t.train, aggressive="pooled")
    monkeypatch.setattr(graphs, "OFTEN", 30 * t.train.epochs)
    assert worthwhile(t.splits.train, aggressive) == every and worthwhile(t.splits.train, t.train) < every
    longest = max(tokens for _, tokens in every)
    monkeypatch.setattr(graphs, "OFTEN", 1)
    monkeypatch.setattr(graphs, "LOGITS", 16 * (longest - 1) * len(t.splits.vocabulary) - 1)
    assert worthwhile(t.splits.train, t.train) == {shape for shape in every if shape[1] < longest}
    monkeypatch.setattr(graphs, "OFTEN", 10_000)
    assert not worthwhile(t.splits.train, t.train)


@pytest.mark.parametrize("changes", [{}, {"train": {"precision": "bf16"}}])
def test_it_is_said_that_nothing_is_worth_a_graph(tmp_path, monkeypatch, changes):
    if changes:
        monkeypatch.setattr(graphs, "OFTEN", 1)
    listener = Remember()
    uc.train(
        "grammar", out=tmp_path / "run", listener=listener, **merge(merge(TINY, {"train": {"compile": True}}), changes)
    )
    assert sum("nothing is compiled; it pays on a CPU in fp32, with" in remark for remark in listener.remarks) == 1


def broken(step, inputs):
    raise RuntimeError("no working C++ compiler found\nand much more")


def wrong(step, inputs):
    def doubled(*values):
        *parts, last = step(*values)
        return *parts, 2 * last

    return doubled


@pytest.mark.parametrize(
    "compiler, reason", [(broken, "no working C++ compiler found"), (wrong, "gives other gradients")]
)
def test_a_graph_that_cannot_be_had_or_is_wrong_is_not_used(tmp_path, everything, monkeypatch, compiler, reason):
    monkeypatch.setattr(graphs, "compiled", compiler)
    ours, plain = trainer(tmp_path, model=DROPPED), trainer(tmp_path, compiles=False, model=DROPPED)
    assert_same_steps(ours, plain)
    (remark,) = ours.listener.remarks
    assert remark == f"train.compile: it did not work, and training goes on without ({remark.split('(')[1]}"
    assert reason in remark and "\n" not in remark


def test_results_are_alike_within_a_share_of_their_norm():
    expected = [torch.tensor([3.0, 4.0]), None, torch.zeros(0), torch.zeros(2)]
    refuse_unlike([torch.tensor([3.0, 4.004]), None, torch.zeros(0), torch.full((2,), 5e-7)], expected)
    for place, value in (
        (0, torch.tensor([3.0, 4.006])),
        (0, torch.tensor([3.0, torch.nan])),
        (3, torch.full((2,), 1e-5)),
        (2, None),
    ):
        found = list(expected)
        found[place] = value
        with pytest.raises(ValueError, match="the compiled step"):
            refuse_unlike(found, expected)
    with pytest.raises(ValueError, match="the compiled step"):
        refuse_unlike([torch.zeros(1)], [None])
    square = torch.arange(4.0).view(2, 2)
    with pytest.raises(ValueError, match="lays gradients out otherwise"):  # the optimizer would read other numbers
        refuse_unlike([square.T.contiguous().T], [square])


def test_an_interrupted_run_resumes_bitwise(tmp_path, recorded):
    changes = merge(TINY, {"train": {"compile": True}, "model": DROPPED})
    uc.train("grammar", "annealed", out=tmp_path / "whole", **changes)
    with pytest.raises(uc.Interrupted):
        uc.train("grammar", "annealed", out=tmp_path / "parts", listener=StopAt(9), **changes)
    uc.train("grammar", "annealed", out=tmp_path / "parts", resume=True, **changes)
    assert_same(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler")
def test_a_compiled_step_is_the_plain_one(tmp_path, everything):
    """By the compiler itself: an LSTM with dropout, once for all that learns and once for the encoder."""
    ours, plain = trainer(tmp_path, model=DROPPED), trainer(tmp_path, compiles=False, model=DROPPED)
    for t in (ours, plain):
        t._one = alike(t.splits, 16)[0]
    for step in range(3):
        for part in ("", "encoder"):
            updates = []
            for t in (ours, plain):
                torch.manual_seed(step)
                with t.only(part) if part else nullcontext():
                    updates.append(t.step(t.batch(t._one)))
            assert updates[0].__dict__ == pytest.approx(updates[1].__dict__, rel=1e-3, abs=1e-4)
    for found, expected in zip(ours.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(found, expected, atol=2e-4, rtol=2e-3)
    assert len(ours._graphs._graphs) == (0 if refused() else 2), ours.listener.remarks


def test_a_small_lstm_has_a_core_and_others_have_all(monkeypatch):
    """What it computes is the same; how many threads torch has is put back."""
    given, original, layer = [], graphs.cpu_threads, torch.nn.LSTM(6, 4)
    monkeypatch.setattr(graphs, "cpu_threads", lambda count: given.append(count) or original(count))
    inputs, h, before = torch.randn(3, 2, 6), torch.zeros(2, 4), torch.get_num_threads()
    for least, expected in ((graphs.WORTH_A_CORE, 1), (0, 0)):
        monkeypatch.setattr(graphs, "WORTH_A_CORE", least)
        found = graphs._lstm(inputs, *layer.all_weights[0], h, h, False, [], 2, 4, 1, True, False, False, True, 0)
        torch.testing.assert_close(found[0], layer(inputs)[0])
        assert given.pop() == expected and torch.get_num_threads() == before


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler")
@pytest.mark.parametrize("remedy", available("remedies"))
def test_every_remedy_is_compiled_as_it_is(tmp_path, everything, remedy):
    latent = {} if remedy == "lm" else {"latent": 4}
    ours = trainer(tmp_path, remedies=[remedy], model=DROPPED | latent)
    assert_same_steps(ours, trainer(tmp_path, remedies=[remedy], compiles=False, model=DROPPED | latent))
    assert len(ours._graphs._graphs) == (0 if refused() else 2), ours.listener.remarks
