"""Which optimisations are used. Each stands in one place and gives what its plain formula gives, which the tests compare.

    with kernels.off("lstm"):
        ...

| name | what is optimised | where |
|---|---|---|
| output | logits, exponentials and gradients of the output layer in chunks | `nn.output` |
| dropout | the random numbers of dropout | `nn.dropout` |
| embedding | gradients of embeddings: the rows of words that a batch has | `training.optimizers` |
| memory | memory that is kept for the next step | `uncollapse.memory` |
| cores | sentences of the bound, a core each | `uncollapse.cores` |
| lstm | the LSTM's backward pass in bf16, and that of held weights; the shares of tokens and of z, each once | `nn.recurrent` |

`train.plain` switches them off for a run: its training and its evaluation. All are looked at when they are used, but that of
embeddings, which is decided when a training begins.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

OPTIMISATIONS = ("output", "lstm", "dropout", "embedding", "memory", "cores")

_plain: ContextVar[frozenset[str]] = ContextVar("plain", default=frozenset())


def plain(name: str) -> bool:
    """Return whether an optimisation is switched off."""
    assert name in OPTIMISATIONS
    return name in _plain.get()


@contextmanager
def off(*names: str) -> Iterator[None]:
    """Switch optimisations off for a while, by name."""
    token = _plain.set(_plain.get() | set(names))
    try:
        yield
    finally:
        _plain.reset(token)
