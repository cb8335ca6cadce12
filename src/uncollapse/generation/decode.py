"""The one decoding loop, over any decoder's `step`."""

import numpy as np
import torch
from torch import Tensor

from uncollapse.data.vocabulary import BOS, EOS, PAD
from uncollapse.generation.beam import beam_search
from uncollapse.generation.choose import GREEDY, Decoding
from uncollapse.latent import UNLABELLED, Labels
from uncollapse.model import VAE
from uncollapse.nn.casts import fresh_casts
from uncollapse.nn.interfaces import Decoder
from uncollapse.nn.products import pack

ROWS_AT_A_TIME = 1024


@torch.inference_mode()
def decode(decoder: Decoder, z: Tensor, decoding: Decoding, longest: int, seed: int = 0) -> list[list[list[int]]]:
    """Write the sentences of every code, by any strategy.

    Args:
        decoder: in evaluation mode.
        z: codes, `[N, Z]`.
        decoding: how.
        longest: most tokens of a sentence where `decoding` does not say, EOS not counted.
        seed: of the uniform numbers; each row has its own, whatever batch it is in.

    Returns:
        for each code its n best sentences (one but for beams), the best first: ids without BOS and EOS.
    """
    with fresh_casts(z.device):
        return _decode(pack(decoder), z, decoding, decoding.longest(longest), seed)


def _decode(decoder: Decoder, z: Tensor, decoding: Decoding, longest: int, seed: int) -> list[list[list[int]]]:
    sentences: list[list[list[int]]] = []
    if decoding.strategy == "beam":
        rows = max(1, ROWS_AT_A_TIME // decoding.beam_width)
        for start in range(0, len(z), rows):
            found = beam_search(decoder, z[start : start + rows], decoding, longest)
            sentences += [[one.ids for one in beams] for beams in found]
        return sentences
    # a stream a row, so that a sentence depends neither on how many are written nor on how long they may be
    streams = (np.random.default_rng([seed, row]) for row in range(len(z)))
    uniform = np.array([stream.random(longest) for stream in streams]).reshape(len(z), longest)
    for start in range(0, len(z), ROWS_AT_A_TIME):
        part = slice(start, start + ROWS_AT_A_TIME)
        sentences += _decode_rows(decoder, z[part], decoding, torch.from_numpy(uniform[part]).to(z.device))
    return sentences


@torch.inference_mode()
def write(
    model: VAE, z: Tensor, longest: int, labels: Labels = UNLABELLED, decoding: Decoding = GREEDY, seed: int = 0
) -> list[list[int]]:
    """Write a sentence for every code `[N, Z]` under its labels (classes `[N]` a field); return the ids of each.

    Args:
        model: in evaluation mode.
        z: codes.
        longest: most tokens of a sentence where `decoding` does not say, EOS not counted.
        labels: of a conditional model.
        decoding: how.
        seed: as in `decode`.
    """
    return [best[0] for best in write_all(model, z, longest, labels, decoding, seed)]


@torch.inference_mode()
def write_all(
    model: VAE, z: Tensor, longest: int, labels: Labels = UNLABELLED, decoding: Decoding = GREEDY, seed: int = 0
) -> list[list[list[int]]]:
    """Write the n best sentences of every code; arguments as in `write`."""
    device = model.device
    told = {field: classes.to(device) for field, classes in labels.items()}
    return decode(model.decoder, model.given(z.to(device), told), decoding, longest, seed)


def _decode_rows(decoder: Decoder, z: Tensor, decoding: Decoding, uniform: Tensor) -> list[list[list[int]]]:
    longest = uniform.shape[1]
    written = torch.full((len(z), longest), PAD, device=z.device)
    rows = torch.arange(len(z), device=z.device)
    state, token = decoder.start(z), torch.full((len(z),), BOS, device=z.device)
    lengths = torch.full((len(z),), longest, device=z.device)
    for position in range(longest):
        logits, state = decoder.step(token, state)
        logits = decoding.forbid(logits, written[rows, :position])
        token = decoding.choose(logits, uniform[rows, position])
        going = token != EOS
        if not bool(going.all()):
            lengths[rows[~going]] = position
            rows, token, state = rows[going], token[going], tuple(part[going] for part in state)
        if not len(rows):
            break
        written[rows, position] = token
    return [[ids[:length]] for ids, length in zip(written.tolist(), lengths.tolist(), strict=True)]
