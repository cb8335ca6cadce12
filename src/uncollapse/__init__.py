"""Uncollapse: train variational autoencoders whose latent space stays alive, and use that space.

import uncollapse as uc
run = uc.train(recipe="grammar", remedy="annealed", seed=1)
run.sample(5)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uncollapse.api import Run, load, train
    from uncollapse.errors import TrainingError, UserError
    from uncollapse.generation.choose import Decoding
    from uncollapse.training.guards import Interrupted

__version__ = "0.1.0"
__all__ = ["Decoding", "Interrupted", "Run", "TrainingError", "UserError", "__version__", "load", "train"]

_HOMES = {
    "Decoding": "uncollapse.generation.choose",
    "Interrupted": "uncollapse.training.guards",
    "Run": "uncollapse.api",
    "TrainingError": "uncollapse.errors",
    "UserError": "uncollapse.errors",
    "load": "uncollapse.api",
    "train": "uncollapse.api",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import uncollapse` is quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'uncollapse' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
