"""Where trials run: here, in several processes of this machine, or on a cluster.

An executor takes trials one by one, the next when there is room for it, and yields each with its numbers when it has ended. So a
trial may depend on those that have ended.
"""

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import torch

from uncollapse.errors import TrainingError, UserError
from uncollapse.messages import Prefixed, say, spell_time
from uncollapse.runs.folder import RunFolder
from uncollapse.runs.trials import Announce, Trial
from uncollapse.training.callbacks import Callback
from uncollapse.training.guards import Interrupted, stop_requests
from uncollapse.training.progress import Update

Ended = Iterator[tuple[Trial, dict[str, Any]]]
"""Trials that have ended, each with its numbers."""


class Executor(ABC):
    """Runs trials.

    Attributes:
        alone: whether one trial runs at a time, in this process.
    """

    alone = False

    @abstractmethod
    def run(self, trials: Iterable[Trial], callbacks: Announce) -> Ended:
        """Run every trial and yield it with its numbers, in the order in which they end.

        A trial goes on from where its folder is; one that has ended is only read.

        Args:
            trials: different folders.
            callbacks: from the name of a run to the callbacks of its training; where trials run in other processes, a function of
                a module.

        Raises:
            UserError: a trial that cannot be run; the others are stopped, and go on where the same call is repeated.
            Interrupted: Ctrl-C or SIGTERM; likewise.
        """


class Here(Executor):
    """One trial after another in this process."""

    alone = True

    def run(self, trials: Iterable[Trial], callbacks: Announce) -> Ended:
        """Run every trial."""
        for trial in trials:
            yield trial, trial.run(callbacks)


HERE = Here()


