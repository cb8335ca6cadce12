"""How fast is a large text read, and what does it hold?

    python benchmarks/reading.py [--sentences 10000000] [--folder DIR]

Sentences are drawn from the embedded grammar and written to a file; then a new process reads it as `uncollapse train` does: it
counts the words, splits validation and test off, encodes everything into the cache of a run folder, draws the batches of an
epoch and puts 1,000 of them together. Then another process does the same and finds the cache. One core is used.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import after_torch, resident

from uncollapse.data.order import shuffled_batches
from uncollapse.data.splits import EMBEDDED
from uncollapse.runs.builders.data import build_splits
from uncollapse.runs.compose import compose
from uncollapse.runs.folder import RunFolder

PIECE = 100_000
"""Sentences that are drawn at a time."""


def write(path, sentences):
    """Write so many sentences of the grammar."""
    with path.open("w") as file:
        for seed in range(-(-sentences // PIECE)):
            for text in EMBEDDED["grammar"](seed, min(PIECE, sentences - seed * PIECE))["train"].texts:
                print(text, file=file)


def read(path, run):
    """Read the file, as a training does; print what it took."""
    config = compose("default", (), {"data": {"path": str(path)}})
    began = time.perf_counter()
    splits = build_splits(config.data, cache=RunFolder(Path(run)).cache)
    middle = time.perf_counter()
    order = shuffled_batches(splits.train.lengths, 32, 1, epoch=0)
    for index in order[:1000]:
        splits.train.batch(index)
    tokens = sum(splits[part].predicted for part in ("train", "valid", "test"))
    ended = time.perf_counter()
    print(
        json.dumps(
            {
                "sentences": sum(len(splits[part]) for part in ("train", "valid", "test")),
                "tokens": tokens,
                "reading_seconds": middle - began,
                "tokens_per_second": tokens / (middle - began),
                "batches_seconds": ended - middle,
                "resident_mib": resident() - after_torch,
                "held": type(splits.train.flat).__name__,
            }
        )
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, default=10_000_000)
    parser.add_argument("--folder", default="", help="where file and cache lie; a temporary folder by default")
    parser.add_argument("--read", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.read:
        read(Path(asked.read), asked.folder)
        return
    with tempfile.TemporaryDirectory(dir=asked.folder or None) as folder:
        path = Path(folder) / "grammar.txt"
        began = time.perf_counter()
        write(path, asked.sentences)
        size = path.stat().st_size / 2**20
        print(f"{asked.sentences:,} sentences written in {time.perf_counter() - began:.0f} s, {size:,.0f} MiB")
        for state in ("no cache", "cache"):
            command = [sys.executable, __file__, "--read", str(path), "--folder", f"{folder}/run"]
            print(state, subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())


if __name__ == "__main__":
    main()
