"""How a latent space fares in training: a few numbers of a small sample, and the state they amount to."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from uncollapse.data.corpus import Corpus
from uncollapse.evaluation.bounds import standard_error
from uncollapse.evaluation.lag import Lag, encoder_lag
from uncollapse.evaluation.posterior import active_units, mutual_information, rates_by_dimension
from uncollapse.evaluation.scores import score
from uncollapse.evaluation.use import z_use
from uncollapse.evaluation.verdict import COLLAPSED, LIVING
from uncollapse.model import VAE

State = Literal["warming up", "healthy", "partial", "collapsed", "dead rate", "exploding", "lagging"]
DEAD: tuple[State, ...] = ("collapsed", "dead rate")
"""The states in which z says nothing about the sentence."""
LEAST_RATE = 0.5
"""Rate, nats, from which a code that carries no information is a dead rate and no plain collapse."""


@dataclass(frozen=True)
class Health:
    """Numbers of a sample, nats per sentence.

    Attributes:
        distortion: mean of -log p(x | z).
        rate: mean of KL(q, p).
        rates: the rate of every dimension; empty where it has no closed form.
        mi: mutual information of sentence and code.
        mi_se: its standard error.
        mi_cap: the most that it could be on this sample.
        au: active units.
        latent: dimensions.
        z_use: how much the distortion rises where every sentence is decoded from the code of another.
        z_use_se: its standard error.
        lag: KL(q(z | x), p(z | x)) of some sentences, or None where it was not measured.
        log_width: as in `Lag`, or None.
    """

    distortion: float
    rate: float
    rates: tuple[float, ...]
    mi: float
    mi_se: float
    mi_cap: float
    au: int
    latent: int
    z_use: float
    z_use_se: float
    lag: float | None = None
    log_width: float | None = None

    @property
    def carried(self) -> float:
        """Return the nats that the code carries: the MI, or the rate where the MI is at its cap."""
        return self.rate if self.mi > self.mi_cap - 0.5 else self.mi

    def record(self) -> dict[str, Any]:
        """Return the numbers for a log, rounded."""
        values = asdict(self)
        rounded = {name: round(value, 5) if isinstance(value, float) else value for name, value in values.items()}
        return {**rounded, "rates": [round(rate, 5) for rate in self.rates]}

    @staticmethod
    def of(record: Mapping[str, Any]) -> "Health":
        """Return the numbers of a log's record."""
        values: dict[str, Any] = {name: record.get(name) for name in Health.__dataclass_fields__}
        return Health(**{**values, "rates": tuple(values["rates"] or ())})


@dataclass(frozen=True)
class Diagnosis:
    """One word, and the numbers it rests on."""

    state: State
    evidence: str


def measure_health(model: VAE, corpus: Corpus, *, lag_sentences: int = 0, seed: int = 0) -> Health:
    """Measure a small sample.

    Args:
        model: in evaluation mode, with a latent space.
        corpus: the sample.
        lag_sentences: how many of its first sentences the lag is measured on; 0: it is not.
        seed: of all draws.
    """
    scores = score(model, corpus, seed)
    mi = mutual_information(scores.posterior, scores.z)
    use = z_use(model, corpus, scores, seed=seed)
    few = np.arange(min(lag_sentences, len(corpus)))
    lag: Lag | None = encoder_lag(model, corpus, few, seed=seed) if len(few) else None
    return Health(
        distortion=float(scores.distortion.double().mean()),
        rate=float(scores.rate.double().mean()),
        rates=tuple(rates_by_dimension(model, corpus, scores.posterior) or ()),
        mi=mi.value,
        mi_se=mi.se,
        mi_cap=mi.cap,
        au=active_units(scores.posterior.mean),
        latent=scores.z[0].numel(),
        z_use=float(use.mean()),
        z_use_se=standard_error(use),
        lag=float(lag.divergence.mean()) if lag else None,
        log_width=lag.log_width if lag else None,
    )


def diagnose(health: Health, *, warming_up: bool = False) -> Diagnosis:
    """Say how a space fares; the first of these that holds.

    | state | |
    | --- | --- |
    | warming up | schedules have not settled, or the first epoch is not over |
    | exploding | the rate is not finite, or above the distortion with another sentence's code: z costs more than it can save |
    | dead rate | rate of at least 0.5 nats, and no information: q is the same for every sentence, or the decoder reads no z |
    | collapsed | rate below 0.1 nats, or MI below 0.1 nats or two of its standard errors |
    | lagging | KL(q(z given x), p(z given x)) of at least 1 nat and the MI (the rate, where the MI is at its cap) |
    | partial | MI or z_use below 1 nat |
    | healthy | all else |

    Args:
        health: of a sample.
        warming_up: whether it is too early for a judgement.
    """
    rate, mi, use = health.rate, health.mi, health.z_use
    numbers = f"rate {rate:.2f}, MI {mi:.2f} +- {health.mi_se:.2f}, z_use {use:.2f} nats, {health.au} of {health.latent} units"
    without = health.distortion + max(use, 0.0)
    if warming_up and math.isfinite(rate):
        return Diagnosis("warming up", numbers)
    if not math.isfinite(rate) or rate > without:
        return Diagnosis("exploding", f"rate {rate:.1f} nats, above the {without:.1f} of a sentence with a wrong code")
    silent = mi < max(COLLAPSED, 2 * health.mi_se)
    unread = use < max(COLLAPSED, 2 * health.z_use_se)
    if rate >= LEAST_RATE and (silent or unread):
        return Diagnosis("dead rate", numbers)
    if rate < COLLAPSED or silent:
        return Diagnosis("collapsed", numbers)
    if health.lag is not None and health.lag >= max(LIVING, health.carried):
        return Diagnosis("lagging", f"{health.lag:.1f} nats from q to the true posterior, MI {mi:.2f}")
    return Diagnosis("healthy" if min(mi, use) >= LIVING else "partial", numbers)
