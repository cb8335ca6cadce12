import math

import pytest
import torch

from uncollapse.generation.latent_ops import analogy, arc, line, neighbours, traversal

A, B = torch.tensor([3.0, 0.0, 0.0]), torch.tensor([0.0, 3.0, 0.0])


def test_a_line_is_even_and_an_arc_keeps_its_distance():
    assert torch.allclose(line(A, B, 3), torch.tensor([[3.0, 0, 0], [1.5, 1.5, 0], [0, 3.0, 0]]))
    codes = arc(A, B, 5)
    assert torch.allclose(codes.norm(dim=1), torch.full((5,), 3.0), atol=1e-5)
    angles = torch.atan2(codes[:, 1], codes[:, 0])
    assert torch.allclose(angles, torch.linspace(0, math.pi / 2, 5), atol=1e-5)


@pytest.mark.parametrize("b", [A, 2 * A, -A, 0 * A])
def test_an_arc_between_codes_that_span_no_angle_is_the_line(b):
    assert torch.allclose(arc(A, b, 4), line(A, b, 4))


def test_ends_are_the_ends():
    a, b = torch.randn(2, 7, generator=torch.Generator().manual_seed(1))
    for path in (line, arc):
        assert torch.allclose(path(a, b, 6)[[0, -1]], torch.stack([a, b]), atol=1e-6)


def test_analogy_and_walk():
    assert torch.equal(analogy(A, B, B), A)
    codes = traversal(A, 2, 2.0, steps=5)
    assert codes[:, 2].tolist() == [-2, -1, 0, 1, 2] and (codes[:, :2] == A[:2]).all()
    assert A[2] == 0  # the start is left as it was


def test_neighbours_are_sorted_by_distance():
    codes = torch.tensor([[0.0, 1.0], [3.0, 3.0], [1.0, 1.2], [10.0, 10.0]])
    distance, index = neighbours(torch.tensor([1.0, 1.0]), codes, 3)
    assert index.tolist() == [2, 0, 1] and distance.tolist() == pytest.approx([0.2, 1.0, math.sqrt(8)])
    distance, index = neighbours(torch.tensor([1.0, 1.0]), codes, 2, cosine=True)
    assert index.tolist() == [1, 3] and distance.tolist() == pytest.approx([0, 0], abs=1e-6)
