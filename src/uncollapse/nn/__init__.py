"""Encoders and decoders."""

from typing import TYPE_CHECKING

from uncollapse.lazy import lazy

if TYPE_CHECKING:
    from uncollapse.nn.decoders import (
        BagOfWords,
        BottleneckDecoder,
        ConvolutionalDecoder,
        RecurrentDecoder,
        TextDecoder,
    )
    from uncollapse.nn.encoders import RecurrentEncoder
    from uncollapse.nn.interfaces import Decoder, Encoder, EncoderOutput
    from uncollapse.nn.pictures import Deconvolution, PixelCNN
    from uncollapse.nn.resnet import ResNetEncoder

__all__ = [
    "BagOfWords",
    "BottleneckDecoder",
    "ConvolutionalDecoder",
    "Decoder",
    "Deconvolution",
    "Encoder",
    "EncoderOutput",
    "PixelCNN",
    "RecurrentDecoder",
    "RecurrentEncoder",
    "ResNetEncoder",
    "TextDecoder",
]
_MODULES = {
    "uncollapse.nn.decoders": (
        "BagOfWords",
        "BottleneckDecoder",
        "ConvolutionalDecoder",
        "RecurrentDecoder",
        "TextDecoder",
    ),
    "uncollapse.nn.encoders": ("RecurrentEncoder",),
    "uncollapse.nn.interfaces": ("Decoder", "Encoder", "EncoderOutput"),
    "uncollapse.nn.pictures": ("Deconvolution", "PixelCNN"),
    "uncollapse.nn.resnet": ("ResNetEncoder",),
}
__getattr__, __dir__ = lazy(__name__, _MODULES)
