"""The verdict: is the latent space alive?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["alive", "partly alive", "collapsed", "no latent"]
COLLAPSED, LIVING = 0.1, 1.0
"""Nats of rate or MI below which a space is collapsed, and of MI from which it may be alive."""


@dataclass(frozen=True)
class Verdict:
    """One word, and the numbers it rests on."""

    state: State
    evidence: str


def judge(metrics: Mapping[str, Any]) -> Verdict:
    """Judge an evaluation.

    *collapsed*: rate below 0.1 nats, or MI below 0.1 nats or within two of its standard errors of 0. *alive*: MI of at least
    1 nat, and at least half of the reconstructions differ (where that was not measured: at least half of the units are active;
    of a space of one or two dimensions, one). Between them: *partly alive*.

    Args:
        metrics: with `rate`, `mi`, `mi_se`, `au`, `latent`, and as a rule `distinct` and `z_use`.
    """
    rate, mi, se, au, latent = (metrics[key] for key in ("rate", "mi", "mi_se", "au", "latent"))
    if latent == 0:
        return Verdict("no latent", "a language model has no latent space")
    evidence = f"rate {rate:.2f} nats, MI {mi:.2f} +- {se:.2f} nats, {au} of {latent} units active"
    distinct = metrics.get("distinct")
    if distinct is not None:
        evidence += f", z_use {metrics['z_use']:.2f} nats, {distinct:.0%} of reconstructions differ"
    if rate < COLLAPSED or mi < max(COLLAPSED, 2 * se):
        return Verdict("collapsed", f"{evidence}: z says nothing about the sentence")
    spread = 2 * au >= latent if distinct is None else distinct >= 0.5
    if mi >= LIVING and spread:
        return Verdict("alive", evidence)
    return Verdict("partly alive", evidence)
