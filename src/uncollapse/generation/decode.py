"""The one decoding loop, over any decoder's `step`."""

import numpy as np
import torch
from torch import Tensor

from uncollapse.data.vocabulary import BOS, EOS
from uncollapse.generation.choose import Choose, greedy
from uncollapse.latent import UNLABELLED, Labels
from uncollapse.model import VAE
from uncollapse.nn.interfaces import Decoder

ROWS_AT_A_TIME = 256


@torch.inference_mode()
def decode(decoder: Decoder, z: Tensor, choose: Choose, max_length: int, seed: int = 0) -> list[list[int]]:
    """Write a sentence for every code.

    Args:
        decoder: in evaluation mode.
        z: codes, `[N, Z]`.
        choose: how a token is taken from its logits.
        max_length: most tokens of a sentence, EOS not counted.
        seed: of the uniform numbers; each row has its own, whatever batch it is in.

    Returns:
        the ids of each sentence, without BOS and EOS.
    """
    # numpy fills row by row, so that a sentence does not depend on how many are written
    uniform = torch.from_numpy(np.random.default_rng(seed).random((len(z), max_length + 1), dtype=np.float32)).to(
        z.device
    )
    sentences: list[list[int]] = []
    for start in range(0, len(z), ROWS_AT_A_TIME):
        rows = slice(start, start + ROWS_AT_A_TIME)
        sentences += _decode_rows(decoder, z[rows], choose, uniform[rows])
    return sentences


@torch.inference_mode()
def write(
    model: VAE, z: Tensor, longest: int, labels: Labels = UNLABELLED, choose: Choose = greedy, seed: int = 0
) -> list[list[int]]:
    """Write a sentence for every code `[N, Z]` under its labels (classes `[N]` a field); return the ids of each.

    Args:
        model: in evaluation mode.
        z: codes.
        longest: most tokens of a sentence, EOS not counted.
        labels: of a conditional model.
        choose: how a token is taken from its logits.
        seed: as in `decode`.
    """
    device = next(model.parameters()).device
    told = {field: classes.to(device) for field, classes in labels.items()}
    return decode(model.decoder, model.given(z.to(device), told), choose, longest, seed)


def _decode_rows(decoder: Decoder, z: Tensor, choose: Choose, uniform: Tensor) -> list[list[int]]:
    sentences: list[list[int]] = [[] for _ in range(len(z))]
    rows = torch.arange(len(z), device=z.device)
    state, token = decoder.start(z), torch.full((len(z),), BOS, device=z.device)
    for position in range(uniform.shape[1] - 1):
        logits, state = decoder.step(token, state)
        token = choose(logits, uniform[rows, position])
        going = token != EOS
        rows, token, state = rows[going], token[going], tuple(part[going] for part in state)
        if not len(rows):
            break
        for row, written in zip(rows.tolist(), token.tolist(), strict=True):
            sentences[row].append(written)
    return sentences
