"""What the benchmarks share: the sizes, the count of operations, the rate of the machine's multiplications, alternation."""

import platform
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch


def resident():
    """Return the peak resident size of this process, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()  # getrusage counts the parent, too
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


after_torch = resident()
"""What it was when torch had been imported, and nothing else."""

from uncollapse.data.labels import LabelSpace
from uncollapse.data.order import shuffled_batches
from uncollapse.runs.builders.data import build_splits
from uncollapse.runs.builders.model import build_model
from uncollapse.runs.builders.objective import build_objective
from uncollapse.runs.compose import compose
from uncollapse.runs.job import Job
from uncollapse.torch_private import linear, onednn

RECIPES = {"toy": "synthetic", "ptb": "ptb", "ptb256": "ptb", "yahoo": "yahoo", "tense": "tense"}
"""The recipe that each size is that of."""

WIDTHS = {"ptb": {"encoder": {"emb": 512}, "decoder": {"emb": 512}}}
"""Where a size is not the recipe's own: the reference has no PTB configuration, and keeps its Yahoo embeddings in our `ptb`."""

BATCHES = {"toy": 40, "ptb": 8, "ptb256": 8, "yahoo": 2, "tense": 8}
"""Training steps in a round."""


def config_of(size, text, folder, precision=""):
    """Return the settings of a size, on a text (or on what the recipe embeds), of which all is the training part."""
    data = {"name": "verbs"} if size == "tense" else {}
    if text:
        few = Path(folder) / "few.txt"
        few.parent.mkdir(parents=True, exist_ok=True)
        with Path(text).open() as lines:
            few.write_text("".join(line for line, _ in zip(lines, range(10), strict=False)))
        data = {"path": str(text), "max_vocab": 10**9, "valid": str(few), "test": str(few)}
    train = {"epochs": 40} | ({"precision": precision} if precision else {})
    return compose(RECIPES[size], (), {"data": data, "train": train, **WIDTHS.get(size, {})})


def trainer_of(size, text, folder, precision=""):
    """Return a trainer as `uncollapse train` makes it."""
    config = config_of(size, text, folder, precision)
    splits = build_splits(config.data)
    batches = len(shuffled_batches(splits.train.lengths, config.train.batch_size, 0, epoch=0))
    model = build_model(
        config, len(splits.vocabulary), splits.train.lengths + 1, space=LabelSpace(splits.train.label_names)
    )
    objective = build_objective(config, batches)
    trainer = Job(model.train(), objective, splits, config.optim, config.train).trainer()
    trainer.splits, trainer.batch_size = splits, config.train.batch_size
    trainer.batch = lambda index: splits.train.training_batch(index).to(trainer.device)
    return trainer


@dataclass(frozen=True)
class Work:
    """Operations (a multiplication and an addition are two) of one predicted token, in the forward pass.

    Attributes:
        encoder: of the encoder's cell.
        decoder: of the decoder's cell.
        output: of the output layer.
        recurrent: the part of the decoder's cell that is left once the shares of tokens and z are there.
    """

    encoder: float
    decoder: float
    output: float
    recurrent: float

    @staticmethod
    def of(model):
        """Count those of an LSTM model."""
        cells = [part.cell for part in (model.encoder, model.decoder)]
        encoder, decoder = (2 * (cell.weight_ih_l0.numel() + cell.weight_hh_l0.numel()) for cell in cells)
        return Work(encoder, decoder, 2 * model.decoder.output.weight.numel(), 2 * cells[1].weight_hh_l0.numel())

    @property
    def step(self):
        """Of a training step: forward, and twice as much backward."""
        return 3 * (self.encoder + self.decoder + self.output)

    @property
    def sample(self):
        """Of one sample of the importance-weighted bound."""
        return self.recurrent + self.output


def gemm_rate(dtype, seconds=1.0):
    """Return the operations per second of a large multiplication, the faster of torch's own and oneDNN's.

    Of each, the median over about so many seconds. Which is faster in fp32 depends on the processor. What is written is below
    the size that the system hands out anew each time.
    """
    if not onednn(dtype):  # a CPU without bf16 computes in fp32 instead
        dtype = torch.float32
    a, b = torch.randn(768, 1024).to(dtype), torch.randn(1024, 8192).to(dtype)
    out, weight = torch.empty(768, 8192, dtype=dtype), b.T.contiguous()
    with torch.inference_mode():
        ways = {"torch": lambda: torch.mm(a, b, out=out), "oneDNN": lambda: linear(a, weight)}
        rates, until = {name: [] for name in ways}, time.perf_counter() + 2 * seconds
        while time.perf_counter() < until or len(rates["torch"]) < 4:
            for name, way in ways.items():
                rates[name].append(2 * a.shape[0] * b.numel() / timed(way))
    return max(statistics.median(each[1:]) for each in rates.values())


def timed(work):
    """Return how many seconds a piece of work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def alternate(works, rounds):
    """Do several pieces of work in turn, so many times after a first that warms up.

    Args:
        works: name -> a function of the round's number that does the work and returns its amount.
        rounds: how often.

    Returns:
        name -> amounts per second, one a round.
    """
    rates = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            began = time.perf_counter()
            amount = work(number)
            if number:
                rates[name].append(amount / (time.perf_counter() - began))
    return rates


def machine():
    """Say what this machine is."""
    name = platform.processor() or platform.machine()
    try:
        with Path("/proc/cpuinfo").open() as lines:
            name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}"
