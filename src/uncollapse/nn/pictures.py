"""Decoders of pictures: a PixelCNN and a plain deconvolution.

A picture comes as a sentence of side x side tokens, ink or paper, line by line (`data.pictures`).
"""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from uncollapse.data.corpus import Batch
from uncollapse.data.vocabulary import EOS, INK, PAPER
from uncollapse.nn.interfaces import Decoder, State
from uncollapse.nn.resnet import canvas

NEVER = -torch.inf  # logit of what a picture does not hold


class PictureDecoder(Decoder):
    """What decoders of pictures share: the distortion is the sum of the pixels' Bernoulli losses; EOS is certain.

    A subclass gives the logits of ink, of all pixels at once and of one after the other. In stepping,
    all rows stand at the same pixel.

    Args:
        side: of a picture.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    @abstractmethod
    def logits(self, pictures: Tensor, z: Tensor) -> Tensor:
        """Return the logits of ink `[N, side, side]`, from z and the pixels before each, `[N, 1, side, side]`."""

    def forward(self, batch: Batch, z: Tensor, inputs: Tensor | None = None) -> Tensor:
        """Return -log p(x | z), `[B, K]`; a picture always reads its own pixels (`inputs` is for text)."""
        true = canvas(batch.tokens, self.side).repeat_interleave(z.shape[1], 0)
        logits = self.logits(true, z.flatten(0, 1)).float()
        nll = nn.functional.binary_cross_entropy_with_logits(logits, true[:, 0], reduction="none")
        return nll.sum((1, 2)).view(z.shape[:2])

    @abstractmethod
    def begin(self, z: Tensor) -> State:
        """Return what is remembered before the first pixel, for codes `[N, Z]`."""

    @abstractmethod
    def ink(self, place: int, state: State) -> Tensor:
        """Return the logit of ink at one pixel, `[N]`; what is remembered may be overwritten."""

    @abstractmethod
    def put(self, pixel: Tensor, place: int, state: State) -> None:
        """Write one pixel, 1 or 0, `[N]`, into what is remembered."""

    def start(self, z: Tensor) -> State:
        """Return how many pixels there are (-1: BOS has not been read), and what is remembered."""
        return torch.full((len(z),), -1, device=z.device), *self.begin(z)

    def step(self, token: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one token a row (BOS puts no pixel); return the logits of the next, `[N, V]`: after the last pixel, EOS."""
        placed, *memory = state
        place = int(placed[0]) + 1
        if place:
            self.put((token == INK).float(), place - 1, tuple(memory))
        logits = torch.full((len(token), INK + 1), NEVER, device=token.device)
        if place == self.side**2:
            logits[:, EOS] = 0.0
        else:
            logits[:, PAPER], logits[:, INK] = 0.0, self.ink(place, tuple(memory))
        return logits, (placed + 1, *memory)


