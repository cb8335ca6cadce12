"""A trial: one training of many, and how it is measured. What is finished is only read."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from uncollapse.data.splits import Splits
from uncollapse.evaluation.evaluate import evaluate
from uncollapse.files import parse_json, read_text, write_json
from uncollapse.generation.decoding import Decoding
from uncollapse.runs.api import train
from uncollapse.runs.config import folder_name
from uncollapse.runs.folder import RunFolder
from uncollapse.runs.measure import measure, measure_protocol
from uncollapse.runs.protocols import PROTOCOLS
from uncollapse.runs.run import Run
from uncollapse.runs.samples import judge_samples
from uncollapse.training.callbacks import Callback

Announce = Callable[[str], Sequence[Callback]]
"""From the name of a run to the callbacks of its training."""


@dataclass(frozen=True)
class Corpora:
    """Corpora that are drawn from a run's prior and judged by language models (`samples.judge_samples`).

    Attributes:
        decodings: name -> how the sentences of one corpus are decoded.
        sentences: that each language model is trained on.
        epochs: of each language model.
    """

    decodings: Mapping[str, Decoding]
    sentences: int = 10_000
    epochs: int = 5


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
        corpora: drawn and judged, for `corpora`: what `judge_samples` returns by the name of the decoding.
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
    corpora: Corpora | None = None

    def run(self, callbacks: Announce) -> dict[str, Any]:
        """Train from where the run is, measure it, and return the numbers."""
        resume, sections = RunFolder(self.path).config_file.exists(), cast(dict[str, Any], self.settings)
        watching = callbacks(self.path.name)
        run = train(self.recipe, self.remedies, self.seed, out=self.path, resume=resume, callbacks=watching, **sections)
        return self.measured(run, callbacks)

    def measured(self, run: Run, callbacks: Announce) -> dict[str, Any]:
        """Return the numbers of the finished run; what is in its folder already is not measured again."""
        metrics = run.metrics.get(self.split, {})
        done, bound = metrics.get("protocol", {}), self.iw_samples if run.model.latent else min(self.iw_samples, 1)
        corpora = {"weights": run.folder.fingerprint(), **asdict(self.corpora)} if self.corpora else {}
        asked = (True, 0, bound, self.iw_sentences, run.folder.fingerprint(), [*self.protocols], self.adaptive, corpora)
        before = (
            done.get("same_as_training") and "adaptive" not in done.get("nll_iw", ""),
            done.get("seed"),
            metrics.get("iw_samples", 0),
            done.get("asked_sentences"),
            done.get("weights"),
            metrics.get("protocols", []),
            "nll_adaptive" in metrics,
            metrics.get("asked_corpora", {}) if self.corpora else {},
        )
        if before == asked:
            return metrics
        splits, _ = run.splits()
        subject = run.subject(splits, self.split)
        numbers: dict[str, Any] = {"protocols": [*self.protocols]}
        for name in self.protocols:
            numbers |= measure_protocol(name, subject) if PROTOCOLS[name].fits(subject) else {}
        draws: dict[str, Any] = {"iw_samples": self.iw_samples, "iw_sentences": self.iw_sentences}
        if self.adaptive:
            bound_of = evaluate(subject.model, subject.corpus, seed=subject.seed, adaptive=True, **draws).metrics
            numbers |= {"nll_adaptive": bound_of["nll_iw"], "nll_adaptive_se": bound_of["nll_iw_se"]}
        if self.corpora:
            numbers |= {"asked_corpora": corpora, "corpora": self._judged(run, splits, corpora, callbacks)}
        return measure(run.folder, subject, numbers, **draws).metrics

    def _judged(self, run: Run, splits: Splits, asked: Mapping[str, Any], callbacks: Announce) -> dict[str, Any]:
        """Return what the corpus of every decoding is worth; their judge of real sentences is one.

        They stay in `corpora/` of the run; those of other weights, decodings or sizes make room.
        """
        assert self.corpora
        home, judged = self.path / "corpora", {}
        record = home / "asked.json"
        if record.exists() and parse_json(read_text(record), str(record)) != asked:
            shutil.rmtree(home)
        home.mkdir(exist_ok=True)
        write_json(record, asked)
        for name, how in self.corpora.decodings.items():
            judged[name] = judge_samples(
                run,
                splits,
                home / folder_name(name),
                count=self.corpora.sentences,
                epochs=self.corpora.epochs,
                how=how,
                real=home,
                callbacks=partial(self._watch, callbacks, name),
            )
        return judged

    def _watch(self, callbacks: Announce, decoding: str, judge: str) -> Sequence[Callback]:
        return callbacks(f"{self.path.name}, {decoding}, {judge}")
