"""The model: an encoder, a decoder and a prior. No weights of an objective, no schedules, no settings."""

import torch
from torch import Tensor, nn

from uncollapse.data.corpus import Batch
from uncollapse.divergences import kl
from uncollapse.latent import UNLABELLED, Diagonal, LabelNormal, Labels, Prior, StandardNormal
from uncollapse.nn.condition import Condition
from uncollapse.nn.decoders import BagOfWords
from uncollapse.nn.interfaces import Decoder, Encoder, Inference


class VAE(nn.Module):
    """A variational autoencoder: p(z) p(x given z) and q(z given x); with a condition c, p(z given c) p(x given z, c).

    Attributes:
        encoder: x -> q(z given x), or (x, c) -> q(z given x, c).
        decoder: of what it is given, z or [z; c], to p(x given it).
        prior: p(z), N(0, I) by default.
        latent: dimensions Z of the code; 0 makes it a language model.
        words: an auxiliary bag-of-words decoder for the objective, or None.
        condition: labels -> c, or None.
    """

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        latent: int,
        prior: Prior | None = None,
        words: BagOfWords | None = None,
        condition: Condition | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.latent = encoder, decoder, latent
        self.prior = StandardNormal(latent) if prior is None else prior
        self.words, self.condition = words, condition

    @property
    def device(self) -> torch.device:
        """Return where the weights are."""
        return next(self.parameters()).device

    def infer(self, batch: Batch) -> Inference:
        """Return everything that the encoder says of a batch."""
        return self.encoder(batch)

    def posterior(self, batch: Batch) -> Diagonal:
        """Return q(z given x) of the code that is decoded, `[B, Z]`."""
        return self.encoder(batch).posterior

    def distortion(self, batch: Batch, z: Tensor, forcing: float = 1.0) -> Tensor:
        """Return -log p(x given z) in nats per sentence, `[B, K]`, for codes `[B, K, Z]`.

        Below `forcing` 1 the decoder reads some of its own tokens in place of the true ones (one code a sentence), and what is
        returned is no longer a likelihood.
        """
        code = self.given(z, batch.labels)
        if forcing < 1:
            return self.decoder(batch, code, self.decoder.own_inputs(batch, code[:, 0], forcing))
        return self.decoder(batch, code)

    def given(self, z: Tensor, labels: Labels = UNLABELLED) -> Tensor:
        """Return what the decoder reads: codes `[B, (K,) Z]`, and beside each the condition of its sentence."""
        if self.condition is None:
            return z
        told = self.condition(labels).to(z.dtype)
        told = told if z.ndim == 2 else told[:, None].expand(-1, z.shape[1], -1)
        return torch.cat([z, told], -1)

    def rate(self, posterior: Diagonal, z: Tensor, labels: Labels = UNLABELLED) -> Tensor:
        """Return KL(q(z given x), p(z)) in nats per sentence, `[B]`.

        In closed form under a normal prior; else the mean of log q - log p over the draws z `[B, K, Z]`.
        """
        if isinstance(self.prior, StandardNormal | LabelNormal):
            return kl(posterior, self.prior.beside(posterior, labels)).sum(-1)
        return (posterior.log_prob(z) - self.prior.log_prob(z, labels)).mean(1)
