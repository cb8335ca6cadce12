"""How far a code may be moved: sampling, interpolation and models of the codes leave the posteriors of sentences."""

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uncollapse.data.corpus import Corpus
from uncollapse.data.labels import Labels
from uncollapse.data.splits import Splits
from uncollapse.distributions.priors import Source
from uncollapse.evaluation.bounds import standard_error
from uncollapse.evaluation.overlap import token_accuracy
from uncollapse.evaluation.posterior import posteriors
from uncollapse.evaluation.scores import seeded
from uncollapse.generation.decode import generate_ids
from uncollapse.model import VAE
from uncollapse.nn.casts import fresh_casts
from uncollapse.nn.products import pack

SIGMAS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
"""Standard deviations of the noise that codes are moved by; the prior has 1."""
SHARES = (0.0, 0.125, 0.25, 0.375, 0.5)
"""Shares of the way to the code of another sentence."""
SENTENCES = 200
LEAST_GAIN = 0.02
"""Share of tokens that a code must recover beyond the code of another sentence for its loss to be followed."""
DRAWS = 500
"""Codes of the prior that are decoded."""


def robustness_protocol(
    model: VAE, splits: Splits, split: str, *, seed: int = 0, sentences: int = SENTENCES
) -> dict[str, Any]:
    """Decode codes that are not where the encoder put them. All decoding is greedy.

    Args:
        model: in evaluation mode; a language model writes the same whatever it is given, which is the floor of the curves.
        splits: the run's data.
        split: which of them; its first sentences.
        seed: of all draws.
        sentences: how many.

    Returns:
        robustness: rows of the share of tokens recovered at their places from mu + sigma e, by sigma, and from codes on the line
        to the mean of another sentence, by the share of the way; robust_sigma: the sigma at which half of the gain is lost, the
        share recovered at sigma 0 less that from another sentence's code (interpolated; the largest tried where it is not lost;
        left out where the gain is below 0.02);
        margin (and _se): nats by which the true token is more probable than the next, mean over the tokens of a sentence, under
        its own code; margin_right: the share of tokens where it is more probable at all; dead_region: the share of 500 draws from
        the prior that decode to the one most frequent sentence; prior_distinct: different sentences among them, as a share.
    """
    corpus = splits[split].first(sentences)
    labels, originals = corpus.classes(np.arange(len(corpus))), [corpus.ids(i).tolist() for i in range(len(corpus))]
    mu = posteriors(model, corpus).mean
    other = mu.roll(1, 0)
    limit = splits.longest_sentence

    def recovered(z: Tensor) -> float:
        return token_accuracy(originals, generate_ids(model, z, limit, labels=labels))

    noise = torch.randn(mu.shape, generator=seeded(seed))
    by_sigma = [recovered(mu + sigma * noise) for sigma in SIGMAS]
    chance = recovered(other)
    gained = [share - chance for share in by_sigma]
    rows = [
        *({"codes": f"mu + {sigma:g} e", "tokens": share} for sigma, share in zip(SIGMAS, by_sigma, strict=True)),
        *(
            {"codes": f"{way:.1%} of the way to another", "tokens": recovered(mu.lerp(other, way))}
            for way in SHARES[1:]
        ),
        {"codes": "another sentence's", "tokens": chance},
    ]
    margins, right = decoding_margins(model, corpus, mu, labels)
    written = Counter(map(tuple, prior_sentences(model, splits, DRAWS, seed=seed)))
    return {
        "robustness": rows,
        **({"robust_sigma": half_point(SIGMAS, gained)} if gained[0] >= LEAST_GAIN else {}),
        "margin": float(margins.mean()),
        "margin_se": standard_error(margins),
        "margin_right": right,
        "dead_region": written.most_common(1)[0][1] / DRAWS,
        "prior_distinct": len(written) / DRAWS,
    }


def half_point(places: tuple[float, ...], values: list[float]) -> float:
    """Return the place where values fall to half of the first, interpolated linearly."""
    half = values[0] / 2
    for (a, b), (above, below) in zip(pairwise(places), pairwise(values), strict=True):
        if below <= half < above:
            return a + (b - a) * (above - half) / (above - below)
    return places[-1]


def prior_sentences(model: VAE, splits: Splits, count: int, *, seed: int = 0) -> list[list[int]]:
    """Return the greedy sentence of each of some draws from the prior, under the labels of training sentences."""
    labels = splits.train.classes(np.random.default_rng([seed, 4]).integers(len(splits.train), size=count))
    return generate_ids(model, model.prior.sample(count, Source(seed), labels), splits.longest_sentence, labels=labels)


@torch.inference_mode()
def decoding_margins(model: VAE, corpus: Corpus, z: Tensor, labels: Labels) -> tuple[Tensor, float]:
    """Return the mean margin of the true tokens of each sentence, `[N]`, nats, and the share of tokens with one above 0.

        margin_t = log p(x_t | x_<t, z) - max over v != x_t of log p(v | x_<t, z),   EOS among the tokens

    Args:
        model: in evaluation mode.
        corpus: sentences.
        z: a code each.
        labels: of each.
    """
    device = model.device
    batch = corpus.batch(np.arange(len(corpus))).to(device)
    here = {field: classes.to(device) for field, classes in labels.items()}
    decoder, steps = pack(model.decoder), batch.tokens.shape[1] - 1
    margins = torch.zeros(len(corpus), steps, device=device)
    with fresh_casts(device):
        state = decoder.start(model.decoder_input(z.to(device), here))
        for t in range(steps):
            logits, state = decoder.step(batch.tokens[:, t], state)
            true = batch.tokens[:, t + 1, None]
            others = logits.scatter(1, true, -torch.inf).amax(1)
            margins[:, t] = logits.gather(1, true)[:, 0] - others
    there = torch.arange(steps, device=device) < batch.lengths[:, None].to(device)
    mean = (margins * there).sum(1) / there.sum(1)
    return mean.cpu(), float((margins > 0)[there].double().mean())
