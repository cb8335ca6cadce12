import pytest

from uncollapse.training.plateau import Plateau


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([3, 2, 1], ["improved"] * 3),
        ([3, 4, 4, 2], ["improved", "wait", "decay", "improved"]),
        ([3, 4, 4, 4, 4], ["improved", "wait", "decay", "wait", "decay"]),
        ([3, 4, 2, 4, 4], ["improved", "wait", "improved", "wait", "decay"]),
        ([1, 2, 2, 2, 2, 2, 2], ["improved", "wait", "decay", "wait", "decay", "wait", "stop"]),
        ([float("nan"), 1], ["wait", "improved"]),
    ],
)
def test_the_rule_on_made_up_losses(losses, expected):
    plateau = Plateau(patience=2, decay_after=0, max_decays=3)
    assert [plateau.advise(loss, epoch) for epoch, loss in enumerate(losses, 1)] == expected


def test_nothing_decays_before_its_time():
    plateau = Plateau(patience=2, decay_after=5, max_decays=3)
    advice = [plateau.advise(loss, epoch) for epoch, loss in enumerate([1, 2, 2, 2, 2, 2, 2], 1)]
    assert advice == ["improved", "wait", "wait", "wait", "decay", "wait", "decay"]


def test_nothing_counts_while_schedules_move():
    plateau = Plateau(patience=2, decay_after=0, max_decays=3)
    advice = [plateau.advise(loss, e, settled=e > 4) for e, loss in enumerate([1, 2, 2, 2, 2, 2], 1)]
    assert advice == ["improved", "wait", "wait", "wait", "wait", "decay"]


def test_no_decays_means_early_stopping():
    plateau = Plateau(patience=3, decay_after=0, max_decays=0)
    assert [plateau.advise(loss, e) for e, loss in enumerate([1, 2, 2, 2], 1)] == ["improved", "wait", "wait", "stop"]