class MaskedConv2d(nn.Conv2d):
    """A convolution whose pixel sees only pixels before it, line by line; kind B sees itself too (van den Oord et al. 2016)."""

    mask: Tensor

    def __init__(self, kind: str, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2)
        self.reach = kernel // 2
        mask = torch.ones(kernel, kernel)
        mask[kernel // 2, kernel // 2 + (kind == "B") :] = 0
        mask[kernel // 2 + 1 :] = 0
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve with the masked weights."""
        return self._conv_forward(x, self.weight * self.mask, self.bias)

    def at(self, padded: Tensor, row: int, column: int) -> Tensor:
        """Return the output at one pixel, `[N, outputs]`, of a map with half a kernel of zeros around it."""
        size = self.kernel_size[0]
        window = padded[:, :, row : row + size, column : column + size].flatten(1)
        return nn.functional.linear(window, (self.weight * self.mask).flatten(1), self.bias)


class MaskedBlock(nn.Module):
    """A residual bottleneck: 1 x 1 to half the channels, a masked convolution of kind B, 1 x 1 back; ELU.

    No batch normalisation: its statistics would let a pixel know of those after it.
    """

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        half = max(1, channels // 2)
        self.narrow, self.widen = nn.Conv2d(channels, half, 1), nn.Conv2d(half, channels, 1)
        self.masked = MaskedConv2d("B", half, half, kernel)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[N, channels, side, side]` to the same shape."""
        return nn.functional.elu(x + self.widen(nn.functional.elu(self.masked(nn.functional.elu(self.narrow(x))))))

    def at(self, x: Tensor, seen: Tensor, row: int, *, column: int) -> Tensor:
        """Map the features of one pixel, `[N, channels]`; `seen` remembers the narrow features of those before it."""
        half = self.masked.reach
        seen[:, :, row + half, column + half] = nn.functional.elu(pointwise(self.narrow, x))
        return nn.functional.elu(x + pointwise(self.widen, nn.functional.elu(self.masked.at(seen, row, column))))


def pointwise(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply a 1 x 1 convolution to the features of one pixel, `[N, inputs]`."""
    return nn.functional.linear(x, convolution.weight.flatten(1), convolution.bias)


class PixelCNN(PictureDecoder):
    """A PixelCNN that sees z as further planes of the first layer's features.

    The first convolution is of kind A, all others are residual blocks of kind B; z is mapped to `maps` planes of the picture's
    size, and each pixel sees them at its own place.

    Source: van den Oord et al. 2016; conditioned on z as He et al. 2019, appendix B.3.

    Args:
        side: of a picture.
        latent: width of z, or of [z; c].
        channels: of the layers.
        kernel_sizes: of the kernels, odd, the first of kind A.
        maps: planes of z.
    """

    def __init__(self, side: int, latent: int, channels: int, kernel_sizes: Sequence[int], maps: int = 4) -> None:
        super().__init__(side)
        self.maps = maps if latent else 0
        self.first = MaskedConv2d("A", 1, channels, kernel_sizes[0])
        self.planes = nn.Linear(latent, maps * side * side) if latent else None
        self.mix = nn.Conv2d(maps, channels, 1, bias=False) if latent else None
        self.blocks = nn.ModuleList(MaskedBlock(channels, kernel) for kernel in kernel_sizes[1:])
        self.widen, self.output = nn.Conv2d(channels, channels, 1), nn.Conv2d(channels, 1, 1)

    def logits(self, pictures: Tensor, z: Tensor) -> Tensor:
        """Return the logits of ink of all pixels."""
        features = nn.functional.elu(self.first(pictures) + self._of_code(z))
        for block in self._layers:
            features = block(features)
        return self.output(nn.functional.elu(self.widen(features)))[:, 0]

    def begin(self, z: Tensor) -> State:
        """Return what z says of each pixel, the picture so far and the narrow features of every block, zeros around them."""
        of_code = self._of_code(z).expand(len(z), -1, self.side, self.side)
        return of_code, self._room(z, self.first), *(self._room(z, block.masked) for block in self._layers)

    def ink(self, place: int, state: State) -> Tensor:
        """Return the logit at one pixel: each layer computes that pixel alone."""
        (of_code, picture, *seen), (row, column) = state, divmod(place, self.side)
        features = nn.functional.elu(self.first.at(picture, row, column) + of_code[:, :, row, column])
        for block, maps in zip(self._layers, seen, strict=True):
            features = block.at(features, maps, row, column=column)
        return pointwise(self.output, nn.functional.elu(pointwise(self.widen, features)))[:, 0]

    def put(self, pixel: Tensor, place: int, state: State) -> None:
        """Write one pixel into the picture."""
        half, (row, column) = self.first.reach, divmod(place, self.side)
        state[1][:, 0, row + half, column + half] = pixel

    def _of_code(self, z: Tensor) -> Tensor:
        """Return what z says of the first features of every pixel, `[N, channels, side, side]`; zeros without a code."""
        if self.planes is None or self.mix is None:
            return z.new_zeros(len(z), 1, 1, 1)
        return self.mix(self.planes(z).view(len(z), self.maps, self.side, self.side))

    @property
    def _layers(self) -> list[MaskedBlock]:
        return [block for block in self.blocks if isinstance(block, MaskedBlock)]

    def _room(self, z: Tensor, layer: MaskedConv2d) -> Tensor:
        width = self.side + 2 * layer.reach
        return z.new_zeros(len(z), layer.in_channels, width, width)


class Deconvolution(PictureDecoder):
    """All pixels at once from z alone, independent of each other: a linear map and two transposed convolutions."""

    def __init__(self, side: int, latent: int, channels: int) -> None:
        super().__init__(side)
        self.left = -(-side // 4)
        self.first = nn.Linear(latent, channels * self.left**2)
        self.body = nn.Sequential(
            nn.ELU(),
            nn.ConvTranspose2d(channels, channels, 4, 2, 1),
            nn.ELU(),
            nn.ConvTranspose2d(channels, 1, 4, 2, 1),
        )

    def logits(self, pictures: Tensor, z: Tensor) -> Tensor:
        """Return the logits of ink of all pixels, which are independent given z."""
        features = self.first(z).view(len(z), -1, self.left, self.left)
        return self.body(features)[:, 0, : self.side, : self.side]

    def begin(self, z: Tensor) -> State:
        """Return all logits."""
        return (self.logits(z.new_zeros(0), z).flatten(1),)

    def ink(self, place: int, state: State) -> Tensor:
        """Return the logit at one pixel."""
        return state[0][:, place]

    def put(self, pixel: Tensor, place: int, state: State) -> None:
        """Remember nothing."""
