"""Beam search over all sentences of a batch at once."""

from dataclasses import dataclass

import torch
from torch import Tensor

from uncollapse.data.vocabulary import BOS, EOS
from uncollapse.generation.decoding import Decoding
from uncollapse.nn.interfaces import Decoder


@dataclass(frozen=True)
class Hypothesis:
    """A finished sentence.

    Attributes:
        ids: its tokens, without BOS and EOS.
        log_prob: log p(sentence and EOS | z), nats.
        score: what beams are ranked by, log_prob / length^a.
    """

    ids: list[int]
    log_prob: float
    score: float


@torch.inference_mode()
def beam_search(decoder: Decoder, z: Tensor, decoding: Decoding, *, length_limit: int) -> list[list[Hypothesis]]:
    """Look for the n sentences of each code that rank highest by log p(x | z) / length^a.

    Of every sentence in hand and every token, the W best continuations count. Those that end are finished; the W best that do not
    are taken further. A code is done, and leaves the batch, when W sentences have finished or when nothing in hand can still
    become one of the n best. At the last position a sentence ends, and the probability of its EOS counts as any other.

    With W = 1 this is greedy decoding; with a W that holds every sentence it is exact.

    Args:
        decoder: in evaluation mode.
        z: codes, `[N, Z]`.
        decoding: width W, n, length penalty a, and what may not be written.
        length_limit: most tokens of a sentence, EOS not counted.
    """
    width, device = decoding.beam_width, z.device
    finished: list[list[Hypothesis]] = [[] for _ in range(len(z))]
    codes = torch.arange(len(z), device=device)  # the codes still in the batch
    in_hand = torch.full((len(z), width), -torch.inf, device=device)  # log p of what is written
    in_hand[:, 0] = 0.0  # all begin alike: one counts
    written = torch.empty(len(z), width, 0, dtype=torch.long, device=device)
    state, token = decoder.start(z.repeat_interleave(width, 0)), torch.full((len(z) * width,), BOS, device=device)
    for position in range(length_limit + 1):
        logits, state = decoder.step(token, state)
        log_p = decoding.mask_logits(logits.float().log_softmax(-1), written.flatten(0, 1))
        if position == length_limit:
            log_p = _only_eos(log_p)
        best, parent, token = _continuations(in_hand, log_p, 2 * width)
        ends = token == EOS
        _finish(finished, codes, written, best, parent, ends, decoding)
        # stable: the others stay in the order of their probability
        going = ends.int().argsort(dim=1, stable=True)[:, :width]
        in_hand = best.masked_fill(ends, -torch.inf).gather(1, going)
        parent, token = parent.gather(1, going), token.gather(1, going)
        kept = _kept(finished, codes, in_hand, decoding, length_limit)
        if not len(kept):
            break
        written = torch.cat([written[kept[:, None], parent[kept]], token[kept, :, None]], 2)
        picked = (kept[:, None] * width + parent[kept]).flatten()
        state, token = tuple(part[picked] for part in state), token[kept].flatten()
        codes, in_hand = codes[kept], in_hand[kept]
    return [sorted(beams, key=lambda one: -one.score)[: decoding.n_best] for beams in finished]


def _only_eos(log_p: Tensor) -> Tensor:
    ended = torch.full_like(log_p, -torch.inf)
    ended[:, EOS] = log_p[:, EOS]
    return ended


def _continuations(in_hand: Tensor, log_p: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the best continuations of each code: log probability, the sentence in hand they continue, their token, `[N, count]`.

    The best of a code are among the best of each of its sentences.

    Args:
        in_hand: log p of what is written, `[N, W]`.
        log_p: of the next token, `[N W, V]`.
        count: how many.
    """
    each, token = log_p.topk(min(count, log_p.shape[1]), dim=1)
    total = in_hand[:, :, None] + each.view(*in_hand.shape, -1)
    best, place = total.flatten(1).topk(min(count, total[0].numel()), dim=1)
    return best, place // total.shape[2], token.view(len(in_hand), -1).gather(1, place)


def _finish(
    finished: list[list[Hypothesis]],
    codes: Tensor,
    written: Tensor,
    best: Tensor,
    parent: Tensor,
    ends: Tensor,
    decoding: Decoding,
) -> None:
    """Put aside the sentences that end among the W best continuations."""
    place = torch.arange(ends.shape[1], device=ends.device)
    row, column = torch.nonzero(ends & (place < decoding.beam_width) & best.isfinite(), as_tuple=True)
    tokens = written[row, parent[row, column]].tolist()
    for code, ids, log_prob in zip(codes[row].tolist(), tokens, best[row, column].tolist(), strict=True):
        if len(finished[code]) < decoding.beam_width:
            score = log_prob / (len(ids) + 1) ** decoding.length_penalty
            finished[code].append(Hypothesis(ids, log_prob, score))


def _kept(
    finished: list[list[Hypothesis]], codes: Tensor, in_hand: Tensor, decoding: Decoding, length_limit: int
) -> Tensor:
    """Return which of the codes in the batch go on."""
    # log p only falls, and is divided by (length_limit + 1)^a at most
    reach = (in_hand.max(1).values / (length_limit + 1) ** decoding.length_penalty).tolist()
    kept = []
    for place, (code, bound) in enumerate(zip(codes.tolist(), reach, strict=True)):
        scores = sorted((one.score for one in finished[code]), reverse=True)
        settled = len(scores) >= decoding.n_best and scores[decoding.n_best - 1] >= bound
        if bound > -torch.inf and len(scores) < decoding.beam_width and not settled:
            kept.append(place)
    return torch.tensor(kept, dtype=torch.long, device=codes.device)
