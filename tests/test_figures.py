"""Figures of latent spaces: what is drawn is what was measured."""

import math
from xml.etree import ElementTree

import numpy as np
import pytest

from uncollapse.cli import main
from uncollapse.data.pictures import texts_of
from uncollapse.errors import UserError
from uncollapse.reporting import views
from uncollapse.reporting.canvas import SVG, panels, save, svg
from uncollapse.reporting.latent import (
    Point,
    Traversal,
    codes_figure,
    map_figure,
    plane_figure,
    project,
    rates_figure,
    robustness_figure,
    traversals_figure,
)

RANDOM = np.random.default_rng(0)


def test_the_plane_shows_every_run_and_the_frontier():
    points = {
        "a": Point(0, 10),
        "b": Point(1, 8),
        "c": Point(2, 9),
        "d": Point(3, 5),
        "e": Point(3, 6),
        "f": Point(4, 5),
    }
    figure = plane_figure(points)
    assert figure.axes[0].lines[0].get_xydata().tolist() == [[0, 10], [1, 8], [3, 5]]
    lines = {line.get_label(): line.get_xydata() for line in figure.axes[0].lines}
    assert lines["c"].tolist() == [[2, 9]]
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == list(points)


def test_rates_are_sorted_by_the_last_one():
    looks = [{"step": 10, "rates": [0.1, 0.5, 0.0]}, {"step": 20, "rates": [0.2, 1.5, 0.9]}, {"step": 30, "rates": []}]
    figure = rates_figure(looks)
    assert figure.axes[0].images[0].get_array().tolist() == [[0.5, 1.5], [0.0, 0.9], [0.1, 0.2]]
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == ["10", "20"]
    with pytest.raises(UserError, match="the monitor has recorded none"):
        rates_figure([{"step": 1, "rates": []}])


def test_pca_is_the_plane_of_largest_variance():
    basis, _ = np.linalg.qr(RANDOM.normal(size=(5, 5)))
    plane = RANDOM.normal(size=(400, 2)) * [3.0, 2.0]
    codes = plane @ basis[:2] + 0.1 * RANDOM.normal(size=(400, 5)) + 7
    places, how = project(codes)
    covariance = np.linalg.eigvalsh(np.cov(codes.T))[::-1]
    assert np.var(places, axis=0, ddof=1) == pytest.approx(covariance[:2])
    assert how == f"PCA, {covariance[:2].sum() / covariance.sum():.0%} of the variance"
    assert project(codes[:, :1])[0][:, 1].tolist() == [0.0] * 400
    assert project(codes[:40], "tsne")[0].shape == (40, 2)
    with pytest.raises(UserError, match="unknown method"):
        project(codes, "umapp")
    with pytest.raises(UserError, match="at least 3"):
        project(codes[:2])


def test_a_map_has_the_sentence_of_each_point():
    places, texts = RANDOM.normal(size=(30, 2)), [f"<{i}> & more" for i in range(30)]
    page = svg(map_figure(places, "PCA", ["a", "b", "c"] * 10), {"map": texts})
    titles = [title.text for title in ElementTree.fromstring(page).iter(f"{{{SVG}}}title")]
    assert titles == texts
    assert "#000000" not in page and "currentColor" in page and "<?xml" not in page


def test_codes_are_drawn_beside_the_prior():
    z = RANDOM.normal(size=(2000, 6))
    figure = codes_figure(z, [0.1, 0.9, 0.0, 0.3, 0.2, 0.05])
    assert [axis.get_title() for axis in figure.axes] == [f"dimension {d}: {r:.2f} nats" for d, r in
                                                          ((1, 0.9), (3, 0.3), (4, 0.2), (0, 0.1))]  # fmt: skip
    x, density = figure.axes[0].lines[0].get_xydata().T
    assert density == pytest.approx(np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi))
    heights = np.array([bar.get_height() for bar in figure.axes[0].patches])
    assert heights.sum() * figure.axes[0].patches[0].get_width() == pytest.approx(1.0)


