"""What the page of `explore` computes: the use of a run's space, with the Python of every answer."""

import math
from functools import cached_property
from typing import Any

import numpy as np

from uncollapse.data.splits import Splits
from uncollapse.errors import UserError
from uncollapse.evaluation.bounds import subsample_indices
from uncollapse.evaluation.posterior import posteriors, rates_by_dimension
from uncollapse.generation.decoding import Decoding
from uncollapse.reporting.canvas import COLOURS
from uncollapse.reporting.latent import plane_of
from uncollapse.runs.run import Run

LONGEST = 2000
"""Characters of a sentence that is taken."""
MOST_SAMPLES = 50
MAPPED, AMONG = 600, 2000
"""Sentences on the map, and among which neighbours are looked for."""
MOVED = 4
"""Dimensions with a slider."""
SPAN = 3.0
"""Half the range of a slider, and of the map at least; the prior has a standard deviation of 1."""
SIDE = 560
"""Pixels of the map's sides."""
Labels = dict[str, str]
"""The label of each field that a run is conditioned on."""


class Explorer:
    """What the page computes, for a run on text; every answer comes with the Python that gives it.

    Args:
        run: with a latent space.
        split: the sentences of the map and of the neighbours.
        splits: the data, where they have been read, or are elsewhere than at the training.

    Raises:
        UserError: a language model, or a run on pictures.
    """

    def __init__(self, run: Run, split: str = "test", *, splits: Splits | None = None) -> None:
        run.inputs.need_latent()
        if not run.vocabulary.of_text:
            raise UserError(
                f"{run.path}: explore is for text; of pictures draw `uncollapse sample {run.path} --png FILE`"
            )
        self.run, self.split = run, split
        corpus = run.subject(splits or run.splits()[0], split).corpus
        self.corpus = corpus.subset(subsample_indices(len(corpus), AMONG, seed=0))
        self.texts, self.labels = self.corpus.texts(), run.labels_of(self.corpus)

    @cached_property
    def codes(self) -> np.ndarray:
        """Return the posterior means of the sentences, `[N, Z]`."""
        return posteriors(self.run.model, self.corpus).mean.numpy()

    @cached_property
    def informative(self) -> list[int]:
        """Return the dimensions of most rate."""
        posterior = posteriors(self.run.model, self.corpus)
        rates = rates_by_dimension(self.run.model, self.corpus, posterior) or self.codes.var(0).tolist()
        return sorted(range(len(rates)), key=lambda d: -rates[d])[:MOVED]

    def read(self, sentence: str) -> str:
        """Return a sentence as it may be used.

        Raises:
            UserError: nothing, or too much.
        """
        text = " ".join(str(sentence or "").split())
        if not text or len(text) > LONGEST:
            raise UserError(f"expected a sentence of 1 to {LONGEST} characters, got {len(text)}")
        return text

    def reconstruct(self, labels: Labels, sentence: str) -> tuple[str, list[list[str]], list[list[str]], str]:
        """Return the reconstruction, the nearest sentences, the largest numbers of the code, and the Python."""
        text, given = self.read(sentence), labels or None
        code = self.run.encode([text], given)[0]
        near = self.run.neighbours(code, self.texts, labels=given, among_labels=self.labels)
        largest = sorted(range(len(code)), key=lambda d: -abs(code[d]))[:8]
        python = f"run.reconstruct([{text!r}]{_spelled(labels)})\nrun.encode([{text!r}]{_spelled(labels)})"
        return (
            self.run.reconstruct([text], labels=given)[0],
            [[f"{distance:.2f}", other] for distance, other in near],
            [[str(d), f"{code[d]:+.2f}"] for d in largest],
            python,
        )

    def between(self, labels: Labels, first: str, last: str, share: float) -> tuple[str, str]:
        """Return the sentence at a share of the way between two, and the Python."""
        ends, share = (self.read(first), self.read(last)), _within(share, 0, 1)
        a, b = self.run.encode(ends, _each(labels, 2))
        python = (
            f"a, b = run.encode([{ends[0]!r}, {ends[1]!r}]{_spelled(labels)})\n"
            f"run.decode((a + {share:g} * (b - a))[None]{_spelled(labels)})"
        )
        return self.run.decode((a + share * (b - a))[None], labels=labels or None)[0], python

    def move(self, labels: Labels, sentence: str, *values: float) -> tuple[str, str]:
        """Return the sentence whose most informative dimensions are set to values, and the Python."""
        text = self.read(sentence)
        code = self.run.encode([text], labels or None)[0]
        for d, value in zip(self.informative, values, strict=True):
            code[d] = _within(value, -SPAN, SPAN)
        changes = "".join(f"code[{d}] = {code[d]:g}\n" for d in self.informative)
        python = (
            f"code = run.encode([{text!r}]{_spelled(labels)})[0]\n{changes}run.decode(code[None]{_spelled(labels)})"
        )
        return self.run.decode(code[None], labels=labels or None)[0], python

    def start(self, labels: Labels, sentence: str) -> list[float]:
        """Return where the sliders of a sentence stand."""
        code = self.run.encode([self.read(sentence)], labels or None)[0]
        return [round(_within(float(code[d]), -SPAN, SPAN), 2) for d in self.informative]

    def transfer(self, labels: Labels, sentence: str, *targets: str) -> tuple[str, str]:
        """Return a sentence under other labels, and the Python."""
        text, target = self.read(sentence), dict(zip(labels, targets, strict=True))
        python = f"run.transfer([{text!r}], {labels!r}, {target!r})"
        return self.run.transfer([text], labels, target)[0], python

    def sample(self, labels: Labels, count: float, temperature: float) -> tuple[str, str]:
        """Return sentences drawn from the prior, and the Python."""
        n, heat = int(_within(count, 1, MOST_SAMPLES)), _within(temperature, 0.05, 3)
        how = Decoding("sample", temperature=heat)
        seed = int(np.random.default_rng().integers(2**31))
        python = f'run.sample({n}, uc.Decoding("sample", temperature={heat:g}), seed={seed}{_spelled(labels)})'
        return "\n".join(self.run.sample(n, how, seed, labels=labels or None)), python

    # -- the map --------------------------------------------------------------------------------------------------

    @cached_property
    def _map(self) -> tuple[np.ndarray, Any, Any]:
        """Return the picture `[SIDE, SIDE, 3]`, the plane, and the transform from its pixels to the plane."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        plane = plane_of(self.codes)
        places = plane.project(self.codes[:MAPPED])
        figure = Figure(figsize=(SIDE / 100, SIDE / 100), dpi=100)
        canvas = FigureCanvasAgg(figure)
        axis = figure.add_axes((0.09, 0.08, 0.89, 0.86))
        classes = next(iter(self.corpus.labels.values()), np.zeros(len(self.corpus), np.int64))[:MAPPED]
        axis.scatter(
            places[:, 0], places[:, 1], s=12, c=[COLOURS[i % len(COLOURS)] for i in classes], alpha=0.6, linewidth=0
        )
        far = max(SPAN, 1.05 * float(np.abs(places).max()))
        axis.set(xlim=(-far, far), ylim=(-far, far))
        axis.set_title(plane.how, fontsize=9)
        axis.tick_params(labelsize=8)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy(), plane, axis.transData.inverted()

    @property
    def picture(self) -> np.ndarray:
        """Return the map of the codes."""
        return self._map[0]

    def at(self, labels: Labels, x: float, y: float) -> tuple[str, str, str]:
        """Return the sentence at a pixel of the map (from its upper left), the nearest one of the data, and the Python."""
        _, plane, to_plane = self._map
        place = to_plane.transform([[_within(x, 0, SIDE), SIDE - _within(y, 0, SIDE)]])
        code = plane.lift(place).round(4).astype(np.float32)
        nearest = self.texts[int(((self.codes - code) ** 2).sum(1).argmin())]
        python = (
            f"import numpy as np\ncode = np.array([{[round(float(x), 4) for x in code[0]]}], np.float32)\n"
            f"run.decode(code{_spelled(labels)})"
        )
        return self.run.decode(code, labels=labels or None)[0], nearest, python


def _within(value: float, low: float, high: float) -> float:
    """Return a number that a page sent, inside of its range.

    Raises:
        UserError: no finite number.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"expected a number from {low:g} to {high:g}, got {value!r:.40}")
    return min(max(number, low), high)


def _each(labels: Labels, count: int) -> dict[str, list[str]] | None:
    return {field: [name] * count for field, name in labels.items()} or None


def _spelled(labels: Labels) -> str:
    return f", labels={labels!r}" if labels else ""
