"""The model: an encoder, a decoder and a prior. No weights of an objective, no schedules, no settings."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from uncollapse.data.corpus import Batch
from uncollapse.data.labels import UNLABELLED, Labels
from uncollapse.distributions.divergences import rate
from uncollapse.distributions.posteriors import Posterior
from uncollapse.distributions.priors import Prior
from uncollapse.errors import UserError
from uncollapse.nn.condition import Condition
from uncollapse.nn.decoders import BagOfWords
from uncollapse.nn.interfaces import Decoder, EncoderOutput, Feedback


class VAE(nn.Module):
    """A variational autoencoder: p(z) p(x | z) and q(z | x); with a condition c, p(z | c) p(x | z, c) and q(z | x, c).

    Attributes:
        encoder: any module from a batch to q(z | x): a `Posterior`, or an `EncoderOutput`.
        decoder: p(x | z), or p(x | z, c).
        prior: p(z).
        bow_decoder: an auxiliary bag-of-words decoder for the objective, or None.
        condition: labels -> c, or None; a code is then a vector.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: Decoder,
        prior: Prior,
        *,
        bow_decoder: BagOfWords | None = None,
        condition: Condition | None = None,
    ) -> None:
        super().__init__()
        if condition is not None and len(prior.event_shape) > 1:
            raise UserError(f"VAE: a condition needs codes [Z], got the event shape {list(prior.event_shape)}")
        self.encoder, self.decoder, self.prior = encoder, decoder, prior
        self.bow_decoder, self.condition = bow_decoder, condition

    @property
    def latent(self) -> int:
        """Return the numbers of a code; 0 for a language model."""
        return self.prior.latent

    @property
    def device(self) -> torch.device:
        """Return where the weights are."""
        return next(self.parameters()).device

    def encode(self, batch: Batch) -> EncoderOutput:
        """Return q(z | x) of a batch, and the posteriors of the timesteps where the encoder has them."""
        output = self.encoder(batch)
        return output if isinstance(output, EncoderOutput) else EncoderOutput(output)

    def posterior(self, batch: Batch) -> Posterior:
        """Return q(z | x) of the code that is decoded."""
        return self.encode(batch).posterior

    def distortion(
        self, batch: Batch, z: Tensor, teacher_forcing: float = 1.0, *, feedback: Feedback = "draw"
    ) -> Tensor:
        """Return -log p(x | z) in nats per sentence, `[B, K]`, for codes `[B, K, *event]`.

        Below `teacher_forcing` 1 the decoder reads some of its own tokens in place of the true ones (one code a sentence), and
        the result is no longer a likelihood.
        """
        code = self.decoder_input(z, batch.labels)
        if teacher_forcing < 1:
            inputs = self.decoder.scheduled_sampling_inputs(batch, code[:, 0], teacher_forcing, feedback=feedback)
            return self.decoder(batch, code, inputs)
        return self.decoder(batch, code)

    def decoder_input(self, z: Tensor, labels: Labels = UNLABELLED) -> Tensor:
        """Return the codes `[B, (K,) *event]`, and with a condition [z; c], `[B, (K,) Z + C]`."""
        if self.condition is None:
            return z
        c = self.condition(labels).to(z.dtype)
        return torch.cat([z, c if z.ndim == 2 else c[:, None].expand(-1, z.shape[1], -1)], -1)

    def rate(self, posterior: Posterior, z: Tensor, labels: Labels = UNLABELLED) -> Tensor:
        """Return KL(q(z | x), p(z)) in nats per sentence, `[B]`; z are draws of q, `[B, K, *event]`."""
        return rate(posterior, self.prior, z, labels=labels)


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode; every part of it is afterwards in the mode that it was in."""
    training = [part for part in model.modules() if part.training]
    model.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True