@dataclass(frozen=True)
class Processes(Executor):
    """Several trials at a time, each in a process of its own, which share the threads of this one.

    Attributes:
        jobs: at a time.
    """

    jobs: int

    def run(self, trials: Iterable[Trial], callbacks: Announce) -> Ended:
        """Run every trial."""
        context, threads = multiprocessing.get_context("spawn"), max(1, torch.get_num_threads() // self.jobs)
        waiting, running, stop = iter(trials), dict[SpawnProcess, Trial](), threading.Event()
        with stop_requests(stop):
            try:
                while True:
                    for trial in islice(waiting, self.jobs - len(running)):
                        arguments = (trial, callbacks, threads, os.getpid())
                        process = context.Process(target=_work, args=arguments, daemon=True)
                        process.start()
                        running[process] = trial
                    if not running:
                        return
                    wait([process.sentinel for process in running], timeout=0.5)
                    if stop.is_set():
                        raise Interrupted
                    for process in [process for process in running if process.exitcode is not None]:
                        trial = running.pop(process)
                        if process.exitcode:
                            raise UserError(f"{trial.path}: ended with status {process.exitcode}; its message is above")
                        yield trial, RunFolder(trial.path).metrics()[trial.split]
            finally:
                for process in running:
                    process.terminate()  # it saves its state
                for process in running:
                    process.join()


@dataclass(frozen=True)
class Ray(Executor):
    """Trials on a Ray cluster, as many at a time as it has CPUs (or GPUs, where it has any).

    Workers may come and go: where one is killed, its trial goes on from its last checkpoint on another. All machines must see the
    run folders under the same paths.

    Attributes:
        address: of the cluster, such as `auto` or `ray://HOST:10001`; empty for one of this machine's cores.
    """

    address: str = ""

    def run(self, trials: Iterable[Trial], callbacks: Announce) -> Ended:
        """Run every trial."""
        os.environ.setdefault("RAY_DEDUP_LOGS", "0")  # every epoch of every run
        try:
            import ray
        except ImportError:
            raise UserError("--executor ray: expected the package ray; pip install 'uncollapse[ray]'") from None
        if not ray.is_initialized():
            ray.init(address=self.address or None, log_to_driver=True, logging_level=logging.ERROR)
        resources, gpus = ray.cluster_resources(), int(ray.cluster_resources().get("GPU", 0))
        work = ray.remote(_work_remotely).options(num_cpus=1, num_gpus=1 if gpus else 0, max_retries=-1)
        waiting, running = iter(trials), dict[Any, Trial]()
        try:
            while True:
                for trial in islice(waiting, (gpus or int(resources["CPU"])) - len(running)):
                    running[work.remote(trial, callbacks, Path.cwd())] = trial
                if not running:
                    return
                (ended,), _ = ray.wait(list(running), num_returns=1)
                trial = running.pop(ended)
                try:
                    yield trial, ray.get(ended)
                except ray.exceptions.RayTaskError as error:
                    raise UserError(f"{trial.path}: {error.cause}") from None
        finally:
            for task in running:
                ray.cancel(task)


def executor_of(name: str, jobs: int = 1) -> Executor:
    """Return the executor of the options `--executor NAME` and `--jobs N`.

    Raises:
        UserError: an unknown name.
    """
    kind, _, address = name.partition(":")
    if kind not in ("", "ray"):
        raise UserError(f"--executor: expected ray or ray:ADDRESS, got {name!r}; --jobs N is for this machine")
    if kind == "ray":
        return Ray(address)
    return Processes(jobs) if jobs > 1 else HERE


def run_trials(trials: list[Trial], callbacks: Announce, executor: Executor) -> list[dict[str, Any]]:
    """Run every trial and return its numbers, in the order of the trials; after each, say how long the others will take."""
    waiting, began = {trial.path for trial in trials if not RunFolder(trial.path).metrics()}, time.monotonic()
    numbers: dict[Path, dict[str, Any]] = {}
    for trial, values in executor.run(trials, callbacks):
        numbers[trial.path] = values
        rest = waiting - set(numbers)
        if trial.path in waiting and rest:
            left = (time.monotonic() - began) / (len(waiting) - len(rest)) * len(rest)
            say(
                f"{len(trials) - len(rest)} of {len(trials)} trainings done, about {spell_time(left)} left for the others"
            )
    return [numbers[trial.path] for trial in trials]


def budget_of(trial: Trial, callbacks: Announce, executor: Executor) -> dict[str, Any]:
    """Run a trial whose length is left open; return the length that it has chosen, as settings: the budget of others."""
    run_trials([trial], callbacks, executor)
    chosen = RunFolder(trial.path).origin().config.train
    return {"train": {"epochs": chosen.epochs, "steps_per_epoch": chosen.steps_per_epoch}}


def _work(trial: Trial, callbacks: Announce, threads: int, parent: int) -> None:
    """Run a trial in a process of its own, every line on stderr with the name of the run before it."""
    torch.set_num_threads(threads)
    with redirect_stderr(Prefixed(sys.stderr, f"{trial.path.name}: ")):
        try:
            trial.run(lambda name: [*callbacks(name), EndWithParent(parent)])
        except (UserError, TrainingError) as error:
            say(f"uncollapse: {error}")
            raise SystemExit(2 if isinstance(error, UserError) else 1) from None
        except (Interrupted, KeyboardInterrupt):
            raise SystemExit(130) from None


def _work_remotely(trial: Trial, callbacks: Announce, folder: Path) -> dict[str, Any]:
    """Run a trial in a worker of a cluster, in the folder that paths are relative to."""
    os.chdir(folder)
    torch.set_num_threads(1)
    with redirect_stderr(Prefixed(sys.stderr, f"{trial.path.name}: ")):
        return trial.run(callbacks)


class EndWithParent(Callback):
    """Stops a training as SIGTERM does, its state saved, when the process that began it is gone."""

    def __init__(self, parent: int) -> None:
        self.parent = parent

    def on_step(self, trainer: Any, update: Update) -> None:
        """Look for the parent."""
        if os.getppid() != self.parent:
            signal.raise_signal(signal.SIGTERM)
