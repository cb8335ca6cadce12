"""From settings to the objective, the factor on the learning rate and further numbers of the log."""

import math
from functools import partial
from typing import Any

from uncollapse.data.corpus import Corpus
from uncollapse.data.splits import Splits
from uncollapse.distributions import divergences
from uncollapse.distributions.divergences import Divergence
from uncollapse.errors import UserError
from uncollapse.extras import MMD, BagOfWordsLoss
from uncollapse.model import VAE
from uncollapse.objectives import Extra, Objective, Penalty
from uncollapse.runs.builders.data import read_lab_pairs
from uncollapse.runs.config import Config
from uncollapse.runs.sections import ObjectiveConfig
from uncollapse.schedules import Clock, Schedule, parse
from uncollapse.tasks.forms.consistency import FormConsistency, Translation
from uncollapse.tasks.forms.conversions import transfer_metrics
from uncollapse.tasks.forms.lab import lab_scores
from uncollapse.training.fit import Measure

VALIDATION_ROWS = 200
"""Of parallel forms, whose conversions are logged."""
MOST_TARGET = 1e4
SHARES = {"last": 0.0, "25%": 0.25, "50%": 0.5, "75%": 0.75, "all": 1.0}


def build_objective(config: Config, batches: int, splits: Splits | None = None) -> Objective:
    """Build the objective of a run with so many batches an epoch; `splits` are needed for rows of forms."""
    settings = config.objective
    clock = clock_of(config, batches)
    penalty = Penalty(
        build_divergence(settings) if config.model.latent else divergences.kl,
        weight=_within(parse(settings.weight, clock), clock.run, 0, math.inf, "objective.weight"),
        floor=settings.floor,
        floor_kind=settings.floor_kind,
        target=_within(parse(settings.target, clock), clock.run, 0, MOST_TARGET, "objective.target"),
        target_kind=settings.target_kind,
        timesteps=SHARES[settings.timesteps],
    )
    extras: list[Extra] = [MMD(settings.mmd)] if settings.mmd else []
    extras += [BagOfWordsLoss(settings.bow)] if settings.bow and config.model.latent else []
    translation = None
    if splits and splits.train.form_field in config.model.condition:
        consistency = _within(
            parse(settings.form_consistency, clock), clock.run, 0, math.inf, "objective.form_consistency"
        )
        extras += [] if consistency.zero else [FormConsistency(splits.train, splits.longest_sentence, consistency)]
        translation = Translation(splits.train) if settings.translate else None
    teacher_forcing = _within(parse(settings.teacher_forcing, clock), clock.run, 0, 1, "objective.teacher_forcing")
    return Objective(
        [penalty],
        extras,
        teacher_forcing,
        target_of=translation,
        feedback=settings.feedback,
        per_token=settings.per_token,
    )


def build_divergence(settings: ObjectiveConfig) -> Divergence:
    """Return the divergence of a name, with its order."""
    choices: dict[str, Any] = {
        "kl": divergences.kl,
        "alpha": partial(divergences.alpha_divergence, alpha=settings.alpha),
        "renyi": partial(divergences.renyi, alpha=settings.alpha),
        "gamma": divergences.gamma_divergence,
    }
    return choices[settings.divergence]


def build_lr_factor(config: Config, batches: int) -> Schedule:
    """Build the factor on the learning rate of a run whose epochs have so many batches."""
    clock = clock_of(config, batches)
    return _within(parse(config.optim.lr_factor, clock), clock.run, 0, math.inf, "optim.lr_factor")


def clock_of(config: Config, batches: int) -> Clock:
    """Return what turns lengths into steps, for a run whose epochs have so many batches; pretraining is not counted."""
    return Clock(epoch=batches, run=batches * max(1, config.train.epochs - config.train.pretrain_epochs))


def _within(schedule: Schedule, run: int, low: float, high: float, name: str) -> Schedule:
    """Return the schedule if all its values over the run lie between two bounds; raise UserError if not."""
    values = [schedule(step) for step in range(0, run + 1, max(1, run // 200))]
    if min(values) < low or max(values) > high:
        bounds = f"from {low:g} to {high:g}" if high < math.inf else f"of at least {low:g}"
        raise UserError(f"{name}: expected values {bounds}, got {min(values):g} to {max(values):g}")
    return schedule


def build_measure(config: Config, splits: Splits) -> Measure | None:
    """Return further numbers for the log: of rows of forms that the model tells apart, their conversion."""
    if splits.train.form_field not in config.model.condition:
        return None
    limit, pairs = splits.longest_sentence, read_lab_pairs(config.data)

    def measure(model: VAE, corpus: Corpus) -> dict[str, float]:
        scores = lab_scores(model, splits.train, pairs, length_limit=limit) if pairs else {}
        return transfer_metrics(model, corpus, limit, rows=VALIDATION_ROWS) | scores

    return measure
