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


@pytest.mark.parametrize(("runs", "where", "panels"), [(6, 0, 4), (7, 2, 4), (7, 1, 2)])
def test_names_of_many_runs_stand_beside_the_first_row(runs, where, panels):
    figure = curves_figure({str(i): LOG for i in range(runs)}, names=["rate", "mi", "weight", "information"][:panels])
    figure.canvas.draw()
    named = [axis.get_legend() for axis in figure.axes]
    assert [i for i, legend in enumerate(named) if legend] == [where]
    of = named[where].get_window_extent()
    hidden = any(of.overlaps(axis.get_window_extent()) for axis in figure.axes[:panels])
    assert hidden == (runs == 6)
