"""The loss and gradients of a training step as one compiled graph, for models that are small (`train.compile`).

The step of a small model is hardly arithmetic: it is the handing out of several hundred operations, one after another. For
batches of one shape these are always the same. So they are recorded once, forward and backward, and torch's Inductor compiles
them into a few loops between the products.

What is recorded is the objective itself, with the plain formulas of LSTM and output layer. It draws torch's own random numbers.
Batches with pads are not served: what is gathered from them has another shape each time.
"""

import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from uncollapse import kernels
from uncollapse.config import TrainConfig
from uncollapse.cores import cpu_threads
from uncollapse.data.corpus import Batch, Corpus, shuffled_batches
from uncollapse.model import VAE
from uncollapse.objectives import Objective, Terms
from uncollapse.schedules import constant
from uncollapse.training.aggressive import LEAST_INNER_STEPS
from uncollapse.training.progress import Listener, Update

Shape = tuple[int, ...]
"""Sentences, and tokens from BOS to EOS: `[B, T]`."""
Graph = Callable[..., Sequence[Any]]

OFTEN = 10_000
"""Batches of one shape in a training that are worth a graph: it takes up to 20 s, and saves one or two milliseconds a batch."""
LOGITS = 2**22
"""Logits of a batch that are worth one: a graph holds them all, and above this number chunks of them are faster."""
WORTH_A_CORE = 400_000
"""Multiplications of a step of the LSTM below which a second core gains nothing, and is waited for where others keep it busy."""
CLOSE = 1e-3
"""How far a graph's results may be from those of the plain step, as a share of their norm."""


def worthwhile(corpus: Corpus, train: TrainConfig) -> set[Shape]:
    """Return the shapes of batches that are worth a graph: without pads, small, and met often in this training.

    In aggressive training the encoder meets each again, in the inner steps that it takes alone.
    """
    passes = train.epochs * (1 if train.aggressive == "off" else LEAST_INNER_STEPS)
    counts: Counter[Shape] = Counter()
    for index in shuffled_batches(corpus.lengths, train.batch_size, train.seed, 0):
        shortest, longest = corpus.lengths[index].min(), corpus.lengths[index].max()
        if shortest == longest and len(index) * longest * len(corpus.vocabulary) <= LOGITS:
            counts[len(index), int(longest) + 1] += 1  # BOS stands before what is predicted
    return {shape for shape, count in counts.items() if count * passes >= OFTEN}


