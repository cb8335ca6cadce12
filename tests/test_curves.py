"""Curves over training: what is drawn, against the log that it is drawn from."""

import pytest

from uncollapse.errors import UserError
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


def test_an_epoch_that_lacks_one_of_two_numbers_is_left_out_of_their_difference():
    log = [*LOG, {"epoch": 3, "valid": {"rate": 1.0}}]
    assert series(log, "valid.rate - valid.mi")[0] == [1, 2]


def test_training_and_test_are_drawn_in_one_panel():
    log = [{"epoch": 1, "train": {"loss": 5.0, "divergence": 2.0}, "test": {"nll_elbo": 6.0, "rate": 2.5}}]
    one, other = curves_figure({"a": log}, names=["loss", "divergence"]).axes[:2]
    assert [line.get_ydata()[0] for line in one.lines] == [5.0, 6.0]
    assert [line.get_ydata()[0] for line in other.lines] == [2.0, 2.5]
    assert one.get_title() == "training loss; dotted: test nll_elbo"
    alone = curves_figure({"a": [{"epoch": 1, "train": {"loss": 5.0}}]}, names=["loss"]).axes[0]
    assert alone.get_title() == "training loss"  # what is not there is not named


def test_a_panel_that_was_not_recorded_is_refused():
    with pytest.raises(
        UserError, match="panel au: none of the runs has recorded it; recorded: rate, weight, information, mi"
    ):
        curves_figure({"a": LOG}, names=["rate", "au"])


@pytest.mark.parametrize(("runs", "where", "panels"), [(6, 0, 4), (7, 2, 4), (7, 1, 2)])
def test_names_of_many_runs_stand_beside_the_first_row(runs, where, panels):
    figure = curves_figure({str(i): LOG for i in range(runs)}, names=["rate", "mi", "weight", "information"][:panels])
    figure.canvas.draw()
    named = [axis.get_legend() for axis in figure.axes]
    assert [i for i, legend in enumerate(named) if legend] == [where]
    of = named[where].get_window_extent()
    hidden = any(of.overlaps(axis.get_window_extent()) for axis in figure.axes[:panels])
    assert hidden == (runs == 6)
