"""The one evaluation: a model and a corpus in, a dictionary of numbers with their protocol out."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from uncollapse.data.corpus import Corpus
from uncollapse.errors import UserError
from uncollapse.evaluation.adaptive import adaptive_draws
from uncollapse.evaluation.bounds import (
    ImportanceWeighted,
    Precision,
    fixed_draws,
    importance_weighted,
    standard_error,
    subsample_indices,
)
from uncollapse.evaluation.posterior import ACTIVE, active_units, mutual_information
from uncollapse.evaluation.scores import Scores, Track, score, untracked
from uncollapse.model import VAE, evaluation_mode
from uncollapse.parallel import ALONE, World, sharing

MI_SENTENCES = 10_000


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

    def __str__(self) -> str:
        """Show the bounds and what the code carries, a line each."""
        m = self.metrics
        lines = [
            f"nll_elbo {m['nll_elbo']:9.2f} ± {m['nll_elbo_se']:.2f}  = distortion {m['distortion']:.2f} + rate {m['rate']:.2f}",
            f"mi       {m['mi']:9.2f} ± {m['mi_se']:.2f}  (at most {m['mi_cap']:.2f})",
            f"au       {m['au']:9d} of {m['latent']}",
        ]
        if self.iw:
            lines.insert(1, f"nll_iw   {m['nll_iw']:9.2f} ± {m['nll_iw_se']:.2f}  ({m['protocol']['nll_iw']})")
        return "\n".join([f"{m['sentences']:,} sentences, nats per sentence (EOS counted)", *lines])


def summarise(corpus: Corpus, scores: Scores, seed: int = 0, *, mi_sentences: int = MI_SENTENCES) -> dict[str, Any]:
    """Return the numbers that one pass over a corpus gives: all but the importance-weighted bound."""
    elbo = scores.nll_elbo.double()
    indices = torch.from_numpy(subsample_indices(len(corpus), mi_sentences, seed))
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
        "au": active_units(scores.posterior.mean),
        "latent": scores.z[0].numel(),
    }


def evaluate(
    model: VAE,
    corpus: Corpus,
    *,
    iw_samples: int = 50,
    iw_sentences: int | None = 500,
    seed: int = 0,
    track: Track = untracked,
    adaptive: bool = False,
    precision: Precision = "fp32",
    world: World = ALONE,
) -> Evaluation:
    """Evaluate a model on a split, in fp32, with dropout off and z drawn from q.

    Args:
        model: any; its mode is restored afterwards.
        corpus: the split.
        iw_samples: K of the importance-weighted bound; 0 leaves it out.
        iw_sentences: sentences to measure it on, or None for all.
        seed: of all noise and choices.
        track: shows the progress.
        adaptive: make the bound of a proposal for each sentence, for at most the error that K draws of q for every sentence give.
        precision: of the decoder in the bound, and there alone.
        world: the processes that share the work (`World.current()`); each has all numbers, which are those of one process.

    Raises:
        UserError: fewer than 0 samples, or fewer than 2 sentences, whose mean has no error.
    """
    if iw_samples < 0:
        raise UserError(f"iw_samples: expected 0 or more, got {iw_samples}")
    if iw_sentences is not None and iw_sentences < 2:
        raise UserError(f"iw_sentences: expected None (all) or at least 2, got {iw_sentences}")
    with evaluation_mode(model), sharing(world):
        scores = score(model, corpus, seed, track=track)
        metrics = summarise(corpus, scores, seed)
        if not iw_samples:
            return Evaluation({**metrics, "protocol": protocol(corpus, None, seed, precision=precision)}, scores, None)
        draw = adaptive_draws if adaptive and model.latent else fixed_draws
        iw = importance_weighted(
            model,
            corpus,
            scores,
            samples=iw_samples,
            sentences=iw_sentences,
            seed=seed,
            track=track,
            precision=precision,
            draw=draw,
        )
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
        "protocol": protocol(corpus, iw, seed, precision=precision, adaptive=adaptive and bool(model.latent)),
    }
    return Evaluation(metrics, scores, iw)


def perplexity(nll: float, corpus: Corpus) -> float:
    """Return exp(nll per predicted token); EOS is counted, BOS is not."""
    exponent = nll * len(corpus) / corpus.predicted
    return math.exp(exponent) if exponent < 700 else math.inf


def protocol(
    corpus: Corpus, iw: ImportanceWeighted | None, seed: int, *, precision: Precision, adaptive: bool = False
) -> dict[str, Any]:
    """Say how the numbers were made."""
    return {
        "unit": "nats per sentence, mean over sentences; KL summed over dimensions",
        "tokens": "EOS counted, BOS not",
        "z": "one draw from q(z | x), dropout off, fp32",
        **({"nll_iw": _draws(corpus, iw, precision, adaptive)} if iw else {}),
        "mi": f"pooled over {min(len(corpus), MI_SENTENCES)} sentences, one z in both terms",
        "au": f"variance of mu >= {ACTIVE}",
        "left_out": corpus.left_out,
        "unknown_tokens": corpus.unknown,
        "seed": seed,
    }


def _draws(corpus: Corpus, iw: ImportanceWeighted, precision: Precision, adaptive: bool) -> str:
    draws = f"adaptive to the error of K = {iw.samples} ({iw.draws:.0f} draws)" if adaptive else f"K = {iw.samples}"
    low = ", decoder in bf16" if precision == "bf16" else ""
    if iw.sentences == len(corpus):
        return f"{draws} on all {iw.sentences} sentences{low}"
    return f"nll_elbo less the mean gap on {iw.sentences} seeded sentences, {draws}{low}"


def _mean(values: Tensor) -> float:
    return float(values.double().mean())
