"""Commands that are killed at random moments lose nothing. `make knocks` strikes ten times as often, other commands and in other ways too."""

import importlib.util
import multiprocessing
import os
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "knocks.py"


def strike(folder, results):
    """Strike in a process of its own: commands run in its forks."""
    spec = importlib.util.spec_from_file_location("knocks", SCRIPT)

    knocks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(knocks)
    tallies = knocks.knock(20, Path(folder), seed=1, names=("train", "evaluate"))
    results.put({kind: (one.injected, one.survived, one.remarks) for kind, one in tallies.items()})


@pytest.mark.skipif(not hasattr(os, "fork"), reason="commands run in forks")
def test_commands_that_are_killed_end_as_undisturbed(tmp_path):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=strike, args=(str(tmp_path), results))
    process.start()
    tallies = results.get(timeout=900)
    process.join()
    assert sum(injected for kind, (injected, _, _) in tallies.items() if "SIGKILL" in kind) == 20
    for kind, (injected, survived, remarks) in tallies.items():
        assert injected == survived, (kind, remarks)
