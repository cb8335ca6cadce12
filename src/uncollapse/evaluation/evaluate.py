"""The one evaluation: a model and a corpus in, a dictionary of numbers with their protocol out."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uncollapse.data.corpus import Corpus
from uncollapse.evaluation.adaptive import FIRST, PROBES, adaptive_draws
from uncollapse.evaluation.bounds import (
    ImportanceWeighted,
    Precision,
    Scores,
    Tick,
    chosen,
    fixed_draws,
    importance_weighted,
    log_weights,
    score,
    standard_error,
)
from uncollapse.evaluation.posterior import ACTIVE, active_units, mutual_information
from uncollapse.model import VAE

MI_SENTENCES = 10_000
Stage = Callable[[str, int], Tick]
"""Is told that a stage with so many sentences begins; what it returns is told of the finished ones."""


def silent(name: str, total: int) -> Tick:
    """Take no notice of progress."""
    return lambda done: None


@dataclass(frozen=True)
class Evaluation:
    """Everything measured on one split.

    Attributes:
        metrics: what is reported.
        scores: per sentence.
        iw: the importance-weighted bound, or None where it was not asked for.
    """

    metrics: dict[str, Any]
    scores: Scores
    iw: ImportanceWeighted | None


def summarise(corpus: Corpus, scores: Scores, seed: int = 0, mi_sentences: int = MI_SENTENCES) -> dict[str, Any]:
    """Return the numbers that one pass over a corpus gives: all but the importance-weighted bound."""
    elbo = scores.nll_elbo.double()
    indices = torch.from_numpy(chosen(len(corpus), mi_sentences, seed))
    mi = mutual_information(scores.posterior[indices], scores.z[indices])
    return {
        "sentences": len(corpus),
        "tokens": corpus.predicted,
        "distortion": _mean(scores.distortion),
        "rate": _mean(scores.rate),
        "nll_elbo": _mean(elbo),
        "nll_elbo_se": standard_error(elbo),
        "ppl_elbo": perplexity(_mean(elbo), corpus),
        "mi": mi.value,
        "mi_se": mi.se,
        "mi_cap": mi.cap,
        "au": active_units(scores.posterior.mu),
        "latent": scores.z.shape[1],
    }


def evaluate(
    model: VAE,
    corpus: Corpus,
    iw_samples: int = 50,
    iw_sentences: int | None = 500,
    seed: int = 0,
    stage: Stage = silent,
    adaptive: bool = False,
    precision: Precision = "fp32",
) -> Evaluation:
    """Evaluate a model on a split, in fp32, with dropout off and z drawn from q.

    Args:
        model: any; its mode is restored afterwards.
        corpus: the split.
        iw_samples: K of the importance-weighted bound; 0 leaves it out.
        iw_sentences: sentences to measure it on, or None for all.
        seed: of all noise and choices.
        stage: is told of the progress.
        adaptive: make the bound of a proposal for each sentence, for at most the error that K draws of q for every sentence give.
        precision: of the decoder in the bound, and there alone.
    """
    training = model.training
    model.eval()
    try:
        scores = score(model, corpus, seed, stage("distortion and rate", len(corpus)))
        metrics = summarise(corpus, scores, seed)
        if not iw_samples:
            return Evaluation(metrics, scores, None)
        count = len(corpus) if iw_sentences is None else min(iw_sentences, len(corpus))
        tick = stage("importance-weighted bound", count)
        draw = adaptive_draws if adaptive and model.latent else fixed_draws
        iw = importance_weighted(model, corpus, scores, iw_samples, iw_sentences, seed, tick, precision, draw)
    finally:
        model.train(training)
    metrics |= {
        "nll_iw": iw.nll,
        "nll_iw_se": iw.se,
        "iw_gap": iw.gap,
        "iw_gap_se": iw.gap_se,
        "iw_samples": iw.samples,
        "iw_draws": iw.draws,
        "iw_draws_se": iw.draws_se,
        "iw_sentences": iw.sentences,
        "ppl_iw": perplexity(iw.nll, corpus),
        "protocol": protocol(corpus, iw, seed, precision, adaptive and bool(model.latent)),
    }
    return Evaluation(metrics, scores, iw)


def expected_seconds(
    model: VAE,
    corpus: Corpus,
    iw_samples: int = 50,
    iw_sentences: int | None = 500,
    adaptive: bool = False,
    precision: Precision = "fp32",
) -> float:
    """Estimate how long `evaluate` will take, by doing a little of it on sentences spread over the lengths."""
    by_length = np.argsort(corpus.lengths, kind="stable")
    few = corpus.subset(by_length[np.linspace(0, len(corpus) - 1, min(32, len(corpus))).astype(int)])
    samples = min(iw_samples, PROBES + FIRST) if adaptive else iw_samples
    few_samples = min(samples if model.latent else 1, 8)
    count = min(iw_sentences or len(corpus), len(corpus))

    def pass_over() -> float:
        began = time.perf_counter()
        score(model, few)
        middle = time.perf_counter()
        if iw_samples:
            log_weights(model, few, np.arange(len(few)), few_samples, precision=precision)
        passed = middle - began, time.perf_counter() - middle
        scale = (samples if model.latent else 1) / max(1, few_samples) * count / len(few)
        return passed[0] * len(corpus) / len(few) + passed[1] * scale

    pass_over()  # warms up
    return pass_over()


def perplexity(nll: float, corpus: Corpus) -> float:
    """Return exp(nll per predicted token); EOS is counted, BOS is not."""
    exponent = nll * len(corpus) / corpus.predicted
    return math.exp(exponent) if exponent < 700 else math.inf


def protocol(
    corpus: Corpus, iw: ImportanceWeighted, seed: int, precision: Precision, adaptive: bool = False
) -> dict[str, Any]:
    """Say how the numbers were made."""
    everything = iw.sentences == len(corpus)
    draws = f"K = {iw.samples}"
    if adaptive:
        draws = f"adaptive to the error of K = {iw.samples} ({iw.draws:.0f} draws)"
    return {
        "unit": "nats per sentence, mean over sentences; KL summed over dimensions",
        "tokens": "EOS counted, BOS not",
        "z": "one draw from q(z given x), dropout off, fp32",
        "nll_iw": (
            f"{draws} on all {iw.sentences} sentences"
            if everything
            else f"nll_elbo less the mean gap on {iw.sentences} seeded sentences, {draws}"
        )
        + (", decoder in bf16" if precision == "bf16" else ""),
        "mi": f"pooled over {min(len(corpus), MI_SENTENCES)} sentences, one z in both terms",
        "au": f"variance of mu >= {ACTIVE}",
        "left_out": corpus.left_out,
        "unknown_tokens": corpus.unknown,
        "seed": seed,
    }


def _mean(values: Tensor) -> float:
    return float(values.double().mean())
