"""A linear probe: what a linear classifier reads from the code."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

DECAY = 1e-3


@dataclass(frozen=True)
class Probe:
    """How well a class is read from codes that the probe was not fitted to.

    Attributes:
        accuracy: share of right classes.
        majority: what the most frequent class of the fitted codes would reach.
    """

    accuracy: float
    majority: float


def linear_probe(codes: Tensor, classes: Tensor, other_codes: Tensor, *, other_classes: Tensor) -> Probe:
    """Fit multinomial logistic regression to codes `[N, Z]` and their classes `[N]`, and judge it on other codes `[M, Z]`.

    The codes are standardised; the weights of the mean loss are penalised by 1e-3 |W|^2 / 2.

    Source: Alain & Bengio 2017.
    """
    from sklearn.dummy import DummyClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fitted, held = (part.double().numpy() for part in (codes, other_codes))
    one = len(np.unique(classes)) == 1  # there is nothing to tell apart
    regression = LogisticRegression(C=1 / (DECAY * len(codes)), max_iter=1000)
    judges = (DummyClassifier() if one else make_pipeline(StandardScaler(), regression), DummyClassifier())
    scores = [float(judge.fit(fitted, classes).score(held, other_classes)) for judge in judges]
    return Probe(*scores)
