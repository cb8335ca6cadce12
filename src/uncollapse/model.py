"""The model: an encoder, a decoder and a prior. No weights of an objective, no schedules, no settings."""

from torch import Tensor, nn

from uncollapse.divergences import kl
from uncollapse.latent import Diagonal, Prior, StandardNormal
from uncollapse.nn.decoders import BagOfWords
from uncollapse.nn.interfaces import Decoder, Encoder, Inference, Text


class VAE(nn.Module):
    """A variational autoencoder: p(z) p(x given z) and q(z given x).

    Attributes:
        encoder: x -> q(z given x).
        decoder: z -> p(x given z).
        prior: p(z), N(0, I) by default.
        latent: dimensions Z of the code; 0 makes it a language model.
        words: an auxiliary bag-of-words decoder for the objective, or None.
    """

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        latent: int,
        prior: Prior | None = None,
        words: BagOfWords | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.latent = encoder, decoder, latent
        self.prior = StandardNormal(latent) if prior is None else prior
        self.words = words

    def infer(self, batch: Text) -> Inference:
        """Return everything that the encoder says of a batch."""
        return self.encoder(batch)

    def posterior(self, batch: Text) -> Diagonal:
        """Return q(z given x) of the code that is decoded, `[B, Z]`."""
        return self.encoder(batch).posterior

    def distortion(self, batch: Text, z: Tensor) -> Tensor:
        """Return -log p(x given z) in nats per sentence, `[B, K]`, for codes `[B, K, Z]`."""
        return self.decoder(batch, z)

    def rate(self, posterior: Diagonal, z: Tensor) -> Tensor:
        """Return KL(q(z given x), p(z)) in nats per sentence, `[B]`.

        In closed form under the standard normal prior; else the mean of log q - log p over the draws z `[B, K, Z]`.
        """
        if isinstance(self.prior, StandardNormal):
            return kl(posterior, posterior.standard()).sum(-1)
        return (posterior.log_prob(z) - self.prior.log_prob(z)).mean(1)
