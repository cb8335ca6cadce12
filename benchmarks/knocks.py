"""Hard knocks: commands are killed at random moments, stopped, robbed of their disk or folder, and begun again.

    python benchmarks/knocks.py --kills 200 --write docs/reliability.md

Every fault is followed by the same command, undisturbed; its results must be byte for byte those of a command that nobody
disturbed (times of the clock apart). Each command runs in a fork of this process, so that a knock costs no start of Python.
"""

import argparse
import io
import json
import os
import platform
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

import uncollapse
from uncollapse.cli import main
from uncollapse.data.grammar import english
from uncollapse.training.states import load_state

TEXT = Path(tempfile.gettempdir()) / f"knocks-{os.getpid()}.txt"
SIZES = "--data.level word --encoder.hidden 12 --decoder.hidden 12 --encoder.emb 8 --decoder.emb 8 --model.latent 4"
TRAIN = ["--data.path", str(TEXT), *SIZES.split(), "--train.epochs", "3", "--train.batch_size", "8"]
TRAIN += ["--train.checkpoint_minutes", "0.0005", "--train.device", "cpu"]
COMMANDS = {
    "train": lambda run: ["train", *TRAIN, "--out", str(run)],
    "evaluate": lambda run: ["evaluate", str(run), "--iw-samples", "5", "--iw-sentences", "100"],
    "bench": lambda run: [
        "bench",
        *TRAIN,
        "--remedies",
        "vanilla,bn",
        "--iw-samples",
        "2",
        "--no-report",
        "--out",
        str(run),
    ],
    "samples": lambda run: ["samples", str(run), "-n", "100", "--epochs", "1"],
}
"""From a folder to the arguments of a command that writes into it; `evaluate` and `samples` begin with a trained run."""


@dataclass
class Tally:
    """What became of the faults of one kind.

    Attributes:
        injected: faults.
        survived: those after which the same command ended as undisturbed.
        remarks: what went wrong.
    """

    injected: int = 0
    survived: int = 0
    remarks: list[str] = field(default_factory=list)

    def count(self, wrong: str) -> None:
        """Count a fault; `wrong` says what was lost, or nothing."""
        self.injected += 1
        self.survived += not wrong
        self.remarks += [wrong] if wrong else []


def begin(arguments: list[str], prepare: Callable[[], None] = lambda: None, log: Path = Path(os.devnull)) -> int:
    """Run a command in a fork; return its process."""
    process = os.fork()
    if process:
        return process
    with log.open("w") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        prepare()
        status = 99
        try:
            status = main(arguments)
        except BaseException:
            traceback.print_exc()
        finally:
            with suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)


