"""Every optimisation gives what its plain formula gives."""

import numpy as np
import pytest
import torch

import uncollapse as uc
from tests.conftest import tiny_vae
from uncollapse import torch_private
from uncollapse.data.grammar import english
from uncollapse.evaluation import bounds, scores
from uncollapse.evaluation.bounds import log_weights
from uncollapse.evaluation.scores import score
from uncollapse.nn import output, products, recurrent, unrolled
from uncollapse.nn.output import OutputLayer, token_nll
from uncollapse.nn.products import Packs, add_product, layout, matmul_no_grad, pack, product
from uncollapse.nn.recurrent import LSTM
from uncollapse.torch_private import dense, linear, onednn


def reading(sentences, samples, length, grad=True, context=3):
    """Return an LSTM and what it reads: inputs, what stands context them, and a memory."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator).requires_grad_(grad)

    cell = LSTM(5 + context, 7, batch_first=True)
    with torch.no_grad():
        for weight in cell.parameters():
            weight.copy_(0.5 * torch.randn(weight.shape, generator=generator))
    rows = sentences * samples
    return cell, draw(sentences, length, 5), draw(sentences, samples, context), (draw(rows, 7), draw(rows, 7))


@pytest.mark.parametrize(("sentences", "samples", "length"), [(1, 1, 1), (4, 1, 1), (3, 4, 6), (1, 9, 5)])
def test_the_lstm_without_gradients_is_torchs(sentences, samples, length):
    cell, inputs, context, before = reading(sentences, samples, length, grad=False)
    with torch.no_grad():
        states, after = cell.unroll(inputs, context, before)
        expected, last = plain(cell).unroll(inputs, context, before)
    for one, other in zip((states, *after), (expected, *last), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def plain(module):
    """Have a module compute by torch's own operations, as a copy that shares its weights."""
    view = pack(module)
    for part in view.modules():
        if hasattr(part, "packs"):
            part.optimised, part.packs = False, None
    return view


