"""What every encoder and every decoder promises."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from uncollapse.data.corpus import Batch
from uncollapse.latent import Diagonal, Gaussian
from uncollapse.nn.casts import fresh_casts
from uncollapse.nn.products import pack

State = tuple[Tensor, ...]
"""What a decoder remembers between steps: tensors whose first dimension is the row, so that rows can be picked."""


@dataclass(frozen=True)
class Inference:
    """What an encoder says of a batch.

    Attributes:
        posterior: q(z given x) of the code that is decoded, `[B, Z]`.
        steps: the posterior at every timestep, `[B, T, Z]`, or None where only the last is computed.
        mask: which timesteps there are (pads are none), `[B, T]`, or None.
    """

    posterior: Diagonal
    steps: Diagonal | None = None
    mask: Tensor | None = None


class Encoder(nn.Module, ABC):
    """From a batch to the posterior of every sentence."""

    @abstractmethod
    def forward(self, batch: Batch) -> Inference:
        """Return q(z given x), and the posteriors of the timesteps where they are wanted."""


class Decoder(nn.Module, ABC):
    """From codes to the probability of a batch, at once (`forward`) or token by token (`start`, `step`).

    What it calls the code z is whatever it is given: of a conditional model, the code and the condition beside it (`VAE.given`).
    """

    @abstractmethod
    def forward(self, batch: Batch, z: Tensor, inputs: Tensor | None = None) -> Tensor:
        """Return -log p(x given z) in nats, `[B, K]`, for codes `[B, K, Z]`.

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

        The state given may be overwritten.
        """

    @torch.no_grad()
    def own_inputs(self, batch: Batch, z: Tensor, forcing: float) -> Tensor:
        """Return the inputs of a batch, `[B, T - 1]`, some replaced by what the decoder itself writes at that place.

        Each place is the true token with probability `forcing`, else a draw from the decoder's own distribution given all that it
        has read so far, its own tokens among it. What is read is no function of the weights, as the method has it.

        Source: Bengio et al. 2015 (scheduled sampling), section 2.4.

        Args:
            batch: what is to be written.
            z: codes `[B, Z]`.
            forcing: the probability of the true token; BOS is always true.
        """
        decoder = pack(self)
        with fresh_casts(z.device):
            true, state = batch.inputs, decoder.start(z)
            keep = torch.rand(true.shape, device=true.device) < forcing
            read = [true[:, 0]]
            for t in range(1, true.shape[1]):
                logits, state = decoder.step(read[-1], state)
                own = torch.multinomial(logits.float().softmax(-1), 1)[:, 0]
                read.append(torch.where(keep[:, t], true[:, t], own))
            return torch.stack(read, 1)


class NoEncoder(Encoder):
    """The encoder of a language model: a posterior of no dimensions."""

    def forward(self, batch: Batch) -> Inference:
        """Return a Gaussian of shape `[B, 0]`."""
        empty = batch.lengths.new_zeros(len(batch), 0).float()
        return Inference(Gaussian(empty, empty))
