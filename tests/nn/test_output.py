import pytest
import torch
from torch.nn.functional import cross_entropy, linear

from uncollapse.nn import output
from uncollapse.nn.output import token_nll


def case(rows=13, hidden=5, vocabulary=11, bias=True, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(rows, hidden, generator=generator, dtype=dtype, requires_grad=True)
    w = torch.randn(vocabulary, hidden, generator=generator, dtype=dtype, requires_grad=True)
    b = torch.randn(vocabulary, generator=generator, dtype=dtype, requires_grad=True) if bias else None
    return h, w, b, torch.randint(vocabulary, (rows,), generator=generator)


def plain(h, w, b, y):
    return cross_entropy(linear(h, w, b), y, reduction="none")


@pytest.fixture(params=[1, 37, 10**6], ids=["a row at a time", "odd chunks", "all at once"])
def chunks(request, monkeypatch):
    monkeypatch.setattr(output, "CHUNK_ELEMENTS", request.param)
    monkeypatch.setattr(output, "GRADIENT_CHUNK_ELEMENTS", request.param)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("weights", ["equal", "unequal"])
def test_value_and_gradients_are_those_of_the_plain_formula(chunks, bias, weights):
    h, w, b, y = case(bias=bias)
    leaves = [t for t in (h, w, b) if t is not None]
    scale = torch.full((13,), 0.3, dtype=h.dtype) if weights == "equal" else torch.linspace(-1, 2, 13, dtype=h.dtype)
    expected = torch.autograd.grad((plain(h, w, b, y) * scale).sum(), leaves)
    result = torch.autograd.grad((token_nll(h, w, b, targets=y) * scale).sum(), leaves)
    torch.testing.assert_close(token_nll(h, w, b, targets=y), plain(h, w, b, y))
    for one, other in zip(result, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_gradients_are_those_of_finite_differences():
    h, w, b, y = case(rows=4, hidden=3, vocabulary=5)
    assert torch.autograd.gradcheck(lambda *a: token_nll(*a, targets=y), (h, w, b))


@pytest.mark.parametrize("frozen", ["hidden", "weight", "both"])
def test_frozen_inputs_get_no_gradient(frozen):
    h, w, b, y = case()
    expected = {
        "h": torch.autograd.grad(plain(h, w, b, y).sum(), h)[0],
        "w": torch.autograd.grad(plain(h, w, b, y).sum(), w)[0],
    }
    h.requires_grad_(frozen == "weight")
    w.requires_grad_(frozen == "hidden")
    b.requires_grad_(False)
    nll = token_nll(h, w, b, targets=y)
    assert nll.requires_grad == (frozen != "both")
    if frozen != "both":
        nll.sum().backward()
        torch.testing.assert_close((h if h.requires_grad else w).grad, expected["h" if h.requires_grad else "w"])
    assert b.grad is None


def test_extreme_logits_stay_finite():
    h, w, b, y = case(dtype=torch.float32)
    big = token_nll(h * 1e4, w, b, targets=y)
    torch.testing.assert_close(big, plain(h * 1e4, w, b, y))
    assert torch.isfinite(big).all()


@pytest.mark.parametrize("far", [-500.0, 500.0])
def test_logits_whose_exponentials_leave_fp32_are_shifted(far):
    h, w, b, y = case(dtype=torch.float32)
    away = (b + far).detach().requires_grad_()
    result, expected = (
        torch.autograd.grad(nll.sum(), (h, w)) for nll in (token_nll(h, w, away, targets=y), plain(h, w, b, y))
    )
    torch.testing.assert_close(result, expected, atol=2e-4, rtol=1e-3)  # what fp32 leaves of b beside 500
    with torch.no_grad():
        torch.testing.assert_close(token_nll(h, w, away, targets=y), plain(h, w, b, y), atol=2e-4, rtol=1e-3)


def test_no_rows_give_no_nll():
    h, w, b, y = case(rows=0)
    token_nll(h, w, b, targets=y).sum().backward()
    assert w.grad.abs().sum() == 0


def test_bf16_inside_is_close_and_sums_in_full_precision():
    h, w, b, y = case(rows=200, hidden=32, vocabulary=50, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        low = token_nll(h, w, b, targets=y)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, plain(h, w, b, y), atol=0.15, rtol=0.02)
    low.mean().backward()
    result = w.grad.clone()
    expected = torch.autograd.grad(plain(h, w, b, y).mean(), w)[0]
    assert (result - expected).norm() / expected.norm() < 0.02
