"""How a sentence is written: the strategy, and the step from the logits of the next token to the token."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from uncollapse.data.vocabulary import BOS, EOS, PAD, UNK
from uncollapse.errors import UserError, suggest

Strategy = Literal["greedy", "beam", "sample", "top-k", "nucleus"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)

Choose = Callable[[Tensor, Tensor], Tensor]
"""From logits `[N, V]` and uniform numbers `[N]` to tokens `[N]`."""

NEVER = (PAD, BOS)


@dataclass(frozen=True)
class Decoding:
    """How sentences are written from codes.

    Attributes:
        strategy: `greedy` takes the most probable token; `beam` looks for the most probable sentence; `sample` draws each token
            from its probability; `top-k` among the k most probable; `nucleus` among the fewest that together reach p.
        temperature: divides the logits before a draw; below 1 bolder in what is probable, above 1 more varied.
        top_k: k of `top-k`.
        top_p: p of `nucleus`.
        beam_width: sentences that `beam` keeps in hand.
        length_penalty: a in the rank of a finished beam, log p / length^a (length counts EOS); 0 ranks by log p.
        n_best: sentences that `beam` returns for a code, at most its width.
        min_length: fewest tokens, EOS not counted.
        max_length: most tokens, EOS not counted; 0 for the longest training sentence. What has not ended there is cut (a beam's
            sentences end there, and pay for it).
        no_repeat: no run of so many tokens stands twice in a sentence; 0 allows all.
        no_unknown: the unknown token is not written: the next best is.

    Raises:
        UserError: an unknown strategy, or a value outside its range.

    Source: Fan et al. 2018 (top-k); Holtzman et al. 2020 (nucleus); Wu et al. 2016, section 7 (length normalisation, here without
    the constants); Paulus et al. 2018, section 2.5 (no repetition).
    """

    strategy: Strategy = "greedy"
    temperature: float = 1.0
    top_k: int = 40
    top_p: float = 0.9
    beam_width: int = 5
    length_penalty: float = 0.0
    n_best: int = 1
    min_length: int = 0
    max_length: int = 0
    no_repeat: int = 0
    no_unknown: bool = True

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if self.strategy not in STRATEGIES:
            raise UserError(f"unknown decoding {self.strategy!r}: {suggest(self.strategy, STRATEGIES)}")
        whole = {"top_k": 1, "beam_width": 1, "n_best": 1, "min_length": 0, "max_length": 0, "no_repeat": 0}
        for name, least in whole.items():
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise UserError(f"{name}: expected an integer of at least {least}, got {value!r}")
        for name in ("temperature", "top_p", "length_penalty"):
            if not isinstance(getattr(self, name), int | float):
                raise UserError(f"{name}: expected a number, got {getattr(self, name)!r}")
        if not 1e-6 <= self.temperature <= 1e6:
            raise UserError(
                f"temperature: expected a number from 1e-6 to 1e6, got {self.temperature:g} (greedy is the limit 0)"
            )
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p: expected a number above 0 and at most 1, got {self.top_p:g}")
        if not 0 <= self.length_penalty < float("inf"):
            raise UserError(f"length_penalty: expected a number of at least 0, got {self.length_penalty:g}")
        if self.n_best > (self.beam_width if self.strategy == "beam" else 1):
            room = f"at most beam_width {self.beam_width}" if self.strategy == "beam" else "1 unless decoding by beam"
            raise UserError(f"n_best: expected {room}, got {self.n_best}")
        if self.max_length and self.min_length > self.max_length:
            raise UserError(f"min_length: expected at most max_length {self.max_length}, got {self.min_length}")

    def limit(self, default: int) -> int:
        """Return the most tokens of a sentence."""
        return max(self.max_length or default, self.min_length)

    def select_token(self, logits: Tensor, uniform: Tensor) -> Tensor:
        """Take the next token of each row, for every strategy but beam: `[N, V]`, `[N]` -> `[N]`."""
        if self.strategy == "greedy":
            return greedy(logits, uniform)
        logits = logits / self.temperature
        if self.strategy == "top-k":
            logits = top_k_filter(logits, self.top_k)
        if self.strategy == "nucleus":
            logits = top_p_filter(logits, self.top_p)
        return ancestral(logits, uniform)

    def mask_logits(self, logits: Tensor, written: Tensor) -> Tensor:
        """Return logits (or log probabilities) `[N, V]` with -inf where a token may not follow what is written, `[N, t]`.

        The logits are overwritten. PAD and BOS never may follow: they are no targets of training. A row in which nothing else is
        left may end.
        """
        logits.index_fill_(1, torch.tensor(NEVER + (UNK,) * self.no_unknown, device=logits.device), -torch.inf)
        if self.no_repeat:
            logits = logits.masked_fill(repeats(written, self.no_repeat, logits.shape[1]), -torch.inf)
        if written.shape[1] < self.min_length:
            other = logits.clone()
            other[:, EOS] = -torch.inf
            logits = torch.where(other.isfinite().any(1, keepdim=True), other, logits)
        return logits


GREEDY = Decoding(no_unknown=False)
"""The most probable token, whatever it is: for measurements."""


def greedy(logits: Tensor, uniform: Tensor) -> Tensor:
    """Take the most probable token."""
    return logits.argmax(-1)


def ancestral(logits: Tensor, uniform: Tensor) -> Tensor:
    """Draw from softmax(logits) by inverting its distribution function at the uniform numbers."""
    cumulative = logits.double().softmax(-1).cumsum(-1)
    # The last sum may round below 1: scale, so that no uniform number lies beyond it.
    target = uniform.double()[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, target, right=True).squeeze(1).clamp(max=logits.shape[1] - 1)


def top_k_filter(logits: Tensor, k: int) -> Tensor:
    """Leave the k greatest logits of each row; the others become -inf."""
    kept = logits.topk(min(k, logits.shape[1]), dim=-1)
    return torch.full_like(logits, -torch.inf).scatter(1, kept.indices, kept.values)


def top_p_filter(logits: Tensor, p: float) -> Tensor:
    """Leave the fewest tokens of each row, the most probable first, whose probability reaches p; the others become -inf."""
    ordered, index = logits.sort(dim=-1, descending=True)
    probability = ordered.double().softmax(-1)
    before = probability.cumsum(-1) - probability
    return torch.full_like(logits, -torch.inf).scatter(1, index, ordered.masked_fill(before >= p, -torch.inf))


def repeats(written: Tensor, order: int, vocabulary: int) -> Tensor:
    """Return which tokens would write a run of `order` tokens for the second time, `[N, V]`, after what is written, `[N, t]`."""
    banned = torch.zeros(len(written), vocabulary, device=written.device)
    if written.shape[1] >= order:
        runs = written.unfold(1, order, 1)
        begun = (runs[..., :-1] == written[:, None, written.shape[1] - order + 1 :]).all(-1)
        banned.scatter_add_(1, runs[..., -1], begun.float())
    return banned > 0
