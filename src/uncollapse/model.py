"""The model: an encoder, a decoder and a prior. No weights of an objective, no schedules, no settings."""

from torch import Tensor, nn

from uncollapse.latent import Gaussian
from uncollapse.nn.interfaces import Decoder, Encoder, Text


class VAE(nn.Module):
    """A variational autoencoder: p(z) p(x given z) and q(z given x).

    Attributes:
        encoder: x -> q(z given x).
        decoder: z -> p(x given z).
        latent: dimensions Z of the code; 0 makes it a language model.
    """

    def __init__(self, encoder: Encoder, decoder: Decoder, latent: int) -> None:
        super().__init__()
        self.encoder, self.decoder, self.latent = encoder, decoder, latent

    def posterior(self, batch: Text) -> Gaussian:
        """Return q(z given x) for every sentence, `[B, Z]`."""
        return self.encoder(batch)

    def prior(self, posterior: Gaussian) -> Gaussian:
        """Return p(z) for every sentence: N(0, I), `[B, Z]`."""
        return Gaussian.standard(len(posterior), self.latent, like=posterior.mu)

    def distortion(self, batch: Text, z: Tensor) -> Tensor:
        """Return -log p(x given z) in nats per sentence, `[B, K]`, for codes `[B, K, Z]`."""
        return self.decoder(batch, z)
