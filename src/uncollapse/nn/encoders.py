"""The recurrent encoder, last-step or timestep-wise."""

from typing import Literal

import torch
from torch import Tensor, nn

from uncollapse.data.corpus import Batch
from uncollapse.distributions.posteriors import Diagonal, Gaussian, StudentT
from uncollapse.errors import UserError
from uncollapse.nn.condition import Condition
from uncollapse.nn.interfaces import Encoder, EncoderOutput
from uncollapse.nn.norms import BatchNorm
from uncollapse.nn.padding import Places, last
from uncollapse.nn.recurrent import CELLS, At, Cell, Memory

Pooling = Literal["last", "mean", "sum"]
StatePooling = Literal["last", "mean", "max"]


class FixedScaleNorm(nn.Module):
    """Batch normalisation with a fixed scale gamma and a learned shift: the mean of mu^2 cannot fall below gamma^2.

    The rate of a batch is then at least Z gamma^2 / 2. Source: Zhu et al. 2020 (BN-VAE), section 4.
    """

    def __init__(self, latent: int, gamma: float) -> None:
        super().__init__()
        self.gamma = gamma
        # under the initialisation of He et al. the variance of mu begins near 1e-8: torch's eps of 1e-5 would leave nothing of it
        self.norm = BatchNorm(latent, affine=False, eps=1e-14)
        self.shift = nn.Parameter(torch.zeros(latent))

    def forward(self, mu: Tensor) -> Tensor:
        """Normalise mu `[N, Z]`."""
        normal: Tensor = self.norm(mu)
        return self.gamma * normal + self.shift


class RecurrentEncoder(Encoder):
    """A recurrent network over the tokens from BOS to EOS; its states give mu and log sigma^2.

    Args:
        vocabulary: tokens V.
        emb: width of the embeddings.
        hidden: width of the states.
        latent: dimensions Z.
        cell: lstm, gru or rnn (tanh).
        pooling: what is decoded: the code of the last timestep, or the mean or sum of the codes of all (Li et al. 2020).
        timestepwise: whether the posteriors of all timesteps are returned too.
        bn: gamma of the batch normalisation of mu; 0 for none.
        df: degrees of freedom of t posteriors; 0 for Gaussian ones.
        condition: labels -> a vector, or None.
        state_pooling: the state that mu and sigma are computed from: the last one, at EOS, or the mean or maximum over all
            (Long et al. 2019); not with posteriors of all timesteps.
        condition_at: where the condition is read: in the last units of the first hidden state (first), next to every embedding
            (every), or both.
        dropout_in: on embeddings.
        bias: of the linear map to mu and log sigma^2.
    """

    def __init__(
        self,
        vocabulary: int,
        emb: int,
        hidden: int,
        latent: int,
        cell: Cell = "lstm",
        pooling: Pooling = "last",
        timestepwise: bool = False,
        bn: float = 0.0,
        df: float = 0.0,
        condition: Condition | None = None,
        state_pooling: StatePooling = "last",
        condition_at: At = "every",
        dropout_in: float = 0.0,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.dropout_in = nn.Dropout(dropout_in)
        self.condition, self.state_pooling, self.condition_at = condition, state_pooling, condition_at
        self.pooling, self.timestepwise, self.df = pooling, timestepwise or pooling != "last", df
        self.embedding = nn.Embedding(vocabulary, emb)
        width = condition.width if condition else 0
        if condition_at != "every" and width > hidden:
            raise UserError(f"encoder.condition_at {condition_at}: expected hidden of at least {width}, got {hidden}")
        self.cell = CELLS[cell](emb + (0 if condition_at == "first" else width), hidden, batch_first=True)
        self.posterior = nn.Linear(hidden, 2 * latent, bias=bias)
        self.norm = FixedScaleNorm(latent, bn) if bn else nn.Identity()

    def forward(self, batch: Batch) -> EncoderOutput:
        """Return q(z | x) of the decoded code, and of every timestep where that is wanted."""
        embedded = self.dropout_in(self.embedding(batch.tokens))
        c = self.condition(batch.labels) if self.condition else embedded.new_zeros(len(batch), 0)
        states, _ = self.cell.unroll(embedded, c[:, None, : self.cell.input_size - embedded.shape[-1]], self._memory(c))
        # The network only looks back, so pads behind EOS change nothing.
        if not self.timestepwise:
            return EncoderOutput(self._head(pooled(states, batch, self.state_pooling)))
        mask = torch.arange(states.shape[1], device=states.device) <= batch.lengths[:, None]
        places = Places.where(mask) if batch.padded else Places((len(batch), states.shape[1]))
        packed = self._head(places.pack(states))
        steps = self._family(places.unpack(packed.mu), places.unpack(packed.logvar))
        return EncoderOutput(combine_steps(steps, mask, self.pooling), steps, mask)

    def _memory(self, c: Tensor) -> Memory | None:
        """Return the first state, whose last units are the condition; None for zeros."""
        if self.condition_at == "every":
            return None
        h = nn.functional.pad(c, (self.cell.hidden_size - c.shape[-1], 0))
        return (h, torch.zeros_like(h)) if isinstance(self.cell, nn.LSTM) else (h,)

    def _head(self, states: Tensor) -> Diagonal:
        mu, logvar = self.posterior(states).to(self.posterior.weight.dtype).chunk(2, dim=-1)
        return self._family(self.norm(mu), logvar)

    def _family(self, mu: Tensor, logvar: Tensor) -> Diagonal:
        return StudentT(mu, logvar, self.df) if self.df else Gaussian(mu, logvar)


def pooled(states: Tensor, batch: Batch, how: StatePooling) -> Tensor:
    """Return the last state of each sentence, or the mean or maximum of every unit over its states, `[B, T, H]` -> `[B, H]`.

    Source: Long, Cao & Cheung 2019, Preventing Posterior Collapse in Sequence VAEs with Pooling, section 3.
    """
    if how == "last":
        return last(states, batch)
    pads = torch.arange(states.shape[1], device=states.device) > batch.lengths[:, None]
    if how == "max":
        return states.masked_fill(pads[..., None], -torch.inf).amax(1)
    return states.masked_fill(pads[..., None], 0).sum(1) / (batch.lengths[:, None] + 1)


def combine_steps(steps: Diagonal, mask: Tensor, how: Pooling) -> Diagonal:
    """Return the distribution of the last code, or of the mean or sum of independent codes of all timesteps.

    mean: N(mean_t mu_t, sum_t v_t / T^2); sum: N(sum_t mu_t, sum_t v_t). T counts the timesteps that there are.
    """
    count = mask.sum(1)
    if how == "last":
        return steps[torch.arange(len(mask), device=mask.device), count - 1]
    share = mask.to(steps.mu.dtype)[..., None]
    if how == "mean":
        share = share / count[:, None, None]
    variance = (share**2 * steps.logvar.exp()).sum(1)
    return Gaussian((share * steps.mu).sum(1), variance.log())
