"""Figures: colours, panels, and how they are written."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from uncollapse.errors import UserError
from uncollapse.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito: distinct for the colour-blind; the dashes are distinct in print
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
SUFFIXES = (".png", ".svg", ".pdf")
DPI = 130
SVG = "http://www.w3.org/2000/svg"


def check_suffix(path: Path, *more: str) -> None:
    """Refuse a file that no figure can be written to.

    Raises:
        UserError: another suffix than those of figures, or of `more`.
    """
    *names, last = (f"*{suffix}" for suffix in (*SUFFIXES, *more))
    if path.suffix not in (*SUFFIXES, *more):
        raise UserError(f"--out: expected a file named {', '.join(names)} or {last}, got {path.name!r}")


def panels(count: int, *, size: tuple[float, float] = (4.2, 2.9), columns: int = 3) -> "tuple[Figure, list[Axes]]":
    """Return a figure and its panels, row by row.

    Args:
        count: of panels.
        size: of a panel, width and height in inches.
        columns: most panels in a row.
    """
    from matplotlib.figure import Figure

    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for axis in axes[count:]:
        axis.set_visible(False)
    return figure, list(axes[:count])


def label(axis: "Axes", title: str = "", x: str = "", y: str = "") -> None:
    """Name a panel and its axes; draw a light grid and no frame."""
    axis.set_title(title, fontsize=10)
    axis.set_xlabel(x, fontsize=9)
    axis.set_ylabel(y, fontsize=9)
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)


def style(number: int) -> dict[str, Any]:
    """Return the colour and the dashes of one line of several."""
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": DASHES[number // len(COLOURS) % len(DASHES)]}


def legend(axis: "Axes", *, outside: bool = False) -> None:
    """Add a legend without a frame, inside of the panel or to the right of it."""
    place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1, 1)} if outside else {}
    for text in axis.legend(fontsize=8, frameon=False, **place).get_texts():
        text.set_parse_math(False)  # a $ in a label is a $


def save(figure: "Figure", path: Path) -> None:
    """Write a figure as its suffix says, whole or not at all."""
    check_suffix(path)
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix[1:], dpi=DPI)
    write_atomically(path, content.getvalue())


def svg(figure: "Figure", tips: Mapping[str, Sequence[str]] = {}) -> str:
    """Return a figure as an SVG element for a web page: its black is the colour of the page's text, its paper transparent.

    Args:
        figure: the figure.
        tips: from the gid of a scatter plot to the text that is shown when the pointer rests on each of its points.
    """
    from matplotlib import rc_context

    content = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "uncollapse"}):
        figure.savefig(content, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    root = ElementTree.fromstring(content.getvalue())
    root.attrib.pop("height")
    root.set("style", f"max-width: {root.attrib.pop('width')}")  # and no wider than the page
    for gid, texts in tips.items():
        group = root.find(f".//*[@id='{gid}']")
        points = [] if group is None else list(group.iter(f"{{{SVG}}}use"))
        for point, text in zip(points, texts, strict=True):
            ElementTree.SubElement(point, f"{{{SVG}}}title").text = text
    return ElementTree.tostring(root, encoding="unicode").replace("#000000", "currentColor")