def end(process: int) -> int:
    """Wait for a process; return its status, negative where a signal ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def again(name: str, run: Path) -> list[str]:
    """Return the command that goes on after a fault."""
    resumes = name == "train" and (run / "config.yaml").exists()
    return [*COMMANDS[name](run), *(["--resume"] if resumes else [])]


def results(folder: Path) -> dict[str, object]:
    """Return what a command has written, by file, without the times of the clock."""

    def timeless(value: object) -> object:
        if isinstance(value, dict):
            return {key: timeless(each) for key, each in value.items() if key not in ("seconds", "share")}
        return [timeless(each) for each in value] if isinstance(value, list) else value

    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if not path.is_file() or path.name in (".lock", "report.html") or "cache" in path.parts:
            continue
        if path.suffix in (".json", ".jsonl"):
            lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
            found[name] = [timeless(json.loads(line)) for line in lines]
        elif path.name == "last.pt":
            state = load_state(path)
            found[name] = {key: value.numpy().tobytes() for key, value in state["model"].items()}
        else:
            found[name] = path.read_bytes()
    return found


def differences(one: dict[str, object], other: dict[str, object]) -> str:
    """Return the files that differ."""
    return ", ".join(sorted(name for name in {*one, *other} if one.get(name) != other.get(name)))


class Knocks:
    """All faults, in a folder for their runs."""

    def __init__(self, folder: Path, seed: int = 0, names: Sequence[str] = tuple(COMMANDS)) -> None:
        self.folder, self.random = folder, random.Random(seed)
        self.tallies: dict[str, Tally] = {}
        TEXT.write_text("\n".join(english().sample(240, np.random.default_rng(0))[0]) + "\n")
        self.trained, self.seconds = folder / "trained", dict[str, float]()
        self.undisturbed: dict[str, dict[str, object]] = {}
        for name in names:  # in this process, so that what they import is in every fork
            run = self.trained if name == "train" else self.fresh(name)
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                assert main(COMMANDS[name](run)) == 0, name
            self.undisturbed[name] = results(run)
        for name in names:
            run, began = self.fresh(name), time.monotonic()
            assert end(begin(COMMANDS[name](run))) == 0, name
            self.seconds[name] = time.monotonic() - began
            assert not differences(results(run), self.undisturbed[name]), name

    def fresh(self, name: str) -> Path:
        """Return a folder for a command: a trained run, or nothing."""
        run = self.folder / "run"
        shutil.rmtree(run, ignore_errors=True)
        if name in ("evaluate", "samples"):
            shutil.copytree(self.trained, run)
        return run

    def check(self, kind: str, name: str, run: Path, wrong: str = "") -> None:
        """Run the same command again and compare."""
        tally, log = self.tallies.setdefault(kind, Tally()), self.folder / "again.txt"
        status = end(begin(again(name, run), log=log))
        wrong = wrong or (f"{name}: status {status}: {log.read_text()[-300:]}" if status else "")
        wrong = wrong or differences(results(run), self.undisturbed[name])
        tally.count(wrong and f"{name}: {wrong}")

    def kill(self, name: str, number: signal.Signals) -> None:
        """Send a signal at a random moment."""
        run, log = self.fresh(name), self.folder / "log.txt"
        process = begin(COMMANDS[name](run), log=log)
        time.sleep(self.random.uniform(0, 1.1 * self.seconds[name]))
        with suppress(ProcessLookupError):
            os.kill(process, number)
        status, wrong = end(process), ""
        if number != signal.SIGKILL and (status not in (0, 130) or "Traceback" in log.read_text()):
            wrong = f"status {status} after {number.name}: {log.read_text()[-300:]}"
        self.check(f"{number.name}, {name}", name, run, wrong)

    def one_line(self, kind: str, process: int, log: Path, statuses: tuple[int, ...]) -> str:
        """Return what is wrong with the end of a command that cannot go on: it should say so in one line."""
        status, said = end(process), log.read_text()
        if status in statuses and "Traceback" not in said and (not status or "uncollapse: " in said):
            return ""
        return f"{kind}: status {status}: {said[-400:]}"

    def full_disk(self, kilobytes: int) -> None:
        """Train on a disk with so little room; then give it more."""
        disk = self.folder / "disk"
        disk.mkdir(exist_ok=True)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(disk)]
        if subprocess.run(mount, check=False, capture_output=True).returncode:
            return  # not allowed here
        try:
            run, log = disk / "run", self.folder / "log.txt"
            wrong = self.one_line("disk full", begin(COMMANDS["train"](run), log=log), log, (0, 1, 2))
            subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
            self.check("disk full", "train", run, wrong)
        finally:
            subprocess.run(["umount", str(disk)], check=True)

    def read_only(self) -> None:
        """Train on a disk that becomes read-only at a random moment; then make it writable."""
        disk = self.folder / "disk"
        disk.mkdir(exist_ok=True)
        if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(disk)], check=False, capture_output=True).returncode:
            return
        try:
            run, log = disk / "run", self.folder / "log.txt"
            process = begin(COMMANDS["train"](run), log=log)
            time.sleep(self.random.uniform(0, self.seconds["train"]))
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=False, capture_output=True)
            wrong = self.one_line("read-only", process, log, (0, 1, 2))
            subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
            self.check("disk becomes read-only", "train", run, wrong)
        finally:
            subprocess.run(["umount", str(disk)], check=True)

    def removed(self) -> None:
        """Remove the folder of a run at a random moment."""
        run, log = self.fresh("train"), self.folder / "log.txt"
        process = begin(COMMANDS["train"](run), log=log)
        time.sleep(self.random.uniform(0, self.seconds["train"]))
        shutil.rmtree(run, ignore_errors=True)
        wrong = self.one_line("removed", process, log, (0, 1, 2))
        shutil.rmtree(run, ignore_errors=True)
        self.check("folder removed", "train", run, wrong)

    def two_at_a_time(self) -> None:
        """Run the same command twice at a time: one is refused, or both have the results of one."""
        run, log = self.fresh("train"), self.folder / "log.txt"
        first = begin(COMMANDS["train"](run))
        time.sleep(self.random.uniform(0, self.seconds["train"]))
        wrong = self.one_line("second process", begin(COMMANDS["train"](run), log=log), log, (0, 2))
        status = end(first)
        self.check(
            "two processes in one folder",
            "train",
            run,
            wrong or (f"the first: {status}" if status not in (0, 2) else ""),
        )

    def clock(self) -> None:
        """Train while the clock of the machine runs backwards."""

        def backwards() -> None:
            began = time.time()
            time.time = lambda: began - 1000 * time.monotonic()  # type: ignore[assignment]

        run, log = self.fresh("train"), self.folder / "log.txt"
        wrong = self.one_line("clock", begin(COMMANDS["train"](run), backwards, log), log, (0,))
        self.check("clock goes back", "train", run, wrong)

    def memory(self) -> None:
        """Let the memory end in a training (where a library of C cannot go on, the process dies of it); then give more."""

        def little() -> None:
            now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            limit = now + 2**20 * self.random.randint(1, 60)
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

        run, log = self.fresh("train"), self.folder / "log.txt"
        wrong = self.one_line("memory", begin(COMMANDS["train"](run), little, log), log, (0, 1, 2, -6, -9, -11))
        self.check("out of memory", "train", run, wrong)


def knock(
    kills: int, folder: Path, seed: int = 0, *, others: int = 0, names: Sequence[str] = tuple(COMMANDS)
) -> dict[str, Tally]:
    """Inject faults; return what became of them, by kind.

    Args:
        kills: SIGKILL at random moments, over all commands.
        folder: for the runs.
        seed: of the moments.
        others: faults of each other kind.
        names: of the commands.
    """
    torch.set_num_threads(1)
    knocks = Knocks(folder, seed, names)
    print({name: round(seconds, 1) for name, seconds in knocks.seconds.items()}, "seconds of the commands, undisturbed")
    for i in range(kills):
        knocks.kill(names[i % len(names)], signal.SIGKILL)
    for i in range(others):
        for number in (signal.SIGTERM, signal.SIGINT):
            knocks.kill(names[i % len(names)], number)
        knocks.full_disk(20 + 40 * i)
        for fault in (knocks.read_only, knocks.removed, knocks.two_at_a_time, knocks.clock, knocks.memory):
            fault()
    TEXT.unlink()
    return knocks.tallies


PAGE = """# Reliability

