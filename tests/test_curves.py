"""Curves over training: what is drawn, against the log that it is drawn from."""

import pytest

from uncollapse.reporting.curves import curves_figure, series

LOG = [
    {"epoch": 1, "valid": {"rate": 3.0, "mi": 2.5}, "weight": 1.0},
    {"epoch": 2, "valid": {"rate": 2.0, "mi": 1.9}, "weight": 1.0},
]


def test_a_series_is_a_number_of_the_log_or_the_difference_of_two():
    assert series(LOG, "valid.rate") == ([1, 2], [3.0, 2.0])
    assert series(LOG, "test.rate") == ([], [])
    epochs, gap = series(LOG, "valid.rate - valid.mi")
    assert epochs == [1, 2] and gap == pytest.approx([0.5, 0.1])


def test_rate_information_and_their_gap_are_drawn_on_one_axis(tmp_path, monkeypatch):
    import matplotlib.axes

    drawn = []
    original = matplotlib.axes.Axes.plot

    def spy(self, epochs, values, **style):
        drawn.append((style.get("label", ""), style["linestyle"], [round(value, 6) for value in values]))
        return original(self, epochs, values, **style)

    monkeypatch.setattr(matplotlib.axes.Axes, "plot", spy)
    curves_figure({"a": LOG}, names=["information"])
    assert drawn == [("a", "-", [3.0, 2.0]), ("", ":", [2.5, 1.9]), ("", "-.", [0.5, 0.1])]
