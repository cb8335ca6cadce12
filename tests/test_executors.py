"""Where trials run. The numbers are those of one trial after another, whatever is killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.conftest import TINY
from uncollapse.errors import UserError
from uncollapse.runs.bench import bench
from uncollapse.runs.config import flatten, merge
from uncollapse.runs.executors import HERE, Here, Processes, Ray, executor_of, run_trials
from uncollapse.runs.folder import MEASURED, RunFolder

REMEDIES = ["vanilla", "annealed", "bn", "kl-target", "free-bits", "mmd", "twr", "lm"]


def quiet(name):
    return []


def numbers(results):
    return [(one.remedy, one.states, {**one.values, "seconds": 0}) for one in results]


def test_options_name_an_executor():
    assert isinstance(executor_of(""), Here) and executor_of("", 3) == Processes(3)
    assert executor_of("ray:auto", 2) == Ray("auto") and executor_of("ray") == Ray()
    with pytest.raises(UserError, match="expected ray or ray:ADDRESS"):
        executor_of("slurm")


def test_the_next_trial_is_asked_for_when_there_is_room():
    class Named:
        def __init__(self, name):
            self.path, self.name = type("Path", (), {"name": name})(), name

        def run(self, callbacks):
            return {"name": self.name}

    asked = []

    def trials():
        for name in "abc":
            asked.append(name)
            yield Named(name)

    for trial, values in HERE.run(trials(), quiet):
        assert values["name"] == trial.name == asked[-1]


def test_the_time_left_is_that_of_the_trainings_that_are_not_finished(tmp_path, monkeypatch, capsys):
    """One of four was finished before; each of the others takes 100 s."""
    now, paths = [0.0], [tmp_path / name for name in "abcd"]
    monkeypatch.setattr("uncollapse.runs.executors.time.monotonic", lambda: now[0])
    paths[0].mkdir()
    (paths[0] / "metrics.json").write_text(json.dumps({"test": dict.fromkeys(MEASURED, 1)}))

    class Timed:
        def __init__(self, path):
            self.path = path

        def run(self, callbacks):
            now[0] += 0 if self.path == paths[0] else 100
            return {"name": self.path.name}

    numbers = run_trials([Timed(path) for path in paths], quiet, HERE)
    assert [one["name"] for one in numbers] == list("abcd")
    assert capsys.readouterr().err.splitlines() == [
        "2 of 4 trainings done, about 3 min left for the others",
        "3 of 4 trainings done, about 2 min left for the others",
    ]


@pytest.mark.slow
def test_a_cluster_whose_workers_are_killed_gives_the_table_of_one_process(tmp_path):
    ray = pytest.importorskip("ray")
    settings = merge(TINY, {"train": {"epochs": 20, "checkpoint_minutes": 0.005}})
    options = {"seeds": 2, "settings": settings, "callbacks": quiet, "iw_samples": 3, "iw_sentences": 20}
    killed, stop = [], threading.Event()

    def kill_workers():
        while not stop.wait(5.0) and len(killed) < 4:
            found = subprocess.run(["pgrep", "-f", "ray::_work_remotely"], capture_output=True, text=True, check=False)
            for process in found.stdout.split()[:1]:
                os.kill(int(process), signal.SIGKILL)
                killed.append(time.monotonic())

    ray.init(num_cpus=2, log_to_driver=False)
    killer = threading.Thread(target=kill_workers)
    killer.start()
    try:
        there = bench(tmp_path / "ray", "grammar", REMEDIES, executor=Ray(), **options)
    finally:
        stop.set()
        killer.join()
        ray.shutdown()
    assert killed
    assert numbers(there) == numbers(bench(tmp_path / "here", "grammar", REMEDIES, **options))
    assert len(list((tmp_path / "ray").iterdir())) == 16


@pytest.mark.slow
def test_after_its_head_was_restarted_the_same_command_goes_on(tmp_path):
    pytest.importorskip("ray")
    ray, port = Path(sys.executable).parent / "ray", 6399
    begin = [ray, *f"start --head --num-cpus=2 --port={port} --include-dashboard=false --disable-usage-stats".split()]
    flags = "--iw-samples 3 --train.epochs 20 --train.checkpoint_minutes 0.005".split()
    flags += [part for key, value in flatten(TINY) if key != "train.epochs" for part in (f"--{key}", str(value))]
    command = [sys.executable, *"-m uncollapse bench --recipe grammar --remedies".split(), ",".join(REMEDIES), *flags]
    there = [*command, "--executor", f"ray:127.0.0.1:{port}", "--out", tmp_path / "ray"]
    soon = {**os.environ, "RAY_gcs_rpc_server_reconnect_timeout_s": "5"}
    quietly = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}

    def ended(folder):
        return {file.parent.name: RunFolder(file.parent) for file in (tmp_path / folder).glob("*/metrics.json")}

    try:
        subprocess.run(begin, check=True, **quietly)
        first = subprocess.Popen(there, env=soon, **quietly)
        while len(ended("ray")) < 2:
            assert first.poll() is None
            time.sleep(0.1)
        subprocess.run([ray, "stop", "--force"], check=True, **quietly)
        assert first.wait() == 1  # Ray itself ends it
        before = {name: run.log() for name, run in ended("ray").items()}
        assert 2 <= len(before) < len(REMEDIES)
        subprocess.run(begin, check=True, **quietly)
        subprocess.run(there, check=True, **quietly)
    finally:
        subprocess.run([ray, "stop", "--force"], check=True, **quietly)
    runs = ended("ray")
    assert {name: runs[name].log() for name in before} == before  # finished runs are not trained again
    subprocess.run([*command, "--out", tmp_path / "here"], check=True, **quietly)
    names = ("nll_elbo", "nll_iw", "rate", "mi", "accuracy")
    here, ray_ = (
        {name: [run.metrics()["test"][key] for key in names] for name, run in ended(folder).items()}
        for folder in ("here", "ray")
    )
    assert here == ray_ and len(here) == len(REMEDIES)