Written by `make knocks` (`benchmarks/knocks.py`): {made}.

Each fault strikes at a random moment of a command (`train`, `evaluate`, `bench`, `samples`, on 240 sentences of the grammar).
Then the same command runs again, undisturbed (`train` with `--resume` where a run had begun). *Survived*: its files are byte for
byte those of a command that nobody disturbed, times of the clock apart, and a command that could not go on had said so in one
line, with the right status. *Lost*: anything else.

| fault | injected | survived | lost |
|---|---|---|---|
{rows}

The test suite injects twenty kills each time (`tests/test_knocks.py`), and holds what chance seldom meets: a kill between any two
files of a beginning run, damaged files of every kind, folders of older versions.

## What random inputs have found

`tests/fuzz` gives each reader random and damaged inputs: a thousand in the test suite, a hundred thousand in `make slow`. This
ended in a traceback, a hang or unbounded memory once; it is refused in one line since, and the inputs are kept in the tests.

| reader | input | was |
|---|---|---|
| recipes, remedies, studies | aliases of aliases; hundreds of open brackets | all memory; recursion |
| | `!!timestamp x`, `!!binary`, `=`, a lone surrogate | traceback |
| settings | names or kinds that are no text, numbers of hundreds of digits | traceback |
| schedules | thousands of nested `join(`, `1e308 epochs`, a step decay that grows | recursion; infinite weights |
| names and commands | a NUL, a path longer than the system allows | traceback |
| messages | names with line breaks, or of thousands of letters | many lines |
| objects, tables | 60,000 different names | a hang |
| pictures | an array or tensor that claims more than its file holds | terabytes asked for |
| | PostScript under the name `.png` | would have been given to Ghostscript |
| | rows that are no square, a damaged zip | traceback |
| | a damaged `.mat`: scipy's reader, in C | segmentation fault, bus error (read by code of our own since) |
| codes | whatever a damaged `.npz` makes numpy or zlib raise | traceback |
| checkpoints | expanded, sparse or scalar tensors | all memory; traceback |
| JSON of a run folder | integers of thousands of digits | traceback |
| | missing, null or text where a number is expected | traceback in `compare`, `doctor`, `losses` |
| the state of a training | a number, list or text of another kind | traceback after `--resume` |
| `prior.safetensors` | weights below zero, other types | traceback |
| `posterior-mean-space.jsonl` | records of different length | traceback |
| settings of version 1 | an encoder or target of another type | traceback |
| kept weights | a file whose name begins with a number and goes on otherwise | traceback |
| the cache of sentences | a file that was cut short | traceback |
"""


def page(tallies: dict[str, Tally], seed: int) -> str:
    """Return the page of docs."""
    versions = f"uncollapse {uncollapse.__version__}, torch {torch.__version__}, Python {platform.python_version()}"
    counts = {kind: (one.injected, one.survived) for kind, one in sorted(tallies.items())}
    counts["**all**"] = tuple(map(sum, zip(*counts.values(), strict=True)))
    rows = [f"| {kind} | {struck} | {lived} | {struck - lived} |" for kind, (struck, lived) in counts.items()]
    return PAGE.format(made=f"{versions}, seed {seed}", rows="\n".join(rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--others", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        found = knock(asked.kills, Path(temporary), asked.seed, others=asked.others)
    for kind, one in sorted(found.items()):
        print(f"{kind:<30} {one.injected:>4} injected {one.survived:>4} survived", *one.remarks, sep="\n    ")
    if asked.write:
        asked.write.write_text(page(found, asked.seed))
    sys.exit(any(one.remarks for one in found.values()))
