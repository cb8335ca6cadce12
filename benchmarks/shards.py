"""A corpus of many files: how fast it is read, and how much memory a training on it takes.

    python benchmarks/shards.py FOLDER --millions 20

Writes shards of a million sentences of the grammar each (words drawn anew, so that hardly two are alike), reads them as
`--data.path 'FOLDER/*.txt.gz'` would, and takes some hundred batches of an epoch.
"""

import argparse
import gzip
import resource
import time
from pathlib import Path

import numpy as np

from uncollapse.data.grammar import english
from uncollapse.data.reading import lines_of
from uncollapse.data.settings import DataConfig
from uncollapse.runs.builders.data import build_splits
from uncollapse.training.batches import batches_of

SHARD = 1_000_000


def write(folder: Path, number: int) -> None:
    """Write one shard: sentences of the grammar, each with a number of five digits at its end."""
    path = folder / f"{number:05d}.txt.gz"
    if path.exists():
        return
    random = np.random.default_rng(number)
    few, _ = english().sample(SHARD // 10, random)
    ends = random.integers(0, 10**5, (10, len(few)))
    with gzip.open(path, "wt", compresslevel=1) as file:
        for row in ends:
            file.writelines(f"{text} {end}\n" for text, end in zip(few, row.tolist(), strict=True))


def resident() -> tuple[float, float]:
    """Return the memory of this process, and the part of it that is no mapped file, in GiB."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return tuple(int(status[name].split()[0]) / 2**20 for name in ("VmRSS", "RssAnon"))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--millions", type=int, default=20)
    parser.add_argument("--batches", type=int, default=2000)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    for number in range(asked.millions):
        write(asked.folder, number)
    began = time.perf_counter()
    count = sum(1 for _ in lines_of(asked.folder / "00000.txt.gz"))
    floor = count / (time.perf_counter() - began)
    print(f"reading one shard: {floor:,.0f} sentences a second")
    config = DataConfig(path=str(asked.folder / "*.txt.gz"), level="word", max_vocab=10_000)
    for when in ("encoding", "read again"):
        began = time.perf_counter()
        splits = build_splits(config, cache=asked.folder / "cache")
        seconds = time.perf_counter() - began
        total = len(splits.train) + len(splits.valid) + len(splits.test)
        memory = "resident {:.2f} GiB, of it {:.2f} no mapped file".format(*resident())
        print(f"{when}: {seconds:.0f} s, {total / seconds:,.0f} sentences a second; {memory}")
    every = batches_of(splits.train, 32, 1)
    for epoch in range(2):
        began = time.perf_counter()
        batches = every(epoch)
        print(f"epoch {epoch + 1}: {len(batches):,} batches, its order in {time.perf_counter() - began:.1f} s")
        for part in range(4):
            began, first = time.perf_counter(), part * len(batches) // 4
            for i in range(first, first + asked.batches):
                batches[i]
            rate = 32 * asked.batches / (time.perf_counter() - began)
            memory = "resident {:.2f} GiB, of it {:.2f} no mapped file".format(*resident())
            print(f"  from batch {first:,}: {rate:,.0f} sentences a second; {memory}")
    print(f"most memory so far: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
