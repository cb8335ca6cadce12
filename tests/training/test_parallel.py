"""Training in two processes: the losses, weights and decisions of one process with the joined batch."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

import uncollapse as uc
from tests.conftest import TINY
from uncollapse.generation import decode
from uncollapse.nn.norms import BatchNorm
from uncollapse.parallel import World
from uncollapse.runs.config import merge
from uncollapse.runs.folder import RunFolder
from uncollapse.runs.measure import measure_protocol
from uncollapse.runs.protocols import PROTOCOLS
from uncollapse.training.states import STATE, load_state

QUICK = ["kl-target", "bn", "mmd", "kl-controller", "aggressive"]
REST = ["vanilla", "bow", "twr", "fbp", "lm", "aggressive-adaptive"]
PLAIN = {"decoder": {"dropout_in": 0.0, "dropout_out": 0.0}, "data": {"sentences": 90}}
"""Without dropout, whose numbers belong to the rows of each process; 90 sentences in batches of 16 end with one of 10."""
TWO = ["-m", "torch.distributed.run", "--nproc_per_node", "2"]

WORKER = """
import gc, json, sys
from pathlib import Path
import torch, uncollapse as uc
from tests.training.test_parallel import every_protocol
from uncollapse.parallel import process_group

class StopAt(uc.callbacks.Callback):
    def __init__(self, step):
        self.step = step

    def on_step(self, trainer, update):
        if trainer.progress.step == self.step:
            trainer.stop()

torch.set_num_threads(1)
gc.disable()  # so that the test of the group's threads does not depend on when Python collects
with process_group() as world:
    for name, remedy, stop, resume, settings in json.loads(sys.argv[1]):
        uc.train("grammar", remedy, out=name, callbacks=[StopAt(stop)], resume=resume, **settings)
    for name in sys.argv[2:]:
        Path(f"{name}-{world.rank}.json").write_text(json.dumps(every_protocol(name)))
