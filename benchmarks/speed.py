"""How fast is everything, and how far from what the machine's multiplications allow?

    python benchmarks/speed.py [--size ptb] [--text FILE] [--json]

Measures, at a size (toy and tense on what their recipes embed; ptb and yahoo need a text): training steps in bf16 and fp32, a
step of the encoder alone over a full step, the importance-weighted bound, greedy and beam decoding, the start of the program.
The floor of a time is the count of its operations over the rate of a large multiplication, measured in the same run; what is
printed is measured over floor. `benchmarks/reading.py` measures reading, `benchmarks/against_lagging.py` compares with a peer.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
from measure import RECIPES, Work, alternate, gemm_rate, machine, resident, trainer_of

from uncollapse.data.order import shuffled_batches
from uncollapse.evaluation.bounds import log_weights
from uncollapse.generation.decode import generate_ids
from uncollapse.generation.decoding import Decoding
from uncollapse.training.aggressive import LEAST_INNER_STEPS

SAMPLES = 100
CODES = 32


def steps(trainer, rounds):
    """Return the tokens per second of full and of inner steps, on the same batches, alternated."""
    corpus = trainer.splits.train
    order = shuffled_batches(corpus.lengths, trainer.batch_size, 0, epoch=0)

    def work(number, moves="all"):
        batches = [order[i % len(order)] for i in range(number * LEAST_INNER_STEPS, (number + 1) * LEAST_INNER_STEPS)]
        for index in batches:
            trainer.step(trainer.batch(index), moves)
        return int(sum(corpus.lengths[index].sum() for index in batches))

    return alternate({"full": work, "inner": lambda number: work(number, "encoder")}, rounds)


def bound(trainer, precision, rounds):
    """Return sampled tokens per second of the importance-weighted bound, for sentences of the median length."""
    corpus = trainer.splits.train
    middle = np.argsort(np.abs(corpus.lengths - np.median(corpus.lengths)), kind="stable")

    def work(number):
        log_weights(trainer.model, corpus, middle[2 * number : 2 * number + 2], samples=SAMPLES, precision=precision)
        return int(corpus.lengths[middle[2 * number : 2 * number + 2]].sum()) * SAMPLES

    return alternate({"bound": work}, rounds)["bound"]


def decoding(trainer, how, longest, rounds):
    """Return tokens per second (of every beam) that are written from codes of the prior, no sentence being allowed to end."""
    width = trainer.model.decoder.first_state.in_features
    z = torch.randn(CODES, width, generator=torch.Generator().manual_seed(0))
    # min_length keeps every sentence in the batch, so that the work is known
    strategy = Decoding(how, min_length=longest, max_length=longest, no_unknown=False)
    beams = strategy.beam_width if how == "beam" else 1

    def work(_):
        generate_ids(trainer.model, z, longest, decoding=strategy)
        return CODES * beams * longest

    return alternate({how: work}, rounds)[how]


def start(rounds):
    """Return how many seconds `uncollapse --help` takes."""
    result = []
    for _ in range(rounds):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "uncollapse", "--help"], check=True, capture_output=True)
        result.append(time.perf_counter() - began)
    return statistics.median(result)


def report(asked):
    """Measure everything; return the result."""
    result = {"size": asked.size, "recipe": RECIPES[asked.size], "machine": machine(), "rounds": asked.rounds}
    rates = {"fp32": gemm_rate(torch.float32), "bf16": gemm_rate(torch.bfloat16)}
    result["gemm_gflops"] = {name: value / 1e9 for name, value in rates.items()}
    for precision, rate in rates.items():
        with tempfile.TemporaryDirectory() as folder:
            trainer = trainer_of(asked.size, asked.text, folder, precision)
            work, outcome = Work.of(trainer.model), {}
            speeds = steps(trainer, asked.rounds)
            full, inner = (statistics.median(speeds[name]) for name in ("full", "inner"))
            outcome["train_tokens_per_second"], outcome["train_over_floor"] = full, rate / work.step / full
            outcome["inner_over_full"] = full / inner
            trainer.model.eval()
            if not trainer.model.condition:
                speed = statistics.median(bound(trainer, precision, asked.rounds))
                outcome["bound_sampled_tokens_per_second"] = speed
                outcome["bound_over_floor"] = rate / work.sample / speed
            if precision == "fp32" and not trainer.model.condition:
                for how in ("greedy", "beam"):
                    speed = statistics.median(decoding(trainer, how, 20, asked.rounds))
                    outcome[f"{how}_tokens_per_second"] = speed
                    outcome[f"{how}_over_floor"] = rate / (work.decoder + work.output) / speed
            result[precision] = outcome
    result["start_seconds"], result["peak_mib"] = start(asked.rounds), resident()
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=list(RECIPES), default="toy")
    parser.add_argument("--text", default="", help="a sentence a line (for tense: rows of forms)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    print(json.dumps(report(asked), indent=None if asked.json else 2))


if __name__ == "__main__":
    main()
