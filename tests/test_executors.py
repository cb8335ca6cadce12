"""Where trials run. The numbers are those of one trial after another, whatever is killed."""

import os
import signal
import subprocess
import threading
import time

import pytest

from tests.conftest import TINY
from uncollapse.errors import UserError
from uncollapse.runs.bench import bench
from uncollapse.runs.config import merge
from uncollapse.runs.executors import HERE, Here, Processes, Ray, executor_of

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