names = [each.read_text().strip() for each in Path("/proc/self/task").glob("*/comm")]
Path(f"threads-{world.rank}.json").write_text(json.dumps(names))
"""


def every_protocol(path):
    """Return the numbers of all protocols of a run, and how many sentences this process has written for them."""
    run, rows = uc.load(path, "cpu"), []
    subject, of = run.subject(run.splits()[0], "test"), decode._decode_rows
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(decode, "_decode_rows", lambda model, z, *rest: rows.append(len(z)) or of(model, z, *rest))
        numbers = [measure_protocol(name, subject) for name, each in PROTOCOLS.items() if each.fits(subject)]
    return numbers, sum(rows)


def settings_of(remedy):
    train = {"pretrain_epochs": int(remedy == "fbp"), "aggressive_steps": 2 * remedy.startswith("aggressive")}
    train |= {"aggressive": "paper"} if remedy == "aggressive" else {}
    latent = {"model": {"latent": 0}} if remedy == "lm" else {}
    return merge(merge(merge(TINY, PLAIN), {"train": train}), latent)


def run(arguments, folder, **options):
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=env, check=False, capture_output=True, text=True, **options)


def in_two_processes(folder, remedies, more=(), measured=()):
    """Train each remedy in two processes, and measure some of them; return the folder."""
    (folder / "worker.py").write_text(WORKER)
    jobs = [(remedy, [remedy] if remedy != "vanilla" else [], 0, False, settings_of(remedy)) for remedy in remedies]
    done = run([*TWO, "worker.py", json.dumps([*jobs, *more]), *measured], folder)
    assert not done.returncode, done.stderr
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    dropout = merge(TINY, {"data": {"sentences": 90}, "decoder": {"dropout_in": 0.3, "dropout_out": 0.3}})
    more = [("whole", "annealed", 0, False, dropout)]
    more += [("parts", "annealed", 8, False, dropout), ("parts", "annealed", 0, True, dropout)]
    return in_two_processes(tmp_path_factory.mktemp("two"), QUICK, more, ["bn"])


@pytest.fixture(scope="module")
def rest(tmp_path_factory):
    return in_two_processes(tmp_path_factory.mktemp("rest"), REST)


@pytest.mark.parametrize("remedy", QUICK)
def test_two_processes_have_the_losses_of_one_with_the_joined_batch(remedy, two, tmp_path):
    same_as_one(remedy, two, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("remedy", REST)
def test_so_they_have_with_other_remedies(remedy, rest, tmp_path):
    same_as_one(remedy, rest, tmp_path)


def same_as_one(remedy, two, tmp_path):
    one = uc.train("grammar", remedy, out=tmp_path / "one", callbacks=[], **settings_of(remedy))
    for here, there in zip(one.log, RunFolder(two / remedy).log(), strict=True):
        for part in ("train", "valid"):
            assert there[part] == pytest.approx(here[part], rel=2e-5, abs=2e-5)
        assert here["advice"] == there["advice"]
        assert there.get("aggressive", {}) == pytest.approx(here.get("aggressive", {}), rel=1e-4, abs=1e-4)
    weights = RunFolder(two / remedy).load_weights()
    for name, value in one.folder.load_weights().items():
        torch.testing.assert_close(weights[name], value, rtol=1e-3, atol=2e-5)


def test_one_process_goes_on_with_the_run_of_two(two, tmp_path):
    more = merge(settings_of("kl-controller"), {"train": {"epochs": 4}, "optim": {"lr": 0.01}})
    resumed = uc.train("grammar", "kl-controller", out=two / "kl-controller", resume=True, callbacks=[], **more)
    whole = uc.train("grammar", "kl-controller", out=tmp_path / "whole", callbacks=[], **more)
    assert [entry["epoch"] for entry in resumed.log] == [1, 2, 3, 4]
    assert resumed.log[-1]["valid"] == pytest.approx(whole.log[-1]["valid"], rel=1e-4, abs=1e-4)


def test_two_processes_share_every_protocol_and_have_its_numbers(two):
    here, rows = every_protocol(two / "bn")
    shares = [json.loads((two / f"bn-{rank}.json").read_text()) for rank in (0, 1)]
    assert rows == sum(share for _, share in shares)
    assert all(abs(share - rows / 2) < 20 for _, share in shares)
    for there, _ in shares:
        assert rounded(there) == rounded(json.loads(json.dumps(here)))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads have names in /proc")
def test_no_thread_of_the_group_outlives_it(two):
    names = [name for rank in (0, 1) for name in json.loads((two / f"threads-{rank}.json").read_text())]
    assert names and not [name for name in names if "gloo" in name]


def rounded(value):
    """Return nested values with numbers of five digits: batches of other sizes add in another order."""
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


@pytest.mark.slow
def test_the_command_line_trains_and_evaluates_in_two_processes(two, tmp_path):
    done = run([*TWO, "-m", "uncollapse", "evaluate", str(two / "bn"), "--json", "--iw-samples", "8"], tmp_path)
    assert not done.returncode, done.stderr
    evaluated = uc.load(two / "bn", "cpu").evaluate(iw_samples=8)
    said = json.loads(done.stdout)
    assert {**said, "protocol": 0} == {**evaluated, "protocol": 0}
    refused = run([*TWO, "-m", "uncollapse", "sample", str(two / "bn")], tmp_path)
    assert "runs in one process; train and evaluate can share" in refused.stderr
    there = run([*TWO, "-m", "uncollapse", "train", "--recipe", "grammar", "--out", str(two / "bn")], tmp_path)
    assert "a run is already there" in there.stderr and "the first process has failed" in there.stderr


def test_a_training_in_two_processes_resumes_bitwise_with_dropout(two):
    whole, parts = (load_state(two / name / STATE) for name in ("whole", "parts"))
    assert whole["progress"]["step"] == parts["progress"]["step"] == 12
    for name, value in whole["model"].items():
        assert torch.equal(value, parts["model"][name]), name
    assert torch.equal(whole["random"]["cpu"], parts["random"]["cpu"])


@pytest.mark.slow
def test_a_request_to_stop_reaches_both_processes(tmp_path):
    flags = "--recipe grammar --data.sentences 150 --encoder.hidden 12 --decoder.hidden 12 --train.device cpu"
    command = [*TWO, "-m", "uncollapse", "train", *flags.split(), "--train.epochs", "400", "--out", "run"]
    log = tmp_path / "run" / "metrics.jsonl"
    with subprocess.Popen([sys.executable, *command], cwd=tmp_path, stderr=subprocess.PIPE, text=True) as begun:
        while not log.exists():
            assert begun.poll() is None
            time.sleep(0.05)
        begun.send_signal(signal.SIGTERM)
        said = begun.stderr.read()
    assert "stopped; the state is saved" in said
    assert load_state(tmp_path / "run" / STATE)["progress"]["step"] > 0


def test_numbers_of_a_process_follow_from_seed_step_and_rank():
    def drawn(rank, step):
        world = World(rank, 2)
        torch.manual_seed(5)
        world.begin_random(torch.device("cpu"))
        world.seed_step(step)
        own = torch.rand(4)
        with world.shared_random():
            return tuple(own.tolist()), tuple(torch.rand(4).tolist())

    assert drawn(0, 3) == drawn(0, 3)
    assert len({drawn(rank, step)[0] for rank in (0, 1) for step in (3, 4)}) == 4
    torch.manual_seed(5)
    alone = tuple(torch.rand(4).tolist())
    assert {drawn(rank, step)[1] for rank in (0, 1) for step in (3, 4)} == {alone}


@pytest.mark.parametrize("rows", [2, 3, 7, 32])
@pytest.mark.parametrize("size", [2, 3, 5])
def test_shares_neither_overlap_nor_leave_anything_out(rows, size):
    shards = [World(rank, size).shard(rows) for rank in range(size)]
    if rows < size:
        assert all(shard.rows == slice(None) for shard in shards)
        return
    assert [i for shard in shards for i in range(rows)[shard.rows]] == list(range(rows))
    counts = shards[0].counts
    assert max(counts) - min(counts) <= 1 and shards[0].total(counts[0]) == rows
    assert [i for world in (World(rank, size) for rank in range(size)) for i in world.mine(range(rows))] != []


PICTURES = """
import torch
from tests.nn.test_pictures import corpus_of, drawn
from uncollapse.nn.norms import BatchNorm
from uncollapse.nn.resnet import ResNetEncoder
from uncollapse.parallel import process_group