def gradients(cell, inputs, context, before):
    """Return states, last memory and gradients of a sum that weighs every state and the last c differently."""
    states, (h, c) = cell.unroll(inputs, context, before)
    weight = torch.linspace(-1, 1, states.numel()).view_as(states)
    total = (states * weight).sum() + (c**2).sum() + h.sum()
    leaves = [t for t in (inputs, context, *before, *cell.parameters()) if t.requires_grad and t.numel()]
    return states, c, torch.autograd.grad(total, leaves)


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("context", [3, 0])
@pytest.mark.parametrize("length", [1, 6, 8, 21])
def test_the_backward_pass_of_the_lstm_is_torchs(length, context, held, monkeypatch):
    """In fp32, where the two agree to rounding; what it reads and its weights learn, or are held as in an inner step."""
    arguments = cell, inputs, *_ = reading(4, 1, length, context=context)
    for tensor in (inputs, *cell.parameters()):
        tensor.requires_grad_(not held)
    monkeypatch.setattr(LSTM, "_pays", lambda *_: True)
    monkeypatch.setattr(unrolled, "TOGETHER", 8 * 4 * 28)  # steps of four rows, eight at a time
    states, c, result = gradients(pack(cell) if held else cell, *arguments[1:])
    expected = gradients(plain(cell), *arguments[1:])
    torch.testing.assert_close(states, expected[0], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(c, expected[1], atol=1e-6, rtol=1e-5)
    for one, other in zip(result, expected[2], strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)


needs_bf16 = pytest.mark.skipif(not onednn(torch.bfloat16), reason="this CPU does not multiply in bf16")


@needs_bf16
def test_the_lstm_in_bf16_is_as_close_to_fp32_as_torchs(monkeypatch):
    monkeypatch.setitem(recurrent.PAYS, torch.bfloat16, 1)
    arguments = reading(6, 1, 12)
    exact = gradients(*arguments)
    with torch.autocast("cpu", torch.bfloat16):
        ours = gradients(*arguments)
        theirs = gradients(plain(arguments[0]), *arguments[1:])

    def error(result):
        return [float((a - b).norm() / b.norm()) for a, b in zip(result[2], exact[2], strict=True)]

    assert ours[0].dtype == torch.bfloat16
    assert np.mean(error(ours)) < 1.3 * np.mean(error(theirs)) and max(error(ours)) < 0.03


def test_the_cell_adds_up_in_fp32_whatever_the_type_of_what_it_begins_with(monkeypatch):
    monkeypatch.setitem(recurrent.PAYS, torch.bfloat16, 1)
    cell, inputs, context, before = reading(4, 1, 3)
    with torch.autocast("cpu", torch.bfloat16):
        _, (_, c) = cell.unroll(inputs, context, tuple(part.bfloat16() for part in before))
    assert c.dtype == torch.float32


def test_ours_is_used_where_it_was_faster():
    """The Penn Treebank's cell and Yahoo's, learning; and wherever nothing learns and something is shared."""
    for width, low, expected in ((256, True, False), (1024, True, True), (1024, False, False)):
        cell = LSTM(512, width, batch_first=True)
        inputs, context, narrow = torch.zeros(2, 3, 8), torch.zeros(2, 1, 0), torch.bfloat16 if low else torch.float32
        assert cell._pays(inputs, context, True, narrow) == expected
        assert not cell._pays(inputs, context, False, narrow)
        assert cell._pays(inputs[:, :1], context, False, narrow)
        assert cell._pays(inputs, context.repeat(1, 2, 1), False, narrow)


def test_a_memory_alone_can_want_a_gradient():
    cell, inputs, context, before = reading(3, 2, 4)
    for tensor in (inputs, context, *cell.parameters()):
        tensor.requires_grad_(False)
    result = gradients(cell, inputs, context, before)
    expected = gradients(plain(cell), inputs, context, before)
    torch.testing.assert_close(result[2], expected[2])


def test_a_batch_may_have_no_sentence():
    cell, *_ = reading(1, 1, 1, grad=False)
    with torch.no_grad():
        states, (_, c) = cell.unroll(torch.zeros(0, 1, 5), torch.zeros(0, 2, 3))
    assert states.shape == (0, 1, 7) and c.shape == (0, 7)


def test_a_second_backward_pass_is_refused_and_never_wrong(monkeypatch):
    monkeypatch.setattr(LSTM, "_pays", lambda *_: True)
    cell, inputs, context, before = reading(2, 1, 4)
    states, _ = cell.unroll(inputs, context, before)
    torch.autograd.grad(states.sum(), inputs, retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(states.sum(), inputs)


@pytest.mark.parametrize("rows", [1, 15, 16, 33])
@pytest.mark.parametrize("biased", [False, True])
def test_logits_are_those_of_a_linear_layer(rows, biased):
    layer, hidden = OutputLayer(6, 19, bias=biased), torch.randn(rows, 6)
    low = layer.weight.bfloat16()

    def exact(states):
        return torch.nn.functional.linear(states, layer.weight, layer.bias)

    with torch.inference_mode():
        torch.testing.assert_close(layer(hidden), exact(hidden))
        packed = pack(layer)
        for some in (hidden, hidden[:1], hidden.repeat(3, 1)):  # one layout, whatever the rows
            torch.testing.assert_close(packed(some), exact(some))
        if not biased:  # rows decide the type; one layout of a weight for each
            torch.testing.assert_close(packed(hidden.bfloat16()), hidden.bfloat16() @ low.T)
    with torch.no_grad():
        layer.weight.add_(1)
    with torch.inference_mode():  # the layer keeps no layout, and a new view makes its own
        torch.testing.assert_close(layer(hidden), exact(hidden))
        torch.testing.assert_close(pack(layer)(hidden), exact(hidden))


@pytest.mark.parametrize("able", [True, False])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_without_gradients_the_nll_is_that_with_them(monkeypatch, able, biased, dtype):
    """Whether or not oneDNN multiplies in the type, and from a weight that is laid out once for several calls."""
    if not able:
        monkeypatch.setattr(torch_private, "onednn", lambda dtype: False)
        monkeypatch.setattr(products, "onednn", lambda dtype: False)
    monkeypatch.setattr(output, "CHUNK_ELEMENTS", 16 * 300)
    generator = torch.Generator().manual_seed(0)
    hidden, targets = torch.randn(50, 24, generator=generator), torch.randint(300, (50,), generator=generator)
    weight = torch.randn(300, 24, generator=generator) / 5
    bias = torch.randn(300, generator=generator) if biased else None
    expected = torch.nn.functional.cross_entropy(
        torch.nn.functional.linear(hidden, weight, bias), targets, reduction="none"
    )
    hidden = hidden.to(dtype)
    near = {"atol": 1e-5, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 0.02, "rtol": 0.01}
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        torch.testing.assert_close(token_nll(hidden, weight, bias, targets=targets), expected, **near)
        packs = Packs()
        for rows in (slice(None), slice(7)):
            result = token_nll(hidden[rows], weight, bias, targets=targets[rows], packs=packs)
            assert result.dtype == torch.float32
            torch.testing.assert_close(result, expected[rows], **near)


def test_a_weight_is_laid_out_once_for_the_whole_bound(vae, corpus, monkeypatch):
    laid = []
    original = torch.ops.mkldnn._reorder_linear_weight
    if not onednn(torch.float32):
        pytest.skip("no oneDNN")

    def reorder(weight, rows):
        laid.append(weight.shape)
        return original(weight, rows)

    monkeypatch.setattr(torch.ops.mkldnn, "_reorder_linear_weight", reorder)
    for module in (bounds, scores):
        monkeypatch.setattr(module, "TOKENS_AT_A_TIME", 50)  # many groups
    log_weights(vae, corpus, np.arange(len(corpus)), samples=7)
    # the output layer's, and those of an LSTM that read tokens, z and states
    assert len(laid) == len(set(laid)) == (4 if isinstance(getattr(vae.decoder, "cell", None), LSTM) else 1)
    laid.clear()
    score(vae, corpus)
    assert laid == [vae.decoder.output.weight.shape] and vae.decoder.output.packs is None


def test_a_view_shares_weights_keeps_layouts_and_leaves_the_module_alone(vae, corpus):
    view = pack(vae)
    assert all(one is other for one, other in zip(view.parameters(), vae.parameters(), strict=True))
    assert vae.decoder.output.packs is None and isinstance(view.decoder.output.packs, Packs)
    assert pack(view).decoder.output.packs is view.decoder.output.packs
    packs, weight = Packs(), torch.randn(4, 3)
    whole = layout(packs, weight, weight.dtype, rows=2)
    assert (
        layout(packs, weight, weight.dtype, rows=2) is whole and layout(None, weight, weight.dtype, rows=2) is not whole
    )
    assert layout(packs, weight, weight.dtype, rows=2, transposed=True) is not whole
    assert layout(packs, weight, weight.dtype, rows=2, columns=slice(0, 2)) is not whole


def test_log_weights_are_the_same_without_any_optimisation(vae, corpus):
    fast = log_weights(vae, corpus, np.arange(len(corpus)), samples=7)
    exact = log_weights(plain(vae), corpus, np.arange(len(corpus)), samples=7)
    torch.testing.assert_close(fast, exact, atol=1e-4, rtol=1e-5)


@needs_bf16
def test_the_bound_in_bf16_is_that_in_fp32():
    vae = tiny_vae(30)
    texts, _ = english().sample(20, np.random.default_rng(0))
    from uncollapse.data.corpus import Corpus
    from uncollapse.data.vocabulary import build_vocabulary

    corpus = Corpus.from_texts(texts, build_vocabulary(texts, max_size=26))
    exact, low = (log_weights(vae, corpus, np.arange(20), samples=20, precision=p) for p in ("fp32", "bf16"))
    assert not torch.equal(exact, low) and (exact - low).mean().abs() < 0.05


def test_a_plain_run_is_trained_evaluated_and_used_by_torchs_own_operations(tmp_path, monkeypatch):
    small = {
        "data": {"sentences": 60},
        "model": {"latent": 2},
        "encoder": {"emb": 8, "hidden": 8},
        "decoder": {"emb": 8, "hidden": 8},
    }

    def refuse(*_):
        raise AssertionError

    for name in ("uncollapse.nn.output.token_nll", "uncollapse.nn.recurrent.unrolled", "uncollapse.nn.output.layout"):
        monkeypatch.setattr(name, refuse)
    run = uc.train("grammar", out=tmp_path / "run", train={"epochs": 1, "optimisations": False}, **small)
    run.evaluate("test", 3, 5)
    assert len(uc.load(tmp_path / "run").sample(2)) == 2


def test_standard_gamma_has_its_moments_without_the_private_operator(monkeypatch):
    concentration = torch.full((20_000,), 2.5)
    monkeypatch.setattr("torch.distributions.gamma._standard_gamma", torch._standard_gamma)  # torch's own use of it
    monkeypatch.delattr(torch, "_standard_gamma")
    before = torch.get_rng_state()
    one, again = (torch_private.standard_gamma(concentration, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one, again) and torch.equal(before, torch.get_rng_state())
    assert one.mean().item() == pytest.approx(2.5, abs=0.05) and one.var().item() == pytest.approx(2.5, abs=0.15)


@pytest.mark.parametrize("able", [True, False])
def test_a_product_is_that_in_double_precision(monkeypatch, able):
    """By oneDNN or by torch; of matrices that stand as they are or transposed, of one row or column too."""
    if not able:
        monkeypatch.setattr(products, "onednn", lambda dtype: False)
    generator = torch.Generator().manual_seed(0)
    for rows, inner, columns in ((300, 24, 50), (1, 24, 50), (300, 24, 1), (300, 1, 50)):
        left, right = torch.randn(rows, inner, generator=generator), torch.randn(inner, columns, generator=generator)
        for a in (left, left.T.contiguous().T):
            for b in (right, right.T.contiguous().T):
                torch.testing.assert_close(
                    matmul_no_grad(a, b), (a.double() @ b.double()).float(), atol=1e-5, rtol=1e-5
                )
    assert matmul_no_grad(left.double(), right.double()).dtype == torch.float64


def test_onednn_is_given_matrices_without_gaps(monkeypatch):
    """With gaps it gives the same, in a thousand times the time."""
    wide, seen = torch.randn(8, 6), []
    part = wide[:, :4]
    assert torch.equal(dense(part), part) and dense(part).is_contiguous()
    assert torch.equal(dense(part.T), part.T) and dense(part.T).T.is_contiguous()  # copied as it stands
    assert dense(wide) is wide and dense(wide.T).data_ptr() == wide.data_ptr()
    if onednn(torch.float32):
        original = torch.ops.mkldnn._linear_pointwise
        monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", lambda *a: seen.append(a[1]) or original(*a))
    torch.testing.assert_close(linear(torch.eye(4), wide[:, :4]), wide[:, :4].T)
    assert all(matrix.is_contiguous() for matrix in seen) and len(seen) == onednn(torch.float32)


def test_products_in_a_narrow_type_are_formed_block_by_block(monkeypatch):
    """Whole numbers that bf16 holds exactly: every block is in its place, once."""
    monkeypatch.setattr("uncollapse.nn.products.BLOCK", 12)
    left, right = torch.randint(-3, 4, (7, 4)).bfloat16(), torch.randint(-3, 4, (4, 5)).bfloat16()
    exact = left.float() @ right.float()
    result = product(left, right, torch.float32)
    assert result.dtype == torch.float32 and torch.equal(result, exact)
    add_product(result, left, right)
    assert torch.equal(result, 2 * exact)
    assert product(left, right, torch.bfloat16).dtype == torch.bfloat16
