"""Figures of latent spaces: rates over training, the rate-distortion plane, maps, codes, traversals, robustness."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from uncollapse.data.pictures import arrays_of
from uncollapse.errors import UserError, suggest
from uncollapse.reporting.canvas import COLOURS, MARKERS, label, legend, panels, style
from uncollapse.runs.bench import frontier

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METHODS = ("pca", "tsne")
MOST_CLASSES = 7
"""Labels with a colour of their own on a map; the rest are grey."""
SHOWN_DIMENSIONS = 4
LETTERS = 96
"""Of a sentence in a figure; a longer one ends in …"""


@dataclass(frozen=True)
class Point:
    """A run on the rate-distortion plane: nats per sentence, with standard errors (0 where unknown)."""

    rate: float
    distortion: float
    rate_se: float = 0.0
    distortion_se: float = 0.0


def plane_figure(points: Mapping[str, Point]) -> "Figure":
    """Draw runs on the rate-distortion plane, with the frontier and lines of equal nll_elbo (Alemi et al. 2018, figure 1)."""
    figure, (axis,) = panels(1, size=(5.6, 4.2))
    edge = [points[name] for name in frontier({name: (one.rate, one.distortion) for name, one in points.items()})]
    axis.plot([p.rate for p in edge], [p.distortion for p in edge], color="0.6", linewidth=1, zorder=1)
    for number, (name, point) in enumerate(points.items()):
        marks: dict[str, Any] = {
            "color": COLOURS[number % len(COLOURS)],
            "marker": MARKERS[number // len(COLOURS) % len(MARKERS)],
        }
        axis.errorbar(point.rate, point.distortion, point.distortion_se, point.rate_se, color="0.5", zorder=1)
        axis.plot([point.rate], [point.distortion], linestyle="", label=name, **marks)
    label(
        axis,
        "rate-distortion plane; dashed: equal nll_elbo",
        "rate (nats per sentence)",
        "distortion (nats per sentence)",
    )
    (left, right), (low, high) = axis.get_xlim(), axis.get_ylim()
    for total in np.linspace(left + low, right + high, 7)[1:-1]:
        axis.plot([left, right], [total - left, total - right], color="0.75", linewidth=0.7, linestyle="--", zorder=0)
    axis.set(xlim=(left, right), ylim=(low, high))
    legend(axis, outside=True)
    return figure


def rates_figure(looks: Sequence[Mapping[str, Any]]) -> "Figure":
    """Draw the rate of every dimension over training as a heat map, the dimensions by their last rate.

    Args:
        looks: of the monitor.

    Raises:
        UserError: no looks, or no rates by dimension in them.
    """
    looks = [look for look in looks if look["rates"]]
    if not looks:
        raise UserError(
            "rates: the monitor has recorded none; train with --monitor.enabled true, and a Gaussian posterior"
        )
    rates = np.array([look["rates"] for look in looks]).T
    order = np.argsort(-rates[:, -1], kind="stable")
    figure, (axis,) = panels(1, size=(6.4, min(6.0, 1.4 + 0.14 * len(rates))))
    steps = [look["step"] for look in looks]
    extent = (0.5, len(steps) + 0.5, len(rates) + 0.5, 0.5)
    image = axis.imshow(
        rates[order],
        aspect="auto",
        cmap="cividis",
        extent=extent,
        interpolation="nearest",
        vmin=0,
        vmax=max(0.1, rates.max()),
    )
    places = np.unique(np.linspace(1, len(steps), min(6, len(steps))).round().astype(int))
    axis.set_xticks(places, [str(steps[place - 1]) for place in places])
    label(axis, "rate of each dimension", "step", "dimension, by its last rate")
    axis.grid(False)
    figure.colorbar(image, ax=axis, label="nats")
    return figure


@dataclass(frozen=True)
class Plane:
    """A plane in the space of codes.

    Attributes:
        mean: a point of it, `[Z]`.
        basis: two directions of length 1, `[2, Z]`; the second is 0 in a space of one dimension.
        how: it was chosen.
    """

    mean: np.ndarray
    basis: np.ndarray
    how: str

    def project(self, codes: np.ndarray) -> np.ndarray:
        """Return codes `[N, Z]` on the plane, `[N, 2]`."""
        return (codes - self.mean) @ self.basis.T

    def lift(self, places: np.ndarray) -> np.ndarray:
        """Return the codes `[N, Z]` of places on the plane, `[N, 2]`."""
        return self.mean + places @ self.basis


def plane_of(codes: np.ndarray) -> Plane:
    """Return the plane of largest variance of codes `[N, Z]` (PCA)."""
    mean = codes.mean(0)
    _, s, v = np.linalg.svd(codes - mean, full_matrices=False)
    if codes.shape[1] == 1:
        return Plane(mean, np.concatenate([v, np.zeros((1, 1))]), "the only dimension")
    return Plane(mean, v[:2], f"PCA, {(s[:2] ** 2).sum() / max((s**2).sum(), 1e-30):.0%} of the variance")


def project(codes: np.ndarray, method: str = "pca", *, seed: int = 0) -> tuple[np.ndarray, str]:
    """Return codes `[N, Z]` in two dimensions, `[N, 2]`, and how they came there.

    Args:
        codes: at least 3 of them.
        method: pca: the plane of largest variance; tsne: neighbours stay neighbours (van der Maaten & Hinton 2008).
        seed: of tsne.

    Raises:
        UserError: an unknown method, or too few codes.
    """
    if method not in METHODS:
        raise UserError(f"unknown method {method!r}: {suggest(method, METHODS)}")
    if len(codes) < 3:
        raise UserError(f"map: expected at least 3 sentences, got {len(codes)}")
    if method == "tsne":
        from sklearn.manifold import TSNE

        return TSNE(perplexity=min(30.0, (len(codes) - 1) / 3), random_state=seed).fit_transform(codes), "t-SNE"
    plane = plane_of(codes)
    return plane.project(codes), plane.how


def map_figure(places: np.ndarray, how: str, classes: Sequence[str] = (), *, gid: str = "map") -> "Figure":
    """Draw codes in two dimensions, coloured by a label.

    Args:
        places: `[N, 2]`.
        how: they came there.
        classes: the label of each; none for one colour.
        gid: of the points in an SVG, which then are one group in the order of `places`.
    """
    figure, (axis,) = panels(1, size=(5.2, 4.4))
    names = sorted(set(classes), key=lambda name: -list(classes).count(name))[:MOST_CLASSES]
    colour = {name: COLOURS[i] for i, name in enumerate(names)}
    axis.scatter(
        places[:, 0],
        places[:, 1],
        s=14,
        c=[colour.get(name, "0.6") for name in classes] or COLOURS[0],
        linewidth=0,
        alpha=0.7,
        gid=gid,
    )
    for name in names:
        axis.plot([], [], "o", markersize=4, color=colour[name], label=name)
    label(axis, f"posterior means ({how})")
    if names:
        legend(axis, outside=True)
    return figure


def codes_figure(z: np.ndarray, rates: Sequence[float]) -> "Figure":
    """Draw histograms of one draw of q for every sentence beside the standard normal prior: the dimensions of most rate.

    Args:
        z: `[N, Z]`.
        rates: of every dimension, nats.
    """
    order = np.argsort(-np.array(rates), kind="stable")[:SHOWN_DIMENSIONS]
    figure, axes = panels(len(order), size=(2.9, 2.2), columns=2)
    far = max(4.0, float(np.abs(z[:, order]).max()))
    line = np.linspace(-far, far, 121)
    for axis, d in zip(axes, order, strict=True):
        axis.hist(z[:, d], bins=30, range=(-far, far), density=True, color=COLOURS[5], label="codes")
        axis.plot(line, np.exp(-(line**2) / 2) / math.sqrt(2 * math.pi), color=COLOURS[1], linewidth=1.4, label="prior")
        label(axis, f"dimension {d}: {rates[d]:.2f} nats", "z", "density")
    legend(axes[0])
    return figure


@dataclass(frozen=True)
class Traversal:
    """What is written while one dimension of a code moves.

    Attributes:
        dimension: which, from 0.
        rate: of the dimension, nats per sentence.
        values: that it takes, `[S]`.
        texts: written from the code with each value.
    """

    dimension: int
    rate: float
    values: np.ndarray
    texts: Sequence[str]

    def __str__(self) -> str:
        """Return the dimension and its rate."""
        return f"dimension {self.dimension}: {self.rate:.2f} nats"

    @property
    def ticks(self) -> list[str]:
        """Return the values as they are shown."""
        return [f"{value:+.1f}" for value in self.values]


def traversals_figure(traversals: Sequence[Traversal], *, pictures: bool = False) -> "Figure":
    """Draw traversals, a panel each: sentences below each other, or pictures side by side.

    Args:
        traversals: at least one.
        pictures: whether the texts are those of pictures.
    """
    draw, height = (_draw_pictures, 1.3) if pictures else (_draw_sentences, 0.4 + 0.19 * len(traversals[0].values))
    figure, axes = panels(len(traversals), size=(7.6, height), columns=1)
    for axis, traversal in zip(axes, traversals, strict=True):
        draw(axis, traversal)
        axis.grid(False)
    return figure


def _draw_sentences(axis: "Axes", traversal: Traversal) -> None:
    label(axis, str(traversal), y="value")
    steps = len(traversal.values)
    axis.set(xlim=(0, 1), ylim=(steps - 0.5, -0.5), xticks=[])
    axis.set_yticks(range(steps), traversal.ticks)
    for row, text in enumerate(traversal.texts):
        shown = textwrap.shorten(text, LETTERS, placeholder=" …")
        axis.text(0.01, row, shown, fontsize=8, va="center", parse_math=False)


def _draw_pictures(axis: "Axes", traversal: Traversal) -> None:
    label(axis, str(traversal), "value of the dimension")
    drawn = np.pad(arrays_of(traversal.texts), ((0, 0), (1, 1), (1, 1)))
    axis.imshow(np.concatenate(list(drawn), 1), cmap="Greys", interpolation="nearest")
    axis.set_xticks(drawn.shape[2] * (np.arange(len(drawn)) + 0.5) - 0.5, traversal.ticks)
    axis.set_yticks([])


def robustness_figure(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> "Figure":
    """Draw the share of tokens recovered from moved codes, a line a run.

    Args:
        rows: of protocol robustness, by run.
    """
    figure, (noise, way) = panels(2, size=(4.4, 3.1))
    for number, (name, table) in enumerate(rows.items()):
        shares = {row["codes"]: row["tokens"] for row in table}
        sigmas = [(float(key.split()[2]), share) for key, share in shares.items() if key.startswith("mu +")]
        ways = [(float(key.split("%")[0]), share) for key, share in shares.items() if "% of the way" in key]
        ways = [(0.0, sigmas[0][1]), *ways]
        for axis, points in ((noise, sigmas), (way, ways)):
            axis.plot(*zip(*points, strict=True), marker=".", label=name, **style(number))
        noise.axhline(shares["another sentence's"], linewidth=0.8, **{**style(number), "linestyle": ":"})
    label(noise, "noise on the code; dotted: another's code", "sigma (the prior has 1)", "share of tokens recovered")
    label(way, "on the line to another sentence's code", "% of the way", "share of tokens recovered")
    for axis in (noise, way):
        axis.set_ylim(0, 1.02)
    if len(rows) > 1:
        legend(noise)
    return figure