def means(world, rows):
    torch.manual_seed(0)
    encoder = ResNetEncoder(8, 2, channels=2, hidden=4).train()
    shard = world.shard(rows)
    for part in encoder.modules():
        part.joined = isinstance(part, BatchNorm) and bool(shard.counts)
    return encoder(corpus_of(drawn(rows, 8)).batch(range(rows)).part(shard)).posterior.mu.detach()

if __name__ == "__main__":
    with process_group() as world:
        for rows in (2, 3):
            torch.save(means(world, rows), f"{rows}-{world.rank}.pt")
"""


def test_a_process_with_a_single_picture_normalises_by_the_joined_batch(tmp_path):
    (tmp_path / "pictures.py").write_text(PICTURES)
    done = run([*TWO, "pictures.py"], tmp_path)
    assert not done.returncode, done.stderr
    namespace = {"__name__": "one"}
    exec(PICTURES, namespace)
    for rows in (2, 3):
        parts = [torch.load(tmp_path / f"{rows}-{rank}.pt") for rank in (0, 1)]
        assert len(parts[1]) == 1
        torch.testing.assert_close(torch.cat(parts), namespace["means"](World(), rows), rtol=1e-4, atol=1e-5)


def test_batch_normalisation_is_that_of_torch_and_a_single_row_has_no_variance(corpus):
    ours, theirs = BatchNorm(3), nn.BatchNorm1d(3)
    for _ in range(3):
        x = torch.randn(5, 3) * 4 + 1
        assert torch.equal(ours(x), theirs(x))
    assert torch.equal(ours.running_var, theirs.running_var)
    one = torch.randn(1, 3)
    assert torch.equal(ours(one), theirs.eval()(one))
