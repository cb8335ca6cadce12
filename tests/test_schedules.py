import math

import pytest

from uncollapse import schedules
from uncollapse.errors import UserError
from uncollapse.schedules import Clock, parse

CLOCK = Clock(epoch=4, run=40)


def values(text, steps):
    schedule = parse(text, CLOCK)
    return [round(schedule(step), 6) for step in range(steps)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.4", [0.4, 0.4, 0.4]),
        ("1", [1, 1]),
        ("-2e-1", [-0.2]),
        ("linear(0, 1, 4 steps)", [0, 0.25, 0.5, 0.75, 1, 1, 1]),
        ("linear(0.2, 1, 1 epochs)", [0.2, 0.4, 0.6, 0.8, 1, 1]),
        ("linear(1, 0, 50%)", [1 - i / 20 for i in range(20)] + [0, 0]),
        ("linear(1, 3, 0.5 epoch)", [1, 2, 3, 3]),
        ("cyclical(0, 1, 8 steps, cycles=2, ratio=0.5)", [0, 0.5, 1, 1, 0, 0.5, 1, 1, 1, 1]),
        ("cyclical(0, 1, 8 steps, cycles=1, ratio=1)", [i / 8 for i in range(8)] + [1]),
        ("step-decay(1, 0.5, 2 steps)", [1, 1, 0.5, 0.5, 0.25, 0.25]),
        ("join(0 for 2 steps, linear(0, 1, 2 steps))", [0, 0, 0, 0.5, 1, 1]),
        ("join(0 for 1 step, 2 for 1 step, 3)", [0, 2, 3, 3]),
    ],
)
def test_written_schedules_match_hand_made_lists(text, expected):
    assert values(text, len(expected)) == pytest.approx(expected, abs=1e-6)


def test_sigmoid_meets_its_ends_is_symmetric_and_is_logistic_inside():
    schedule = parse("sigmoid(0, 2, 10 steps)", CLOCK)
    assert schedule(0) == 0 and schedule(10) == 2 and schedule(5) == pytest.approx(1)
    assert all(schedule(i) + schedule(10 - i) == pytest.approx(2) for i in range(11))
    low = 1 / (1 + math.exp(6))
    assert schedule(7) == pytest.approx(2 * (1 / (1 + math.exp(-2.4)) - low) / (1 - 2 * low))


def test_sigmoid_cycles_start_anew():
    cycle = values("cyclical(0, 1, 20 steps, cycles=2, ratio=0.5, shape=sigmoid)", 20)
    assert cycle[:10] == cycle[10:] and cycle[5:10] == [1] * 5


@pytest.mark.parametrize(
    ("text", "length", "end"),
    [("0.3", 0, 0.3), ("linear(0, 1, 2 epochs)", 8, 1), ("join(0 for 3 steps, linear(0, 0.5, 2 steps))", 5, 0.5)],
)
def test_schedules_know_their_length_and_end(text, length, end):
    schedule = parse(text, CLOCK)
    assert (schedule.length, schedule.end) == (length, end)
    assert schedule(int(length) + 100) == end


def test_a_schedule_by_epoch_has_the_value_of_the_first_step_of_each_epoch():
    clock = Clock(epoch=4, run=100)
    schedule, within = parse("by-epoch(linear(1, 0, 3 epochs))", clock), parse("linear(1, 0, 3 epochs)", clock)
    assert [schedule(step) for step in range(16)] == [within(step // 4 * 4) for step in range(16)]
    assert (schedule(3), schedule(4), schedule(12)) == (1, pytest.approx(2 / 3), 0)
    assert (schedule.length, schedule.end, schedule.settles) == (12, 0, 12)
    late = parse("by-epoch(linear(1, 0, 6 steps))", clock)  # settles where the next epoch begins
    assert late.settles == 8 and late(7) > 0 == late(8)
    assert parse("by-epoch(step-decay(1, 0.5, 4 steps))", clock).length == math.inf


def test_step_decay_never_settles():
    assert parse("step-decay(1, 0.85, 3 epochs)", CLOCK).length == math.inf
    assert schedules.step_decay(1, 0.85, 12)(36) == pytest.approx(0.85**3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lineer(0, 1, 3 steps)", "did you mean linear"),
        ("linear(0, 1)", "expected linear(start, end, length)"),
        ("linear(0, x, 3 steps)", "expected numbers"),
        ("linear(0, 1, 3)", "steps or epochs"),
        ("linear(0, 1, 3 weeks)", "steps or epochs"),
        ("linear(0, 1, -3 steps)", "at least one"),
        ("linear(0, 1, 0 epochs)", "its length is 0 steps; expected at least one"),
        ("cyclical(0, 1, 4 steps, cycles=5)", "at least one step"),
        ("cyclical(0, 1, 2 steps)", "at least one step, got 4 in 2 steps"),
        ("cyclical(0, 1, 4 steps, cycles=1.5)", "whole cycles"),
        ("cyclical(0, 1, 4 steps, ratio=0)", "ratio above 0"),
        ("cyclical(0, 1, 4 steps, shape=square)", "linear, logistic, sigmoid"),
        ("linear(0, 1, 4 steps, cycles=2)", "takes no options"),
        ("join(0, 1)", "SCHEDULE for LENGTH"),
        ("nan", "expected a number or"),
        ("", "expected a number or"),
    ],
)
def test_impossible_schedules_are_refused_in_one_line(text, said):
    with pytest.raises(UserError, match=".") as error:
        parse(text, CLOCK)
    assert said in str(error.value) and "\n" not in str(error.value)
