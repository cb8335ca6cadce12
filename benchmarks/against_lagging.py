"""Ours beside vae-lagging-encoder (He et al. 2019): training, importance-weighted bound, greedy and beam decoding, memory.

    git clone https://github.com/jxhe/vae-lagging-encoder REFERENCE
    python benchmarks/against_lagging.py --reference REFERENCE --text FILE --size yahoo [--json]

Both models have the same weights, words and sentences, which is checked by their losses before anything is measured. Each does
what its own program does: the reference groups sentences of equal length, trains in fp32, evaluates the bound sentence by
sentence in chunks of 100 samples and looks for beams code by code. The two alternate within one run, on batches of the same
lengths; what is printed is the ratio of the medians, ours over theirs (of memory too: the peak resident size of a training
process less that after importing torch). The reference's code is read from the checkout and never copied here.
"""

import argparse
import copy
import json
import statistics
import subprocess
import sys
import tempfile
import types
import warnings
from pathlib import Path

import numpy as np
import torch
from measure import BATCHES, RECIPES, Work, after_torch, alternate, config_of, gemm_rate, machine, resident, trainer_of

from uncollapse.data.order import shuffled_batches
from uncollapse.evaluation.bounds import iw_bound, log_weights
from uncollapse.generation.decode import generate_ids
from uncollapse.generation.decoding import Decoding
from uncollapse.interop.checkpoints import PARTS
from uncollapse.runs.builders.data import build_splits

SAMPLES = 500
SENTENCES = {"toy": 16, "ptb": 8, "ptb256": 8, "yahoo": 2}
"""Of a round of the importance-weighted bound."""
CODES = {"toy": (32, 16, 128), "ptb": (32, 4, 128), "ptb256": (32, 4, 128), "yahoo": (32, 2, 128)}
"""Of a round of decoding: greedy, both at once; by beam, which the reference does one by one, theirs and ours."""
LONGEST = 99
"""Tokens at which the reference cuts a sentence."""


class Reference:
    """The reference's model, data and training step, over our vocabulary."""

    def __init__(self, path, text, config, vocabulary):
        sys.path.insert(0, str(path))
        warnings.filterwarnings("ignore")
        from data.text_data import MonoTextData, VocabEntry
        from modules import VAE, LSTMDecoder, LSTMEncoder

        words = VocabEntry({token: i for i, token in enumerate(vocabulary.tokens)})
        sizes = types.SimpleNamespace(
            ni=config.decoder.emb,
            enc_nh=config.decoder.hidden,
            dec_nh=config.decoder.hidden,
            nz=config.model.latent,
            dec_dropout_in=config.decoder.dropout_in,
            dec_dropout_out=config.decoder.dropout_out,
            device=torch.device("cpu"),
        )

        def between(low):
            return lambda tensor: torch.nn.init.uniform_(tensor, -low, low)

        encoder = LSTMEncoder(sizes, len(words), between(0.01), between(0.1))
        self.model = VAE(encoder, LSTMDecoder(sizes, words, between(0.01), between(0.1)), sizes)
        self.clip = config.optim.clip
        self.optimizers = [
            torch.optim.SGD(part.parameters(), lr=config.optim.lr, momentum=0)
            for part in (self.model.encoder, self.model.decoder)
        ]
        self.batches = MonoTextData(str(text), vocab=words).create_data_batch(
            config.train.batch_size, sizes.device, batch_first=True
        )

    def take(self, ours):
        """Take over our weights."""
        theirs = {new: old for old, new in PARTS.items()}
        state = self.model.state_dict()
        for name, value in ours.state_dict().items():
            prefix = next(prefix for prefix in theirs if name.startswith(prefix))
            state[theirs[prefix] + name.removeprefix(prefix)].copy_(value)

    def step(self, batch):
        """Descend once, as its `text.py` does."""
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss, distortion, rate = self.model.loss(batch, 1.0, nsamples=1)
        loss.mean(dim=-1).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        for optimizer in self.optimizers:
            optimizer.step()
        distortion.sum().item(), rate.sum().item()


class Pairs:
    """Batches of both programs, of like lengths: for a round, so many of theirs and the nearest of ours."""

    def __init__(self, reference, trainer, count):
        self.theirs, self.count, self.corpus = reference.batches, count, trainer.splits.train
        self.ours = shuffled_batches(self.corpus.lengths, trainer.batch_size, 0, epoch=0)
        self.random = np.random.default_rng(0)
        self.length = np.array([self.corpus.lengths[index].mean() for index in self.ours])
        self.chosen = {}

    def round(self, number):
        """Return the batches of a round: theirs, ours."""
        if number not in self.chosen:
            picked = [self.theirs[i] for i in self.random.permutation(len(self.theirs))[: self.count]]
            near = [int(np.abs(self.length - (batch.shape[1] - 1)).argmin()) for batch in picked]
            self.chosen[number] = picked, [self.ours[i] for i in near]
        return self.chosen[number]


