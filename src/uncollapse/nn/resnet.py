"""The ResNet encoder for pictures (He et al. 2019).

A picture comes as a sentence of side x side tokens, ink or paper, line by line (`data.pictures`).
"""

import torch
from torch import Tensor, nn

from uncollapse.data.corpus import Batch
from uncollapse.data.vocabulary import INK
from uncollapse.distributions.posteriors import Diagonal, Gaussian, StudentT
from uncollapse.nn.condition import Condition
from uncollapse.nn.encoders import FixedScaleNorm
from uncollapse.nn.interfaces import Encoder, EncoderOutput
from uncollapse.nn.norms import BatchNorm


def canvas(tokens: Tensor, side: int) -> Tensor:
    """Return the pictures of sentences with BOS and EOS, 1 for ink and 0 for paper, `[B, 1, side, side]`."""
    return (tokens[:, 1 : side * side + 1] == INK).float().view(-1, 1, side, side)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with batch normalisation, added to their (projected) input; ELU."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, channels, 3, stride, 1, bias=False),
            BatchNorm(channels),
            nn.ELU(),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            BatchNorm(channels),
        )
        self.project = nn.Sequential(nn.Conv2d(inputs, channels, 1, stride, bias=False), BatchNorm(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, inputs, h, w]` to `[B, channels, ceil(h / stride), ceil(w / stride)]`."""
        return nn.functional.elu(self.body(x) + self.project(x))


class ResNetEncoder(Encoder):
    """Three residual blocks of stride 2, a convolution over all that is left, and a linear map to mu and log sigma^2.

    Source: He et al. 2019, appendix B.3; here the last convolution has no batch normalisation.

    Args:
        side: of a picture, at least 8.
        latent: dimensions Z.
        channels: of the blocks.
        hidden: units before the linear map.
        bn: gamma of the batch normalisation of mu; 0 for none.
        df: degrees of freedom of t posteriors; 0 for Gaussian ones.
        condition: labels -> a vector that the units are concatenated with, or None.
    """

    def __init__(
        self,
        side: int,
        latent: int,
        channels: int = 64,
        hidden: int = 512,
        bn: float = 0.0,
        df: float = 0.0,
        condition: Condition | None = None,
    ) -> None:
        super().__init__()
        self.side, self.df, self.condition = side, df, condition
        left = -(-side // 8)
        self.body = nn.Sequential(
            ResidualBlock(1, channels, 2),
            ResidualBlock(channels, channels, 2),
            ResidualBlock(channels, channels, 2),
            nn.Conv2d(channels, hidden, left),
            nn.ELU(),
            nn.Flatten(),
        )
        self.posterior = nn.Linear(hidden + (condition.width if condition else 0), 2 * latent)
        self.norm = FixedScaleNorm(latent, bn) if bn else nn.Identity()

    def forward(self, batch: Batch) -> EncoderOutput:
        """Return q(z | x)."""
        units = self.body(canvas(batch.tokens, self.side))
        if self.condition is not None:
            units = torch.cat([units, self.condition(batch.labels).to(units.dtype)], 1)
        mu, logvar = self.posterior(units).to(self.posterior.weight.dtype).chunk(2, dim=-1)
        return EncoderOutput(self._family(self.norm(mu), logvar))

    def _family(self, mu: Tensor, logvar: Tensor) -> Diagonal:
        return StudentT(mu, logvar, self.df) if self.df else Gaussian(mu, logvar)
