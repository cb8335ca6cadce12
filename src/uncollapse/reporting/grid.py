"""Pictures side by side in one PNG."""

import io
from math import ceil, sqrt
from pathlib import Path

import numpy as np

from uncollapse.errors import UserError
from uncollapse.files import write_atomically

SCALE, GAP = 3, 2
COLUMNS = 16
"""Most pictures in a row where their order matters."""


def below(above: np.ndarray, under: np.ndarray, columns: int) -> np.ndarray:
    """Return as many pictures of each of two sets by rows: a row of the first, that of the second below it, and so on.

    Rows of blanks fill what is left of the last ones.
    """
    blank = np.zeros((-len(above) % min(columns, len(above)), *above.shape[1:]), above.dtype)
    rows = [
        np.concatenate([part, blank]).reshape(-1, min(columns, len(above)), *above.shape[1:]) for part in (above, under)
    ]
    return np.stack(rows, 1).reshape(-1, *above.shape[1:])


def draw_grid(pictures: np.ndarray, path: Path, columns: int = 0) -> None:
    """Write pictures as a grid, ink dark on paper light.

    Args:
        pictures: `[N, side, side]`, 1 for ink, or the probability of it.
        path: a .png.
        columns: pictures in a row; by default as many as make the grid a square.

    Raises:
        UserError: another suffix.
    """
    if path.suffix != ".png":
        raise UserError(f"--png: expected a file named *.png, got {path.name!r}")
    write_atomically(path, grid_png(pictures, columns))


def grid_png(pictures: np.ndarray, columns: int = 0) -> bytes:
    """Return pictures as a grid, as the content of a PNG; arguments as in `draw_grid`."""
    from PIL import Image

    count, side = pictures.shape[:2]
    columns = min(columns or ceil(sqrt(count)), count)
    rows, step = ceil(count / columns), side + GAP
    sheet = np.full((rows * step + GAP, columns * step + GAP), 200, np.uint8)
    for number, picture in enumerate(pictures):
        top, left = GAP + step * (number // columns), GAP + step * (number % columns)
        sheet[top : top + side, left : left + side] = 255 - np.round(255 * picture)
    content = io.BytesIO()
    Image.fromarray(sheet).resize((sheet.shape[1] * SCALE, sheet.shape[0] * SCALE), Image.Resampling.NEAREST).save(
        content, "PNG"
    )
    return content.getvalue()
