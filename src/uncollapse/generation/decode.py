"""The one decoding loop, over any decoder's `step`."""

from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uncollapse.data.labels import UNLABELLED, Labels
from uncollapse.data.vocabulary import BOS, EOS, PAD, Vocabulary
from uncollapse.distributions.priors import Source
from uncollapse.errors import UserError
from uncollapse.generation.beam import beam_search
from uncollapse.generation.decoding import GREEDY, Decoding
from uncollapse.model import VAE
from uncollapse.nn.casts import fresh_casts
from uncollapse.nn.interfaces import Decoder
from uncollapse.nn.products import pack
from uncollapse.parallel import sharers

ROWS_AT_A_TIME = 1024


@torch.inference_mode()
def decode(
    decoder: Decoder, z: Tensor, decoding: Decoding, *, length_limit: int, seed: int = 0
) -> list[list[list[int]]]:
    """Return the sentences of every code, by any strategy.

    Args:
        decoder: in evaluation mode.
        z: codes, `[N, Z]`.
        decoding: how.
        length_limit: most tokens of a sentence where `decoding` does not say, EOS not counted.
        seed: of the uniform numbers; each row has its own, whatever batch it is in.

    Returns:
        for each code its n best sentences (one but for beams), the best first: ids without BOS and EOS.
    """
    with fresh_casts(z.device):
        return _decode(pack(decoder), z, decoding, decoding.limit(length_limit), seed)


def _decode(decoder: Decoder, z: Tensor, decoding: Decoding, length_limit: int, seed: int) -> list[list[list[int]]]:
    def of(rows: range) -> list[list[list[int]]]:
        codes = z[rows.start : rows.stop]
        if decoding.strategy == "beam":
            hypotheses = beam_search(decoder, codes, decoding, length_limit=length_limit)
            return [[one.ids for one in beams] for beams in hypotheses]
        # a stream a row, so that a sentence depends neither on how many are written nor on how long they may be
        uniform = [np.random.default_rng([seed, row]).random(length_limit) for row in rows]
        return _decode_rows(decoder, codes, decoding, torch.from_numpy(np.array(uniform)).to(z.device))

    world, width = sharers(), decoding.beam_width if decoding.strategy == "beam" else 1
    most = max(1, min(ROWS_AT_A_TIME // width, -(-len(z) // world.size)))
    parts = [range(len(z))[start : start + most] for start in range(0, len(z), most)]
    return list(chain.from_iterable(world.joined([of(rows) for rows in world.mine(parts)])))


@torch.inference_mode()
def generate(
    model: VAE, z: int | Tensor, *, vocabulary: Vocabulary, labels: Labels = UNLABELLED, seed: int = 0, **decoding: Any
) -> list[str]:
    """Generate a sentence for every code.

    Args:
        model: any; it is left in evaluation mode.
        z: codes, `[N, *event]`, or how many are drawn from the prior.
        vocabulary: from ids to text.
        labels: of a conditional model, classes `[N]` a field.
        seed: of all draws.
        decoding: fields of `Decoding`; by default `strategy="sample"` and `max_length=100`.

    Raises:
        UserError: an unknown strategy, or a value outside its range.
    """
    model.eval()
    codes = model.prior.sample(z, Source(seed), labels) if isinstance(z, int) else z
    how = Decoding(**{"strategy": "sample", "max_length": 100, **decoding})
    if not how.max_length:
        raise UserError("max_length: expected at least 1, got 0")
    return [
        vocabulary.decode(ids)
        for ids in generate_ids(model, codes, how.max_length, labels=labels, decoding=how, seed=seed + 1)
    ]


def generate_ids(
    model: VAE, z: Tensor, length_limit: int, *, labels: Labels = UNLABELLED, decoding: Decoding = GREEDY, seed: int = 0
) -> list[list[int]]:
    """Return the token ids of a sentence for every code.

    Args:
        model: in evaluation mode.
        z: codes, `[N, *event]`.
        length_limit: most tokens of a sentence where `decoding` does not say, EOS not counted.
        labels: of a conditional model, classes `[N]` a field.
        decoding: the strategy.
        seed: as in `decode`.
    """
    n_best = generate_n_best(model, z, length_limit, labels=labels, decoding=decoding, seed=seed)
    return [best[0] for best in n_best]


@torch.inference_mode()
def generate_n_best(
    model: VAE, z: Tensor, length_limit: int, *, labels: Labels = UNLABELLED, decoding: Decoding = GREEDY, seed: int = 0
) -> list[list[list[int]]]:
    """Return the token ids of the n best sentences of every code; arguments as in `generate_ids`."""
    device = model.device
    here = {field: classes.to(device) for field, classes in labels.items()}
    return decode(
        model.decoder, model.decoder_input(z.to(device), here), decoding, length_limit=length_limit, seed=seed
    )


def _decode_rows(decoder: Decoder, z: Tensor, decoding: Decoding, uniform: Tensor) -> list[list[list[int]]]:
    length_limit = uniform.shape[1]
    written = torch.full((len(z), length_limit), PAD, device=z.device)
    rows = torch.arange(len(z), device=z.device)
    state, token = decoder.start(z), torch.full((len(z),), BOS, device=z.device)
    lengths = torch.full((len(z),), length_limit, device=z.device)
    for position in range(length_limit):
        logits, state = decoder.step(token, state)
        logits = decoding.mask_logits(logits, written[rows, :position])
        token = decoding.select_token(logits, uniform[rows, position])
        going = token != EOS
        if not bool(going.all()):
            lengths[rows[~going]] = position
            rows, token, state = rows[going], token[going], tuple(part[going] for part in state)
        if not len(rows):
            break
        written[rows, position] = token
    return [[ids[:length]] for ids, length in zip(written.tolist(), lengths.tolist(), strict=True)]
