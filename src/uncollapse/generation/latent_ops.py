"""Moves in the latent space: from codes to codes."""

import torch
from torch import Tensor


def line(a: Tensor, b: Tensor, steps: int) -> Tensor:
    """Return codes on the straight line from a to b, both ends among them: (1 - t) a + t b, `[steps, Z]`."""
    t = torch.linspace(0, 1, steps, dtype=a.dtype)[:, None]
    return (1 - t) * a + t * b


def arc(a: Tensor, b: Tensor, steps: int) -> Tensor:
    """Return codes on the arc from a to b about the origin, both ends among them, `[steps, Z]`.

        (sin((1 - t) w) a + sin(t w) b) / sin w,   w the angle between a and b

    Between draws of N(0, I) in many dimensions, which all lie near a sphere, it stays near that sphere, where a line cuts through
    its middle. Where a and b point the same way, opposite ways or nowhere, it is the line.

    Source: Shoemake 1985; White 2016, section 2.
    """
    norms = a.norm() * b.norm()
    angle = torch.acos(((a @ b) / norms).clamp(-1, 1)) if norms > 0 else torch.zeros(())
    if angle.sin() < 1e-4:
        return line(a, b, steps)
    t = torch.linspace(0, 1, steps, dtype=a.dtype)[:, None]
    return (((1 - t) * angle).sin() * a + (t * angle).sin() * b) / angle.sin()


PATHS = {"line": line, "arc": arc}


def analogy(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Return a - b + c: what stands to c as a stands to b."""
    return a - b + c


def traversal(start: Tensor, dimension: int, span: float, *, steps: int) -> Tensor:
    """Return copies of a code whose one dimension goes from -span to span, `[steps, Z]`."""
    codes = start.repeat(steps, 1)
    codes[:, dimension] = torch.linspace(-span, span, steps, dtype=start.dtype)
    return codes


def neighbours(code: Tensor, codes: Tensor, count: int, *, cosine: bool = False) -> tuple[Tensor, Tensor]:
    """Return the distances and the positions of the codes `[N, Z]` nearest to a code `[Z]`, the nearest first.

    Args:
        code: the one.
        codes: the others.
        count: how many, at most N.
        cosine: 1 - cos of the angle in place of the Euclidean distance.
    """
    distance = 1 - torch.cosine_similarity(codes, code[None]) if cosine else (codes - code).norm(dim=1)
    nearest = distance.sort(stable=True)
    return nearest.values[:count], nearest.indices[:count]
