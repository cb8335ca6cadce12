"""The kinds of encoders and decoders, each with its settings. Nothing here imports torch.

A setting that means nothing for a kind does not exist for it.
"""

from dataclasses import dataclass, field
from typing import Literal

from uncollapse.settings import setting

EMB = "width of the token embeddings; 0: by the size of the training split"
HIDDEN = "width of the hidden states; 0: by the size of the training split"
BN = "scale gamma of the batch normalisation of mu; 0: none"
CHANNELS = "channels of the convolutions"


@dataclass(frozen=True)
class RecurrentEncoderConfig:
    """A recurrent network over the tokens (`nn.encoders.RecurrentEncoder`)."""

    kind: Literal["lstm", "gru", "rnn"] = "lstm"
    emb: int = setting(256, EMB, 0)
    hidden: int = setting(256, HIDDEN, 0)
    state_pooling: Literal["last", "mean", "max"] = setting(
        "last", "the state that mu and sigma are computed from: the last, or the mean or maximum over all"
    )
    pooling: Literal["last", "mean", "sum"] = setting(
        "last", "the code that is decoded: of the last timestep, or the mean or sum of the codes of all timesteps"
    )
    bn: float = setting(0.0, BN, 0)
    bias: bool = setting(False, "a bias in the map to mu and log sigma^2")
    dropout_in: float = setting(0.0, "dropout on the inputs", 0, 0.99)
    condition_at: Literal["first", "every", "both"] = setting(
        "every", "where the condition is read: in the last units of the first state, next to every input, or both"
    )


@dataclass(frozen=True)
class ResNetEncoderConfig:
    """A residual network over pictures (`nn.resnet.ResNetEncoder`)."""

    kind: Literal["resnet"] = "resnet"
    hidden: int = setting(256, HIDDEN, 0)
    channels: int = setting(64, CHANNELS, 1)
    bn: float = setting(0.0, BN, 0)


@dataclass(frozen=True)
class TextDecoderConfig:
    """The settings that decoders of text share."""

    emb: int = setting(256, EMB, 0)
    hidden: int = setting(256, HIDDEN, 0)
    dropout_in: float = setting(0.5, "dropout on the inputs", 0, 0.99)
    dropout_out: float = setting(0.5, "dropout on the outputs", 0, 0.99)
    word_dropout: float = setting(0.0, "share of the input words that are read as unknown in training", 0, 1)
    skip: bool = setting(False, "whether z reaches every state directly")
    bias: Literal["none", "output", "all"] = setting(
        "none", "linear maps with a bias: the output layer, or the map from z to the first state too"
    )
    tied: bool = setting(False, "whether the embeddings are the weight of the output layer; emb is hidden then")


@dataclass(frozen=True)
class RecurrentDecoderConfig(TextDecoderConfig):
    """A recurrent network over the tokens (`nn.decoders.RecurrentDecoder`)."""

    kind: Literal["lstm", "gru", "rnn"] = field(default="lstm", kw_only=True)
    z_at: Literal["first", "every", "both"] = setting(
        "both", "where z (and the condition) is read: in the first state, next to every input, or both"
    )
    first_state: Literal["tanh", "hidden", "copy"] = setting(
        "tanh",
        "of an LSTM from a = W z: h = tanh(a), c = a (He et al.); h = a, c = 0 (hidden); h = c = a (copy, Li et al. 2020)",
    )


@dataclass(frozen=True)
class ConvolutionalDecoderConfig(TextDecoderConfig):
    """Gated causal convolutions over the tokens (`nn.decoders.ConvolutionalDecoder`)."""

    kind: Literal["cnn"] = field(default="cnn", kw_only=True)
    context: int = setting(20, "inputs that each of the two blocks sees", 1)


@dataclass(frozen=True)
class BottleneckDecoderConfig(TextDecoderConfig):
    """Gated causal convolutions through a bottleneck (`nn.decoders.BottleneckDecoder`)."""

    kind: Literal["cnn-bottleneck"] = field(default="cnn-bottleneck", kw_only=True)
    context: int = setting(20, "inputs that each of the two blocks sees", 1)
    dropout_block: float = setting(0.1, "dropout after each convolution", 0, 0.99)


@dataclass(frozen=True)
class PixelCNNConfig:
    """Masked convolutions, pixel by pixel (`nn.pictures.PixelCNN`)."""

    kind: Literal["pixelcnn"] = "pixelcnn"
    channels: int = setting(64, CHANNELS, 1)
    kernel_sizes: tuple[int, ...] = setting(
        (7, 7, 7, 7, 7, 5, 5, 5, 5, 3, 3, 3, 3), "sizes of the kernels, one a layer, odd", 1, 999
    )
    maps: int = setting(4, "planes of z, concatenated with the picture", 1)


@dataclass(frozen=True)
class DeconvolutionConfig:
    """Transposed convolutions, all pixels at once (`nn.pictures.Deconvolution`)."""

    kind: Literal["deconvolution"] = "deconvolution"
    channels: int = setting(64, CHANNELS, 1)


@dataclass(frozen=True)
class OwnConfig:
    """A module of one's own, handed in from Python."""

    kind: Literal["own"] = "own"


EncoderConfig = RecurrentEncoderConfig | ResNetEncoderConfig | OwnConfig
TextDecoders = RecurrentDecoderConfig | ConvolutionalDecoderConfig | BottleneckDecoderConfig
DecoderConfig = TextDecoders | PixelCNNConfig | DeconvolutionConfig | OwnConfig
KINDS: dict[str, dict[str, type]] = {
    "encoder": {
        "lstm": RecurrentEncoderConfig,
        "gru": RecurrentEncoderConfig,
        "rnn": RecurrentEncoderConfig,
        "resnet": ResNetEncoderConfig,
        "own": OwnConfig,
    },
    "decoder": {
        "lstm": RecurrentDecoderConfig,
        "gru": RecurrentDecoderConfig,
        "rnn": RecurrentDecoderConfig,
        "cnn": ConvolutionalDecoderConfig,
        "cnn-bottleneck": BottleneckDecoderConfig,
        "pixelcnn": PixelCNNConfig,
        "deconvolution": DeconvolutionConfig,
        "own": OwnConfig,
    },
}
"""The settings of every kind, by section and name."""
