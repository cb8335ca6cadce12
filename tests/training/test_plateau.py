import math
import random

import pytest

from uncollapse.training.plateau import Plateau


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([3, 2, 1], ["improved"] * 3),
        ([3, 4, 4, 2], ["improved", "wait", "decay", "improved"]),
        ([3, 4, 4, 4, 4], ["improved", "wait", "decay", "wait", "decay"]),
        ([3, 4, 4, 5, 5], ["improved", "wait", "decay", "wait", "decay"]),
        (
            [3, 4, 6, 5, 7, 4, 4, 4],
            ["improved", "wait", "decay", "wait", "wait", "wait", "wait", "decay"],
        ),  # 6 began anew
        ([3, 4, 2, 4, 4], ["improved", "wait", "improved", "wait", "decay"]),
        ([1, 2, 2, 3, 3, 4, 4], ["improved", "wait", "decay", "wait", "decay", "wait", "stop"]),
        ([math.nan, 1], ["wait", "improved"]),
        ([2, math.nan, math.nan, 1], ["improved", "wait", "decay", "improved"]),
    ],
)
def test_the_rule_on_made_up_losses(losses, expected):
    plateau = Plateau(patience=2, decay_after=0, max_decays=3)
    assert [plateau.advise(loss, epoch) for epoch, loss in enumerate(losses, 1)] == expected


def test_nothing_decays_before_its_time():
    plateau = Plateau(patience=2, decay_after=5, max_decays=3)
    advice = [plateau.advise(loss, epoch) for epoch, loss in enumerate([1, 2, 2, 2, 2, 3, 3], 1)]
    assert advice == ["improved", "wait", "wait", "wait", "decay", "wait", "decay"]


def test_nothing_counts_while_schedules_move():
    plateau = Plateau(patience=2, decay_after=0, max_decays=3)
    advice = [plateau.advise(loss, e, settled=e > 4) for e, loss in enumerate([1, 2, 2, 2, 2, 2], 1)]
    assert advice == ["improved", "wait", "wait", "wait", "wait", "decay"]


def test_no_decays_means_early_stopping():
    plateau = Plateau(patience=3, decay_after=0, max_decays=0)
    assert [plateau.advise(loss, e) for e, loss in enumerate([1, 2, 2, 2], 1)] == ["improved", "wait", "wait", "stop"]


def test_the_learning_rate_of_every_epoch_is_that_of_the_published_rule():
    """As `text.py` of He et al. 2019 decides: its epochs count from 0, it acts from 15 on, and patience is 2."""
    draws = random.Random(0)
    decays = 0
    for _ in range(200):
        losses = [100 - 10 * math.log1p(epoch) + draws.gauss(0, 1.5) for epoch in range(100)]

        expected, rate, lowest, worse, saved = [], 1.0, 1e4, 0, 1e4
        for epoch, loss in enumerate(losses):
            saved = min(saved, loss)
            if loss <= lowest:
                lowest, worse = loss, 0
            else:
                worse += 1
                if worse >= 2 and epoch >= 15:
                    lowest, worse, rate = loss, 0, rate / 2
            expected.append((rate, saved))
            if rate == 2**-5:
                break

        plateau, ours = Plateau(patience=2, decay_after=16, max_decays=5), []
        for epoch, loss in enumerate(losses, 1):
            advice = plateau.advise(loss, epoch)
            ours.append((0.5**plateau.decays, plateau.best))
            if advice == "stop":
                break
        assert ours == expected
        decays += plateau.decays
    assert decays > 500
