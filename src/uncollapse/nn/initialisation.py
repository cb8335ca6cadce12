"""How the weights of a model begin (`model.init`), where they do not begin as torch makes them."""

from collections.abc import Iterator

from torch import Tensor, nn

from uncollapse.nn.decoders import BottleneckDecoder
from uncollapse.nn.encoders import RecurrentEncoder


def recurrent_weights(module: nn.Module, prefix: str) -> Iterator[Tensor]:
    """Yield the matrices of the recurrent cells whose names begin so, the gates of each below each other."""
    for part in module.modules():
        if isinstance(part, nn.RNNBase):
            yield from (weight.data for name, weight in part.named_parameters() if name.startswith(prefix))


def initialise_orthogonal(module: nn.Module) -> None:
    """Make the recurrent weights of every gate orthogonal (Saxe et al. 2014); all else stays as it is."""
    for matrix in recurrent_weights(module, "weight_hh"):
        for gate in matrix.split(matrix.shape[1]):
            nn.init.orthogonal_(gate)


def initialise_all_orthogonal(module: nn.Module) -> None:
    """Make every matrix of the recurrent cells orthogonal, the gates of each as one; all else stays as it is."""
    for matrix in recurrent_weights(module, "weight"):
        nn.init.orthogonal_(matrix)


def initialise_prokhorov(module: nn.Module) -> None:
    """Initialise as Prokhorov et al. 2019 do: TensorFlow's defaults, with LeCun normal cells and He uniform convolutions.

    Biases begin at 0, those of the forget gates at 1; linear maps are Glorot uniform, embeddings U(-0.05, 0.05).
    """
    for part in module.modules():
        if isinstance(part, nn.Embedding):
            nn.init.uniform_(part.weight, -0.05, 0.05)
        elif isinstance(part, nn.RNNBase):
            _initialise_lecun(part)
        elif isinstance(part, nn.Conv1d):
            _initialise_he(part)
        elif isinstance(part, nn.Linear) and part.weight.numel():
            nn.init.xavier_uniform_(part.weight)
            _zero_bias(part)
    for part in module.modules():
        if isinstance(part, RecurrentEncoder):
            for matrix in part.posterior.weight.data.chunk(2):  # theirs are two maps, to mu and to log sigma^2
                nn.init.xavier_uniform_(matrix)
        if isinstance(part, BottleneckDecoder):
            for layer in (layer for layer in part.project if isinstance(layer, nn.Linear)):  # convolutions of width 1
                _initialise_he(layer)


def _initialise_lecun(cell: nn.RNNBase) -> None:
    for name, weight in cell.named_parameters():
        if name.startswith("bias"):
            nn.init.zeros_(weight)
        else:
            deviation = weight.shape[1] ** -0.5
            cut = deviation / 0.87962566103423978  # of the normal cut at two deviations, which then has that one
            nn.init.trunc_normal_(weight, std=cut, a=-2 * cut, b=2 * cut)
    if isinstance(cell, nn.LSTM):
        nn.init.ones_(cell.get_parameter("bias_ih_l0").data[cell.hidden_size : 2 * cell.hidden_size])


def _initialise_he(layer: nn.Conv1d | nn.Linear) -> None:
    nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
    _zero_bias(layer)


def _zero_bias(layer: nn.Conv1d | nn.Linear) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def initialise_lagging(module: nn.Module) -> None:
    """Draw every weight from U(-0.01, 0.01) and every embedding from U(-0.1, 0.1), as He et al. 2019 do."""
    for parameter in module.parameters():
        nn.init.uniform_(parameter, -0.01, 0.01)
    for part in module.modules():
        if isinstance(part, nn.Embedding):
            nn.init.uniform_(part.weight, -0.1, 0.1)
