"""The posterior-mean space of a scalar latent: where the model wants each sentence's code, and where the encoder puts it.

Source: He et al. 2019, section 3.2.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from uncollapse.data.corpus import Corpus
from uncollapse.data.order import ordered_batches
from uncollapse.errors import UserError
from uncollapse.evaluation.posterior import posteriors
from uncollapse.model import VAE

GRID = torch.arange(-200, 201) / 10
"""The paper's: -20 to 20 in steps of 0.1."""
TOKENS_AT_A_TIME = 2**17


@dataclass(frozen=True)
class Means:
    """Points of the posterior-mean space.

    Attributes:
        model: mean of p(z | x) of every sentence, `[N]`.
        inference: mean of q(z | x) of every sentence, `[N]`.
    """

    model: np.ndarray
    inference: np.ndarray

    def distances(self) -> dict[str, float]:
        """Return how far the points lie from three lines, on the mean: collapse is to lie on both axes, at the origin.

        Returns:
            diagonal: where the encoder agrees with the model, |model - inference| / sqrt 2; horizontal: the axis of an encoder
            that says nothing while the model's posterior moves, |inference|; vertical: that of a model that ignores z, |model|.
        """
        return {
            "diagonal": float(np.abs(self.model - self.inference).mean() / np.sqrt(2)),
            "horizontal": float(np.abs(self.inference).mean()),
            "vertical": float(np.abs(self.model).mean()),
        }


def posterior_means(model: VAE, corpus: Corpus) -> Means:
    """Return both means of every sentence, the model's by quadrature on the grid.

    Args:
        model: with a scalar latent, in evaluation mode.
        corpus: the sentences.

    Raises:
        UserError: a latent of more dimensions, or none.
    """
    if model.latent != 1:
        raise UserError(
            f"the posterior-mean space is that of a scalar latent: expected model.latent 1, got {model.latent}"
        )
    return Means(model_posterior_mean(model, corpus).numpy(), posteriors(model, corpus).mean[:, 0].numpy())


@torch.inference_mode()
def model_posterior_mean(model: VAE, corpus: Corpus) -> Tensor:
    """Return E[z | x] under the model, `[N]`, for a scalar z on the grid.

    p(z_g | x) = softmax_g( log p(x | z_g) + log p(z_g) ).
    """
    device, means = model.device, torch.empty(len(corpus))
    grid = GRID.to(device)
    rows = max(1, TOKENS_AT_A_TIME // (len(grid) * int(corpus.lengths.max())))
    for index in ordered_batches(corpus.lengths, rows):
        batch = corpus.batch(index).to(device)
        z = grid.expand(len(batch), -1)[..., None]
        weight = (model.prior.log_prob(z, batch.labels) - model.distortion(batch, z)).softmax(-1)
        means[index] = (weight @ grid).cpu()
    return means
