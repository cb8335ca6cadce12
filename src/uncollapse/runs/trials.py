"""Many trainings: each is trained, unless it is finished, and measured; one after another, or several at a time."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, cast

import torch

from uncollapse.errors import TrainingError, UserError
from uncollapse.messages import Prefixed, say
from uncollapse.runs.folder import RunFolder
from uncollapse.runs.protocols import PROTOCOLS
from uncollapse.runs.run import Run, train
from uncollapse.training.callbacks import Callback
from uncollapse.training.guards import Interrupted, stop_requests
from uncollapse.training.progress import Update

Announce = Callable[[str], Sequence[Callback]]
"""From the name of a run to the callbacks of its training."""


@dataclass(frozen=True)
class Trial:
    """One training, and how it is measured.

    Attributes:
        path: the run folder.
        recipe: as in `train`.
        remedies: as in `train`.
        seed: of the training.
        settings: as in `train`.
        protocols: of `PROTOCOLS`, on the test split; those that do not fit the run are left out.
        iw_samples: K of the importance-weighted bound.
        iw_sentences: sentences that it is measured on, or None for all.
    """

    path: Path
    recipe: str
    remedies: tuple[str, ...]
    seed: int
    settings: Mapping[str, Mapping[str, Any]]
    protocols: tuple[str, ...] = ()
    iw_samples: int = 50
    iw_sentences: int | None = 500

    def run(self, callbacks: Sequence[Callback]) -> dict[str, Any]:
        """Train from where the run is, measure it on the test split, and return the numbers."""
        resume, sections = RunFolder(self.path).config_file.exists(), cast(dict[str, Any], self.settings)
        run = train(
            self.recipe, self.remedies, self.seed, out=self.path, resume=resume, callbacks=callbacks, **sections
        )
        return self.measured(run)

    def measured(self, run: Run) -> dict[str, Any]:
        """Return the numbers of the finished run; what is in its folder already is not measured again."""
        metrics = run.metrics.get("test", {})
        done, bound = metrics.get("protocol", {}), self.iw_samples if run.model.latent else min(self.iw_samples, 1)
        asked = (bound, self.iw_sentences, run.folder.fingerprint(), [*self.protocols])
        before = (
            metrics.get("iw_samples", 0),
            done.get("asked_sentences"),
            done.get("weights"),
            metrics.get("protocols", []),
        )
        if before == asked:
            return metrics
        subject = run.subject(run.splits()[0])
        numbers: dict[str, Any] = {"protocols": [*self.protocols]}
        for name in self.protocols:
            numbers |= run.by_protocol(name, subject) if PROTOCOLS[name].fits(subject) else {}
        return run.measure(subject, numbers, iw_samples=self.iw_samples, iw_sentences=self.iw_sentences).metrics


def run_trials(trials: Sequence[Trial], callbacks: Announce, jobs: int = 1) -> list[dict[str, Any]]:
    """Run every trial and return its numbers.

    Args:
        trials: what is trained; different folders.
        callbacks: from the name of a run to the callbacks of its training; a function of a module where there are several jobs.
        jobs: trainings at a time. Several are processes of their own, which share the threads of this one.

    Raises:
        UserError: a trial that cannot be run; the others are stopped, and go on where the same call is repeated.
        Interrupted: Ctrl-C or SIGTERM; likewise.
    """
    if jobs > 1 and len(trials) > 1:
        _run_apart(trials, callbacks, jobs)
        return [RunFolder(trial.path).metrics()["test"] for trial in trials]
    return [trial.run(callbacks(trial.path.name)) for trial in trials]


def _run_apart(trials: Sequence[Trial], callbacks: Announce, jobs: int) -> None:
    """Run every trial in a process of its own, so many at a time; their numbers are in their folders afterwards."""
    context, threads = multiprocessing.get_context("spawn"), max(1, torch.get_num_threads() // jobs)
    waiting, running, stop = list(trials), dict[SpawnProcess, Trial](), threading.Event()
    with stop_requests(stop):
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    trial = waiting.pop(0)
                    process = context.Process(target=_work, args=(trial, callbacks, threads, os.getpid()), daemon=True)
                    process.start()
                    running[process] = trial
                wait([process.sentinel for process in running], timeout=0.5)
                if stop.is_set():
                    raise Interrupted
                for process in [process for process in running if process.exitcode is not None]:
                    trial = running.pop(process)
                    if process.exitcode:
                        raise UserError(f"{trial.path}: ended with status {process.exitcode}; its message is above")
        finally:
            for process in running:
                process.terminate()  # it saves its state
            for process in running:
                process.join()


def _work(trial: Trial, callbacks: Announce, threads: int, parent: int) -> None:
    """Run a trial in a process of its own, every line on stderr with the name of the run before it."""
    torch.set_num_threads(threads)
    with redirect_stderr(Prefixed(sys.stderr, f"{trial.path.name}: ")):
        try:
            trial.run([*callbacks(trial.path.name), EndWithParent(parent)])
        except (UserError, TrainingError) as error:
            say(f"uncollapse: {error}")
            raise SystemExit(2 if isinstance(error, UserError) else 1) from None
        except (Interrupted, KeyboardInterrupt):
            raise SystemExit(130) from None


class EndWithParent(Callback):
    """Stops a training as SIGTERM does, its state saved, when the process that began it is gone."""

    def __init__(self, parent: int) -> None:
        self.parent = parent

    def on_step(self, trainer: Any, update: Update) -> None:
        """Look for the parent."""
        if os.getppid() != self.parent:
            signal.raise_signal(signal.SIGTERM)
