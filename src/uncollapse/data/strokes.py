"""The embedded pictures `strokes`: figures of one to three pen strokes, drawn by ourselves, so that no file is needed."""

import numpy as np

KINDS = ("line", "arc", "hook")
POINTS = 24
PEN = 0.045
"""Half the width of the pen; the picture is 1 x 1."""


def strokes(count: int, side: int, seed: list[int]) -> tuple[np.ndarray, dict[str, list[str]]]:
    """Draw figures.

    Args:
        count: how many.
        side: pixels of a side.
        seed: the same seed draws the same figures, whatever their number.

    Returns:
        how much ink each pixel has, 0 to 1, `[count, side, side]`, and labels: how many strokes, and the kind of the first.
    """
    centres = (np.arange(side) + 0.5) / side
    grid = np.stack(np.meshgrid(centres, centres, indexing="xy"), -1)  # [side, side, 2], x to the right, y down
    ink, numbers, kinds = np.zeros((count, side, side), np.float32), [], []
    for picture in range(count):
        random = np.random.default_rng([*seed, picture])
        drawn = [KINDS[i] for i in random.integers(len(KINDS), size=random.integers(1, 4))]
        for kind in drawn:
            way = _way(kind, random)
            # the distance of each pixel from the pen's way; the edge is one pixel soft
            distance = np.sqrt(((grid[:, :, None] - way) ** 2).sum(-1)).min(-1)
            ink[picture] = np.maximum(ink[picture], np.clip((PEN + 0.5 / side - distance) * side, 0, 1))
        numbers.append(str(len(drawn)))
        kinds.append(drawn[0])
    return ink, {"strokes": numbers, "first": kinds}


def _way(kind: str, random: np.random.Generator) -> np.ndarray:
    """Return points on the way of one stroke, `[POINTS, 2]`."""
    t = np.linspace(0, 1, POINTS)[:, None]
    a, b = random.uniform(0.12, 0.88, (2, 2))
    if kind == "line":
        return a + t * (b - a)
    if kind == "arc":
        centre, radius = random.uniform(0.3, 0.7, 2), random.uniform(0.12, 0.3)
        begin, turn = random.uniform(0, 6.3), random.uniform(2, 6)
        angle = begin + t * turn
        return centre + radius * np.concatenate([np.cos(angle), np.sin(angle)], 1)
    corner = random.uniform(0.12, 0.88, 2)  # a hook: two lines that meet
    return np.where(t < 0.5, a + 2 * t * (corner - a), corner + (2 * t - 1) * (b - corner))