def same_loss(reference, trainer):
    """Refuse to compare models that are not the same: their distortions and rates of a batch, at the posterior's mean."""
    batch = max(reference.batches[:200], key=len)
    words = [row[1:-1].numpy() for row in batch]
    corpus = trainer.splits.train
    ours = type(corpus).from_ids(words, corpus.vocabulary).batch(range(len(words)))
    reference.model.eval(), trainer.model.eval()
    with torch.no_grad():
        mu, logvar = reference.model.encode_stats(batch)
        q = trainer.model.posterior(ours)
        theirs = reference.model.decoder.reconstruct_error(batch, mu[:, None])[:, 0]
        result = trainer.model.distortion(ours, q.mu[:, None])[:, 0]
        torch.testing.assert_close(q.mu, mu, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(q.logvar, logvar, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(result, theirs, atol=1e-3, rtol=1e-4)
    reference.model.train(), trainer.model.train()


def training(reference, trainers, asked):
    """Return tokens per second of each."""
    pairs = Pairs(reference, next(iter(trainers.values())), BATCHES[asked.size])

    def theirs(number):
        batches, _ = pairs.round(number)
        for batch in batches:
            reference.step(batch)
        return sum(batch[:, 1:].numel() for batch in batches)

    def ours(trainer):
        def work(number):
            _, batches = pairs.round(number)
            for index in batches:
                trainer.step(trainer.batch(index))
            return int(sum(trainer.splits.train.lengths[index].sum() for index in batches))

        return work

    works = {"reference": theirs} | {name: ours(trainer) for name, trainer in trainers.items()}
    return alternate(works, asked.rounds)


def bound(reference, trainer, asked):
    """Return tokens per second of the importance-weighted bound, and how far bf16 is from fp32 on the same noise, in nats."""
    corpus, count = trainer.splits.train, SENTENCES[asked.size]
    middle = np.argsort(np.abs(corpus.lengths - np.median(corpus.lengths)), kind="stable")[: count * (asked.rounds + 1)]

    def of_round(number):
        return middle[number * count : (number + 1) * count]

    def tokens(number):
        return int(corpus.lengths[of_round(number)].sum())

    @torch.no_grad()
    def theirs(number):
        for i in of_round(number):
            reference.model.nll_iw(corpus.batch([int(i)]).tokens, SAMPLES, 100)
        return tokens(number)

    def ours(precision):
        def work(number):
            log_weights(trainer.model, corpus, of_round(number), samples=SAMPLES, precision=precision)
            return tokens(number)

        return work

    reference.model.eval(), trainer.model.eval()
    rates = alternate({"reference": theirs, "bf16": ours("bf16"), "fp32": ours("fp32")}, asked.rounds)
    exact, low = (
        iw_bound(log_weights(trainer.model, corpus, middle, samples=SAMPLES, precision=precision))
        for precision in ("fp32", "bf16")
    )
    return rates, float((low - exact).mean()), float((low - exact).abs().max())


def decoding(reference, trainer, asked):
    """Return sentences per second of greedy and beam, and how many greedy sentences the two have in common."""
    greedy, beam, ours_by_beam = CODES[asked.size]
    vocabulary = trainer.splits.vocabulary
    z = torch.randn(asked.rounds + 1, ours_by_beam, trainer.model.latent, generator=torch.Generator().manual_seed(0))
    written = {"reference": {}, "ours": {}}

    def ours(decoding, count):
        def work(number):
            result = generate_ids(trainer.model, z[number, :count], LONGEST, decoding=decoding)
            written["ours"][decoding.strategy, number] = result
            return count

        return work

    @torch.no_grad()
    def theirs(strategy, count):
        def work(number):
            sentences = reference.model.decode(z[number, :count], strategy)
            written["reference"][strategy, number] = sentences
            return count

        return work

    reference.model.eval(), trainer.model.eval()
    rates, same = {}, {}
    for strategy, count, own in (("greedy", greedy, greedy), ("beam", beam, ours_by_beam)):
        works = {"reference": theirs(strategy, count), "ours": ours(Decoding(strategy, no_unknown=False), own)}
        rates[strategy] = alternate(works, asked.rounds)
        if strategy == "greedy":  # their beams lose a place with every sentence that ends, and are others
            equal = [
                [word for word in one if word not in ("<s>", "</s>")] == [vocabulary.tokens[i] for i in other]
                for number in range(asked.rounds + 1)
                for one, other in zip(
                    written["reference"][strategy, number], written["ours"][strategy, number], strict=True
                )
            ]
            same[strategy] = f"{sum(equal)} of {len(equal)}"
    return rates, same


def peak_of_a_process(who, asked):
    """Return how many MiB a training process of one of the two needs beyond torch."""
    command = [sys.executable, __file__, "--reference", asked.reference, "--text", asked.text, "--size", asked.size]
    command += ["--threads", str(asked.threads), "--process", who]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def train_in_this_process(who, asked):
    """Train for a few steps and print the peak of memory beyond what it was after importing torch."""
    precision = "" if who == "shipped" else "fp32"
    with tempfile.TemporaryDirectory() as folder:
        if who == "reference":
            config = config_of(asked.size, asked.text, folder)  # the vocabulary is built by our reader in both
            reference = Reference(asked.reference, asked.text, config, build_splits(config.data).vocabulary)
            for batch in of_all_lengths(reference.batches, [batch.shape[1] for batch in reference.batches]):
                reference.step(batch)
        else:
            trainer = trainer_of(asked.size, asked.text, folder, precision)
            corpus = trainer.splits.train
            batches = shuffled_batches(corpus.lengths, trainer.batch_size, 0, epoch=0)
            for index in of_all_lengths(batches, [corpus.lengths[index].max() for index in batches]):
                trainer.step(trainer.batch(index))
    print(resident() - after_torch)


def of_all_lengths(batches, lengths):
    """Return batches at the quantiles of length 50, 90, 50."""
    order = np.argsort(lengths)
    return [batches[order[int(len(order) * share)]] for share in (0.5, 0.9, 0.5)]


def report(asked):
    """Measure everything; return the result."""
    with tempfile.TemporaryDirectory() as folder:
        trainers = {name: trainer_of(asked.size, asked.text, f"{folder}/{name}", name) for name in ("bf16", "fp32")}
        trainer, config = trainers["fp32"], config_of(asked.size, asked.text, folder)
        reference = Reference(asked.reference, asked.text, config, trainer.splits.vocabulary)
        reference.take(trainer.model)
        same_loss(reference, trainer)
        begun = copy.deepcopy(trainer.model.state_dict())
        result = {
            "size": asked.size,
            "recipe": RECIPES[asked.size],
            "machine": machine(),
            "vocabulary": len(trainer.splits.vocabulary),
            "emb": config.decoder.emb,
            "hidden": config.decoder.hidden,
            "rounds": asked.rounds,
        }
        wanted = asked.only.split(",")
        work = Work.of(trainer.model)
        rate = {"fp32": gemm_rate(torch.float32), "bf16": gemm_rate(torch.bfloat16)}
        result["gemm_gflops"] = {name: value / 1e9 for name, value in rate.items()}
        if "training" in wanted:
            speeds = training(reference, trainers, asked)
            result["tokens_per_second"] = middles(speeds)
            result["train_bf16"] = ratio(speeds, "bf16")
            result["train_fp32"] = ratio(speeds, "fp32")
            result["train_over_floor"] = {
                name: rate[name] / work.step / statistics.median(speeds[name]) for name in ("bf16", "fp32")
            }
        # both have learned a little, each from its own batches; and what has learned a little ends its sentences at once
        trainer.model.load_state_dict(begun)
        reference.take(trainer.model)
        if "bound" in wanted:
            speeds, error, worst = bound(reference, trainer, asked)
            result["iw_tokens_per_second"] = middles(speeds)
            result["iw_nll"], result["iw_nll_fp32"] = ratio(speeds, "bf16"), ratio(speeds, "fp32")
            result["iw_bf16_error"], result["iw_bf16_worst"] = error, worst
            result["iw_over_floor"] = {
                name: rate[name] / (SAMPLES * work.sample) / statistics.median(speeds[name])
                for name in ("bf16", "fp32")
            }
        if "decoding" in wanted:
            speeds, same = decoding(reference, trainer, asked)
            result["sentences_per_second"] = {name: middles(values) for name, values in speeds.items()}
            result["greedy"], result["beam5"] = ratio(speeds["greedy"], "ours"), ratio(speeds["beam"], "ours")
            result["same_sentences"] = same
    if "memory" in wanted:
        peaks = {who: peak_of_a_process(who, asked) for who in ("reference", "shipped", "fp32")}
        result["peak_mib"] = peaks
        result["peak_memory"] = peaks["shipped"] / peaks["reference"]
    return result


def middles(rates):
    """Return the medians."""
    return {name: statistics.median(values) for name, values in rates.items()}


def ratio(rates, name):
    """Return the median rate of ours over that of the reference."""
    return statistics.median(rates[name]) / statistics.median(rates["reference"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", required=True, help="a checkout of vae-lagging-encoder")
    parser.add_argument("--text", required=True, help="a sentence a line: both read all of it")
    parser.add_argument("--size", choices=list(SENTENCES), default="ptb")
    parser.add_argument("--rounds", type=int, default=5, help="alternated rounds, after one that warms up")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", default="training,bound,decoding,memory", help="what to measure")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--process", choices=["reference", "shipped", "fp32"], help=argparse.SUPPRESS)
    asked = parser.parse_args()
    asked.reference, asked.text = str(Path(asked.reference).resolve()), str(Path(asked.text).resolve())
    torch.set_num_threads(asked.threads)
    if asked.process:
        train_in_this_process(asked.process, asked)
        return
    result = report(asked)
    print(json.dumps(result, indent=None if asked.json else 2))


if __name__ == "__main__":
    main()
