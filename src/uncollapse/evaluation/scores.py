"""Distortion and rate of every sentence, and with them the ELBO.

None of it depends on the objective that the model was trained with.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from uncollapse.data.corpus import Corpus
from uncollapse.data.order import ordered_batches
from uncollapse.distributions.posteriors import Posterior, cat
from uncollapse.model import VAE
from uncollapse.nn.products import pack
from uncollapse.parallel import sharers

TOKENS_AT_A_TIME = 2**14
"""Tokens of a batch in evaluation, samples counted: this bounds its memory."""
T = TypeVar("T")
Track = Callable[[Sequence[np.ndarray], str], Iterable[np.ndarray]]
"""Passes batches on and shows the progress through them, as `rich.progress.track` does."""


def untracked(batches: Sequence[np.ndarray], name: str) -> Iterable[np.ndarray]:
    """Pass batches on and show nothing."""
    return batches


@dataclass(frozen=True)
class Scores:
    """One pass over a corpus.

    Attributes:
        posterior: q(z | x) of every sentence, `[N, Z]`, on the CPU.
        z: the draw that was decoded, `[N, Z]`.
        distortion: -log p(x | z), `[N]`, nats.
        rate: KL(q, p), `[N]`, nats.
    """

    posterior: Posterior
    z: Tensor
    distortion: Tensor
    rate: Tensor

    @property
    def nll_elbo(self) -> Tensor:
        """Return distortion + rate of every sentence, `[N]`, nats."""
        return self.distortion + self.rate


def seeded(seed: int) -> torch.Generator:
    """Return a generator of the evaluation's own, apart from training's random state."""
    return torch.Generator().manual_seed(seed)


def of_each_batch(
    batches: Sequence[np.ndarray], compute: Callable[[np.ndarray], T], track: Track = untracked, name: str = ""
) -> tuple[list[T], Tensor]:
    """Compute something of every batch; processes that share the evaluation (`parallel.sharing`) compute a part each.

    Args:
        batches: the sentences of each.
        compute: from the sentences of a batch to a result.
        track: shows the progress.
        name: of the work.

    Returns:
        the results of all batches, and the permutation that puts their sentences into order.
    """
    world = sharers()
    results = world.joined([compute(index) for index in track(world.mine(batches), name)])
    return results, torch.from_numpy(np.argsort(np.concatenate(batches)))


@torch.inference_mode()
def score(model: VAE, corpus: Corpus, seed: int = 0, *, track: Track = untracked) -> Scores:
    """Compute posterior, distortion and rate of every sentence, with one draw of z each.

    The noise belongs to the sentence, so that the result does not depend on how sentences are batched.

    Args:
        model: in evaluation mode.
        corpus: any split.
        seed: of the noise.
        track: shows the progress.
    """
    model, device, noise = pack(model), model.device, None

    def of(index: np.ndarray) -> tuple[Posterior, Tensor, Tensor, Tensor]:
        nonlocal noise
        batch = corpus.batch(index).to(device)
        posterior = model.posterior(batch)
        if noise is None:
            noise = posterior.noise(len(corpus), 1, seeded(seed))
        draw = posterior.transform(noise[index].to(device))
        distortion, rate = model.distortion(batch, draw)[:, 0], model.rate(posterior, draw, batch.labels)
        return posterior.cpu(), draw[:, 0].cpu(), distortion.cpu(), rate.cpu()

    batches = ordered_batches(corpus.lengths, rows_at_a_time(corpus))
    results, back = of_each_batch(batches, of, track, "distortion and rate")
    posteriors, *tensors = zip(*results, strict=True)
    return Scores(cat(posteriors)[back], *(torch.cat(values)[back] for values in tensors))


@torch.inference_mode()
def log_likelihoods(model: VAE, corpus: Corpus, z: Tensor) -> Tensor:
    """Return log p(x | z) of every sentence with its own code `[N, Z]`, `[N]`, nats.

    Args:
        model: in evaluation mode.
        corpus: sentences; empty ones, too, which consist of EOS.
        z: a code each.
    """
    model, device = pack(model), model.device
    if not len(corpus):
        return torch.empty(0)

    def of(index: np.ndarray) -> Tensor:
        batch = corpus.batch(index).to(device)
        return -model.distortion(batch, z[index][:, None].to(device))[:, 0].cpu()

    results, back = of_each_batch(ordered_batches(corpus.lengths, rows_at_a_time(corpus)), of)
    return torch.cat(results)[back]


def rows_at_a_time(corpus: Corpus) -> int:
    """Return how many sentences of a corpus are computed together, so that memory does not grow with their length."""
    return max(1, min(256, TOKENS_AT_A_TIME // int(corpus.lengths.max())))
