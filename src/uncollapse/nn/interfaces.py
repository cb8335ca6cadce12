"""What every encoder and every decoder promises."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from uncollapse.data.corpus import Batch
from uncollapse.distributions.posteriors import Diagonal, Gaussian, Posterior
from uncollapse.nn.casts import fresh_casts
from uncollapse.nn.products import pack

Feedback = Literal["draw", "argmax"]
State = tuple[Tensor, ...]
"""What a decoder remembers between steps: tensors whose first dimension is the row, so that rows can be picked."""


@dataclass(frozen=True)
class EncoderOutput:
    """What an encoder returns.

    Attributes:
        posterior: q(z | x) of the code that is decoded.
        steps: the posterior at every timestep, `[B, T, Z]`, or None where only the last is computed.
        mask: which timesteps there are (pads are none), `[B, T]`, or None.
    """

    posterior: Posterior
    steps: Diagonal | None = None
    mask: Tensor | None = None


class Encoder(nn.Module, ABC):
    """From a batch to the posterior of every sentence."""

    @abstractmethod
    def forward(self, batch: Batch) -> EncoderOutput:
        """Return q(z | x), and the posteriors of the timesteps where they are wanted."""


class Decoder(nn.Module, ABC):
    """From codes to the probability of a batch, at once (`forward`) or token by token (`start`, `step`).

    Its z is `VAE.decoder_input`: the code, or in a conditional model [z; c].
    """

    @abstractmethod
    def forward(self, batch: Batch, z: Tensor, inputs: Tensor | None = None) -> Tensor:
        """Return -log p(x | z) in nats, `[B, K]`, for codes `[B, K, Z]`.

        Args:
            batch: what is to be written.
            z: the codes.
            inputs: what is read in place of the batch's own inputs, `[B, T - 1]` (scheduled sampling).
        """

    @abstractmethod
    def start(self, z: Tensor) -> State:
        """Return the state before BOS for codes `[N, Z]`."""

    @abstractmethod
    def step(self, token: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one token a row `[N]`; return the logits of the next `[N, V]` and the new state.

        The old state may be overwritten.
        """

    @torch.no_grad()
    def scheduled_sampling_inputs(
        self, batch: Batch, z: Tensor, teacher_forcing: float, *, feedback: Feedback = "draw"
    ) -> Tensor:
        """Return the inputs of a batch, `[B, T - 1]`, some replaced by the decoder's own tokens.

        Each place is the true token with probability `teacher_forcing`, else the decoder's own after all inputs so far, its own
        tokens among them: a draw, or the most probable token (argmax). No gradient flows through it.

        Source: Bengio et al. 2015 (scheduled sampling), section 2.4.

        Args:
            batch: what is to be written.
            z: codes `[B, Z]`.
            teacher_forcing: the probability of the true token; BOS is always true.
            feedback: draw or argmax.
        """
        decoder = pack(self)
        with fresh_casts(z.device):
            true, state = batch.inputs, decoder.start(z)
            keep = torch.rand(true.shape, device=true.device) < teacher_forcing
            read, wanted = [true[:, 0]], (~keep[:, 1:]).any(0).nonzero()
            last = int(wanted[-1]) + 1 if len(wanted) else 0  # from there on all tokens are true
            for t in range(1, last + 1):
                logits, state = decoder.step(read[-1], state)
                drawn = feedback == "draw"
                own = torch.multinomial(logits.float().softmax(-1), 1)[:, 0] if drawn else logits.argmax(-1)
                read.append(torch.where(keep[:, t], true[:, t], own))
            return torch.cat([torch.stack(read, 1), true[:, last + 1 :]], 1)


class NoEncoder(Encoder):
    """The encoder of a language model: a posterior of no dimensions."""

    def forward(self, batch: Batch) -> EncoderOutput:
        """Return a Gaussian of shape `[B, 0]`."""
        empty = batch.lengths.new_zeros(len(batch), 0).float()
        return EncoderOutput(Gaussian(empty, empty))