class Graphs:
    """The compiled graphs of an objective: one for each shape of batch, and for each choice of weights that learn.

    Args:
        model: whose weights learn.
        objective: whose terms are wanted.
        corpus: that it learns from.
        train: how.
        listener: is told what is compiled, or why nothing is.
    """

    def __init__(
        self, model: VAE, objective: Objective, corpus: Corpus, train: TrainConfig, listener: Listener
    ) -> None:
        self.model, self.objective, self.listener = model, objective, listener
        able = model.device.type == "cpu" and train.precision == "fp32"
        self.shapes = worthwhile(corpus, train) if able else set()
        if not self.shapes:
            listener.remark(
                f"train.compile: nothing is compiled; it pays on a CPU in fp32, with {OFTEN:,} small batches of one length"
            )
        self._weights = list(model.parameters())
        # written to in place, by the optimizer and whoever loads weights
        self._state = [*(each.detach() for each in self._weights), *model.buffers()]
        self._graphs: dict[tuple[Shape, tuple[bool, ...]], Graph] = {}

    def differentiate(self, batch: Batch, step: int, factor: float = 1.0) -> tuple[Tensor, float] | None:
        """Leave the gradients of a batch in the weights.

        Args:
            batch: the sentences.
            step: counted from the beginning of the schedules.
            factor: of the weight, set by a controller.

        Returns:
            the numbers of the update `[5]` (`Update.numbers`) and the weight of the penalty; None where no graph serves the
            batch, and nothing is done.
        """
        if not self._serves(batch, step):
            return None
        weight = self.objective.weight(step) * factor
        inputs = [*self._state, *_tensors(batch), torch.tensor(weight), torch.tensor(self.objective.target(step))]
        key = tuple(batch.tokens.shape), tuple(each.requires_grad for each in self._weights)
        if key not in self._graphs and not self._add(key, batch, inputs):
            return None
        numbers, *gradients = self._graphs[key](*inputs)
        for each, gradient in zip((each for each in self._weights if each.requires_grad), gradients, strict=True):
            each.grad = gradient
        return numbers, weight

    def _serves(self, batch: Batch, step: int) -> bool:
        objective = self.objective
        plain = objective.forcing(step) == 1 and not objective.dream(step) and not objective.translate
        return plain and not batch.padded and tuple(batch.tokens.shape) in self.shapes

    def _add(self, key: tuple[Shape, tuple[bool, ...]], batch: Batch, inputs: list[Tensor]) -> bool:
        """Compile a graph, and compare it with the plain step; return whether it is there. If not, none is tried again."""
        began = time.perf_counter()
        try:
            with torch.random.fork_rng([]), warnings.catch_warnings(action="ignore"):  # of torch's, to torch
                plain = self._plain(batch)
                graph = compiled(plain, _copied(inputs))
                state = torch.get_rng_state()
                expected = plain(*_copied(inputs))
                torch.set_rng_state(state)
                found = graph(*_copied(inputs))
                refuse_unlike(found, expected)
        except Exception as error:  # whatever the compiler meets, the plain step is there
            self.shapes = set()
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            self.listener.remark(f"train.compile: it did not work, and training goes on without ({reason})")
            return False
        self._graphs[key] = graph
        (sentences, tokens), learning = key
        self.listener.remark(
            f"compiled the step for batches of {sentences} x {tokens} tokens, in which {sum(learning)} of {len(learning)} "
            f"weights learn, in {time.perf_counter() - began:.0f} s"
        )
        return True

    def _plain(self, batch: Batch) -> Graph:
        """Return the plain step as a function of tensors alone, those of `differentiate`: its numbers, and the gradients."""
        loss = _Loss(self.model, self.objective)
        learning = [each.requires_grad for each in loss.parameters()]
        names = [name for name, _ in (*loss.named_parameters(), *loss.named_buffers())]

        def differentiated(*inputs: Tensor) -> tuple[Tensor | None, ...]:
            state, given = inputs[: len(names)], inputs[len(names) :]
            weights = [each.detach().requires_grad_(learns) for each, learns in zip(state, learning, strict=False)]
            values = dict(zip(names, (*weights, *state[len(weights) :]), strict=True))
            with kernels.off("lstm", "output"), torch.enable_grad():
                terms = functional_call(loss, values, (_with_tensors(batch, given[:-2]), *given[-2:]))
            found = torch.autograd.grad(terms.loss, [each for each in weights if each.requires_grad], allow_unused=True)
            # one by one: Inductor has no loop of its own for all at once
            norm = nn.utils.get_total_norm([each for each in found if each is not None], foreach=False)
            numbers = Update.numbers(terms, norm)
            # laid out as the weights are: the optimizer walks through both side by side
            return numbers, *(None if each is None else each.contiguous() for each in found)

        return differentiated


class _Loss(nn.Module):
    """An objective, at a weight and a target of its penalty that are given as tensors."""

    def __init__(self, model: VAE, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, batch: Batch, weight: Any, target: Any) -> Terms:
        """Return the terms of a batch."""
        objective = replace(
            self.objective,
            weight=constant(weight),
            target=constant(target),
            forcing=constant(1.0),
            dream=constant(0.0),
        )
        return objective(self.model, batch, 0)


def _tensors(batch: Batch) -> tuple[Tensor, ...]:
    return batch.tokens, batch.lengths, *batch.labels.values()


def _with_tensors(batch: Batch, tensors: tuple[Tensor, ...]) -> Batch:
    tokens, lengths, *labels = tensors
    return replace(batch, tokens=tokens, lengths=lengths, labels=dict(zip(batch.labels, labels, strict=True)))


def _copied(tensors: list[Tensor]) -> list[Tensor]:
    """Return copies: a step writes into the moments of batch normalisation."""
    return [each.clone() for each in tensors]


