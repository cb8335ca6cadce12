"""Uncollapse: train variational autoencoders whose latent space stays alive, and use that space.

import uncollapse as uc
run = uc.train(recipe="grammar", remedy="annealed", seed=1)
run.sample(5)
"""

from typing import TYPE_CHECKING

from uncollapse.lazy import lazy

if TYPE_CHECKING:
    from uncollapse import data, distributions, extras, nn, objectives, schedules
    from uncollapse.distributions.divergences import kl
    from uncollapse.distributions.posteriors import Gaussian, Posterior
    from uncollapse.distributions.priors import Prior, StandardNormal
    from uncollapse.errors import TrainingError, UserError
    from uncollapse.evaluation.evaluate import evaluate
    from uncollapse.generation.decode import generate
    from uncollapse.generation.decoding import Decoding
    from uncollapse.model import VAE
    from uncollapse.objectives import Objective, Penalty, Terms
    from uncollapse.runs.api import load, train
    from uncollapse.runs.run import Run
    from uncollapse.schedules import Schedule, constant, cyclical, linear, sigmoid
    from uncollapse.training import callbacks
    from uncollapse.training.fit import Trainer, fit
    from uncollapse.training.guards import Interrupted

__version__ = "0.1.0"
__all__ = [
    "VAE",
    "Decoding",
    "Gaussian",
    "Interrupted",
    "Objective",
    "Penalty",
    "Posterior",
    "Prior",
    "Run",
    "Schedule",
    "StandardNormal",
    "Terms",
    "Trainer",
    "TrainingError",
    "UserError",
    "__version__",
    "callbacks",
    "constant",
    "cyclical",
    "data",
    "distributions",
    "evaluate",
    "extras",
    "fit",
    "generate",
    "kl",
    "linear",
    "load",
    "nn",
    "objectives",
    "schedules",
    "sigmoid",
    "train",
]
_MODULES = {
    "uncollapse.data": ("data",),
    "uncollapse.distributions": ("distributions",),
    "uncollapse.distributions.divergences": ("kl",),
    "uncollapse.distributions.posteriors": ("Gaussian", "Posterior"),
    "uncollapse.distributions.priors": ("Prior", "StandardNormal"),
    "uncollapse.errors": ("TrainingError", "UserError"),
    "uncollapse.evaluation.evaluate": ("evaluate",),
    "uncollapse.extras": ("extras",),
    "uncollapse.generation.decode": ("generate",),
    "uncollapse.generation.decoding": ("Decoding",),
    "uncollapse.model": ("VAE",),
    "uncollapse.nn": ("nn",),
    "uncollapse.objectives": ("objectives", "Objective", "Penalty", "Terms"),
    "uncollapse.runs.api": ("load", "train"),
    "uncollapse.runs.run": ("Run",),
    "uncollapse.schedules": ("schedules", "Schedule", "constant", "cyclical", "linear", "sigmoid"),
    "uncollapse.training.callbacks": ("callbacks",),
    "uncollapse.training.fit": ("Trainer", "fit"),
    "uncollapse.training.guards": ("Interrupted",),
}
__getattr__, __dir__ = lazy(__name__, _MODULES)
