"""A trial: one training of many, and how it is measured. What is finished is only read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from uncollapse.evaluation.evaluate import evaluate
from uncollapse.runs.folder import RunFolder
from uncollapse.runs.measure import measure, measure_protocol
from uncollapse.runs.protocols import PROTOCOLS
from uncollapse.runs.run import Run, train
from uncollapse.training.callbacks import Callback

Announce = Callable[[str], Sequence[Callback]]
"""From the name of a run to the callbacks of its training."""


@dataclass(frozen=True)
class Trial:
    """One training, and how it is measured.

    Attributes:
        path: the run folder.
        recipe: as in `train`.
        remedies: as in `train`.
        seed: of the training.
        settings: as in `train`.
        protocols: of `PROTOCOLS`; those that do not fit the run are left out.
        iw_samples: K of the importance-weighted bound.
        iw_sentences: sentences that it is measured on, or None for all.
        adaptive: measure the bound by a proposal for each sentence too, `nll_adaptive`.
        split: that is measured.
    """

    path: Path
    recipe: str
    remedies: tuple[str, ...]
    seed: int
    settings: Mapping[str, Mapping[str, Any]]
    protocols: tuple[str, ...] = ()
    iw_samples: int = 50
    iw_sentences: int | None = 500
    split: str = "test"
    adaptive: bool = False

    def run(self, callbacks: Sequence[Callback]) -> dict[str, Any]:
        """Train from where the run is, measure it, and return the numbers."""
        resume, sections = RunFolder(self.path).config_file.exists(), cast(dict[str, Any], self.settings)
        run = train(
            self.recipe, self.remedies, self.seed, out=self.path, resume=resume, callbacks=callbacks, **sections
        )
        return self.measured(run)

    def measured(self, run: Run) -> dict[str, Any]:
        """Return the numbers of the finished run; what is in its folder already is not measured again."""
        metrics = run.metrics.get(self.split, {})
        done, bound = metrics.get("protocol", {}), self.iw_samples if run.model.latent else min(self.iw_samples, 1)
        asked = (bound, self.iw_sentences, run.folder.fingerprint(), [*self.protocols], self.adaptive)
        before = (
            metrics.get("iw_samples", 0),
            done.get("asked_sentences"),
            done.get("weights"),
            metrics.get("protocols", []),
            "nll_adaptive" in metrics,
        )
        if before == asked:
            return metrics
        subject = run.subject(run.splits()[0], self.split)
        numbers: dict[str, Any] = {"protocols": [*self.protocols]}
        for name in self.protocols:
            numbers |= measure_protocol(name, subject) if PROTOCOLS[name].fits(subject) else {}
        draws: dict[str, Any] = {"iw_samples": self.iw_samples, "iw_sentences": self.iw_sentences}
        if self.adaptive:
            bound_of = evaluate(subject.model, subject.corpus, seed=subject.seed, adaptive=True, **draws).metrics
            numbers |= {"nll_adaptive": bound_of["nll_iw"], "nll_adaptive_se": bound_of["nll_iw_se"]}
        return measure(run.folder, subject, numbers, **draws).metrics