def refuse_unlike(found: Sequence[Tensor | None], expected: Sequence[Tensor | None]) -> None:
    """Refuse results that are not close to those expected, or laid out in memory otherwise.

    Raises:
        ValueError: some are not.
    """
    for one, other in zip(found, expected, strict=True):
        if one is None or other is None:
            if one is not other:
                raise ValueError("the compiled step leaves other weights without gradients than the plain one")
        elif one.stride() != other.stride():
            raise ValueError("the compiled step lays gradients out otherwise than the plain one")
        elif not torch.dist(one, other) <= CLOSE * (other.norm() + CLOSE):
            raise ValueError("the compiled step gives other gradients than the plain one")


def compiled(step: Graph, inputs: list[Tensor]) -> Graph:
    """Record a function of tensors, and return what torch's Inductor makes of it for inputs of these shapes."""
    import torch._inductor as inductor
    from torch.fx.experimental.proxy_tensor import make_fx

    graph = make_fx(step)(*inputs)
    for node in graph.graph.find_nodes(op="call_function", target=ATEN.mkldnn_rnn_layer.default):
        workspace = node.meta["val"][3].numel()
        node.target, node.args = torch.ops.uncollapse.lstm.default, (*node.args, workspace)
    for node in graph.graph.find_nodes(op="call_function", target=ATEN.mkldnn_rnn_layer_backward.default):
        node.target = torch.ops.uncollapse.lstm_backward.default
    for node in graph.graph.nodes:
        node.meta.clear()  # what it was recorded with
    graph.recompile()
    # no processes that are left behind, the random numbers of the plain step, no Python between the loops
    options = {"compile_threads": 1, "fallback_random": True, "cpp_wrapper": True}
    return inductor.compile(graph, [*inputs], options=options)


# torch's oneDNN LSTM keeps nothing for its backward pass unless gradients are recorded, misinforms the compiler about the size of
# what it keeps, and computes wrong gradients from inputs that the compiler has laid out otherwise. The same, put right: an
# operation of ours keeps the layout that was recorded.
ATEN = torch.ops.aten
LIBRARY = torch.library.Library("uncollapse", "DEF")


def _lstm(*arguments: Any) -> tuple[Tensor, ...]:
    with torch.enable_grad(), cpu_threads(_cores(*arguments)):
        return ATEN.mkldnn_rnn_layer.default(*arguments[:-1])


def _cores(inputs: Tensor, of_x: Tensor, of_h: Tensor, *rest: Any) -> int:
    """Return 1 where a second core would gain nothing, 0 for all: `[T, B, E]`, `[4H, E]`, `[4H, H]`."""
    return 1 if inputs.shape[1] * (of_x.numel() + of_h.numel()) < WORTH_A_CORE else 0


def _lstm_like(inputs: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    """Return the shapes of the states, h, c and the workspace, whose size is the last argument."""
    h, c = rest[4:6]
    states = inputs.new_empty(*inputs.shape[:2], h.shape[-1])
    return states, h.new_empty(h.shape), c.new_empty(c.shape), inputs.new_empty(rest[-1], dtype=torch.uint8)


def _lstm_backward(*arguments: Any) -> tuple[Tensor, ...]:
    with cpu_threads(_cores(*arguments)):
        return ATEN.mkldnn_rnn_layer_backward.default(*arguments)


def _lstm_backward_like(*arguments: Any) -> tuple[Tensor, ...]:
    """Return the shapes of the gradients: of the inputs, the four weights, h and c, which are the first arguments."""
    return tuple(each.new_empty(each.shape) for each in arguments[:7])


def _define(name: str, original: Any, more: str, run: Callable[..., Any], like: Callable[..., Any]) -> None:
    """Define an operation with the arguments of another and some more."""
    arguments, results = str(original.default._schema).split("(", 1)[1].rsplit(") -> ", 1)
    LIBRARY.define(f"{name}({arguments}{more}) -> {results}")
    LIBRARY.impl(name, run, "CPU")
    LIBRARY.impl(name, like, "Meta")


_define("lstm", ATEN.mkldnn_rnn_layer, ", int workspace", _lstm, _lstm_like)
_define("lstm_backward", ATEN.mkldnn_rnn_layer_backward, "", _lstm_backward, _lstm_backward_like)