def test_robustness_is_drawn_as_measured():
    rows = [{"codes": f"mu + {s:g} e", "tokens": t} for s, t in ((0, 0.8), (0.5, 0.6), (2, 0.2))]
    rows += [{"codes": "25.0% of the way to another", "tokens": 0.7}, {"codes": "another sentence's", "tokens": 0.1}]
    noise, way = robustness_figure({"a": rows, "b": rows}).axes
    assert noise.lines[0].get_xydata().tolist() == [[0, 0.8], [0.5, 0.6], [2, 0.2]]
    assert way.lines[0].get_xydata().tolist() == [[0, 0.8], [25, 0.7]] and noise.lines[1].get_ydata()[0] == 0.1


def test_a_figure_is_written_whole_as_its_suffix_says(tmp_path):
    figure, _ = panels(4)
    assert [axis.get_visible() for axis in figure.axes] == [True] * 4 + [False] * 2
    for suffix, head in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")):
        save(figure, tmp_path / "new" / f"a{suffix}")
        assert (tmp_path / "new" / f"a{suffix}").read_bytes().startswith(head)
    with pytest.raises(UserError, match=r"expected a file named \*.png, \*.svg or \*.pdf"):
        save(figure, tmp_path / "a.jpg")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["map", "--panels", "rate"], "--panels: is for curves, not for map"),
        (["rates", "--at", "3"], "--at: is for posterior-mean-space, not for rates"),
        (["map", "--color", "topik"], "unknown label field 'topik': did you mean topic?"),
        (["map", "--method", "umap"], "unknown method 'umap'"),
        (["rates"], "the monitor has recorded none"),
        (["robustness"], "run `uncollapse evaluate"),
        (["curve"], "expected run folders and then a figure"),
    ],
)
def test_mistakes_are_one_line(trained, arguments, said, capsys, tmp_path):
    assert main(["plot", str(trained.path), *arguments, "--out", str(tmp_path / "a.png")]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_a_traversal_moves_one_dimension_of_the_code_of_the_first_sentence(trained):
    corpus = trained.subject(trained.splits()[0], "valid").corpus
    rates = [0.05, 0.3, 2.0, *[0.0] * (trained.model.latent - 3)]
    moved = views.traversals(trained, corpus, rates)
    assert [traversal.dimension for traversal in moved] == [2, 1]  # by their rates; 0.05 nats are not worth it
    codes = np.repeat(trained.encode(corpus.first(1).texts()), views.STEPS, 0)
    codes[:, 2] = np.linspace(-3, 3, views.STEPS)
    assert moved[0].texts == trained.decode(codes) and moved[0].ticks[::3] == ["-3.0", "+0.0", "+3.0"]


def test_the_tick_of_a_traversed_picture_is_below_its_middle():
    texts = texts_of(np.eye(4, dtype=np.uint8)[None].repeat(3, 0))
    axis = traversals_figure([Traversal(0, 1.0, np.array([-1.0, 0.0, 1.0]), texts)], pictures=True).axes[0]
    drawn, width = np.asarray(axis.images[0].get_array()), 4 + 2
    assert drawn.shape == (width, 3 * width) and drawn.sum() == 12
    assert axis.get_xticks().tolist() == [width * (i + 0.5) - 0.5 for i in range(3)]  # a pixel is centred on its number


def test_a_long_sentence_is_shortened_in_a_figure_and_a_dollar_stays_one():
    texts = ["a $x$ b", "word " * 60]
    figure = traversals_figure([Traversal(3, 1.5, np.array([-3.0, 3.0]), texts)])
    shown = [text.get_text() for text in figure.axes[0].texts]
    assert shown[0] == "a $x$ b" and len(shown[1]) <= 96 and shown[1].endswith("word …")
    drawn = svg(figure)
    assert "a $x$ b" in drawn and "dimension 3: 1.50 nats" in drawn


def test_a_dead_code_has_no_traversals(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(views, "rates_by_dimension", lambda *_: [0.01] * trained.model.latent)
    assert main(["plot", str(trained.path), "traversals", "--out", str(tmp_path / "a.png")]) == 2
    assert "no dimension has a rate of 0.1 nats" in capsys.readouterr().err


@pytest.mark.parametrize("figure", ["map", "codes", "traversals"])
def test_a_run_is_drawn(trained, figure, tmp_path):
    assert main(["plot", str(trained.path), figure, "--split", "valid", "--out", str(tmp_path / "a.svg")]) == 0
    assert (tmp_path / "a.svg").stat().st_size > 5000
