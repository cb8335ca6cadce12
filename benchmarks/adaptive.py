"""How much time do adaptive draws save on a trained run, at the same error or less?

    python benchmarks/adaptive.py RUN --reference REFERENCE [--sentences 12] [--rounds 5]

Alternates, on the same sentences of the test split: vae-lagging-encoder with the weights of the run and 500 samples, sentence by
sentence; ours with 500 draws of q; ours with adaptive draws of at most the same error. Prints tokens per second, ratios, the
error of the draws of each (delta method) and the mean bounds. The run is one of LSTMs without labels.
"""

import argparse
import json
import math
import statistics
import tempfile
from pathlib import Path

import torch
from against_lagging import Reference
from measure import alternate, machine

import uncollapse as uc
from uncollapse.evaluation.adaptive import adaptive_draws
from uncollapse.evaluation.bounds import fixed_draws, subsample_indices

SAMPLES = 500


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--reference", required=True, help="a checkout of vae-lagging-encoder")
    parser.add_argument("--sentences", type=int, default=8, help="of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    asked = parser.parse_args()
    run = uc.load(asked.run)
    corpus = run.splits()[0].test
    indices = subsample_indices(len(corpus), asked.sentences * (asked.rounds + 1), 0)
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty.txt"
        empty.write_text("\n")
        reference = Reference(str(Path(asked.reference).resolve()), empty, run.config, run.vocabulary)
    reference.take(run.model)
    reference.model.eval(), run.model.eval()
    outcome = {"fixed": [], "adaptive": []}

    def of_round(number):
        return indices[number * asked.sentences : (number + 1) * asked.sentences]

    @torch.no_grad()
    def theirs(number):
        for i in of_round(number):
            reference.model.nll_iw(corpus.batch([int(i)]).tokens, SAMPLES, 100)
        return int(corpus.lengths[of_round(number)].sum())

    def ours(name, draw):
        def work(number):
            outcome[name].append(draw(run.model, corpus, of_round(number), samples=SAMPLES, precision=asked.precision))
            return int(corpus.lengths[of_round(number)].sum())

        return work

    works = {"reference": theirs, "fixed": ours("fixed", fixed_draws), "adaptive": ours("adaptive", adaptive_draws)}
    rates = {name: statistics.median(values) for name, values in alternate(works, asked.rounds).items()}
    result = {"machine": machine(), "precision": asked.precision, "tokens_per_second": rates}
    for name, rounds in outcome.items():
        result[name] = {
            "ratio": rates[name] / rates["reference"],
            "draws": statistics.mean(drawn.spent for drawn in rounds),
            "draws_se": math.hypot(*(drawn.se() for drawn in rounds)) / len(rounds),
            "bound": float(torch.cat([drawn.bound() for drawn in rounds]).mean()),
        }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
