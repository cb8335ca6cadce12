"""The Python face: train, load, and a run to use."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from uncollapse.build import build_splits
from uncollapse.config import Config, DataConfig, instead_of, merge
from uncollapse.data.corpus import Corpus
from uncollapse.data.labels import Asked
from uncollapse.data.pairs import Pair, pairs_file, read_pairs
from uncollapse.data.splits import Splits, fingerprint
from uncollapse.errors import UserError, nearest
from uncollapse.evaluation.aggregate import aggregate_protocol
from uncollapse.evaluation.bounds import Precision
from uncollapse.evaluation.diversity import diversity_protocol
from uncollapse.evaluation.evaluate import Evaluation, Stage, evaluate, silent
from uncollapse.evaluation.groups import probe_protocol
from uncollapse.evaluation.overlap import token_accuracy
from uncollapse.evaluation.posterior import posteriors
from uncollapse.evaluation.reconstruction import reconstruction_protocol
from uncollapse.evaluation.style import transfer_protocol
from uncollapse.evaluation.tense import tense_protocol
from uncollapse.evaluation.transfer import classes_of, transfer_metrics
from uncollapse.evaluation.twr import twr_protocol
from uncollapse.generation.decode import write
from uncollapse.latent import Mixture
from uncollapse.launch import changed_splits, launch
from uncollapse.space import Space
from uncollapse.training.progress import Listener


class Run(Space):
    """A finished run: its space to use, and the numbers that say how alive it is."""

    def __repr__(self) -> str:
        """Show where the run is and what it is."""
        return f"Run({str(self.folder.path)!r}, recipe={self.recipe!r}, remedies={list(self.remedies)})"

    @property
    def metrics(self) -> dict[str, Any]:
        """Return the evaluations so far, by split."""
        return self.folder.metrics()

    @property
    def log(self) -> list[dict[str, Any]]:
        """Return the training log, one entry an epoch."""
        return self.folder.log()

    def splits(self, data: Mapping[str, Any] | None = None) -> tuple[Splits, list[str]]:
        """Read the run's data again, perhaps from another place.

        Args:
            data: settings to change, such as `{"path": …}`.

        Returns:
            the splits, and remarks: what the readers said, and which splits differ from those of training.
        """
        splits = build_splits(self._data(data), self.vocabulary, self.told, self.folder.cache)
        if missing := [field for field in self.told.names if field not in splits.train.labels]:
            raise UserError(f"{self.path}: the model is told {', '.join(missing)}, but the data have no such labels")
        remarks = list(splits.remarks)
        if changed := changed_splits(self.folder, splits):
            remarks.append(f"the {', '.join(changed)} split differs from that of the training")
        return splits, remarks

    def _data(self, data: Mapping[str, Any] | None) -> DataConfig:
        """Return the run's data settings, some of them changed."""
        given = {"data": data or {}}
        return Config.from_settings(merge(self.config.settings(), instead_of(given), given)).data

    def evaluate(
        self,
        split: str = "test",
        iw_samples: int = 50,
        iw_sentences: int | None = 500,
        seed: int = 0,
        data: Mapping[str, Any] | None = None,
        stage: Stage = silent,
        adaptive: bool = False,
        precision: Precision = "fp32",
    ) -> dict[str, Any]:
        """Evaluate on a split, write the result into `metrics.json` and return it.

        Args:
            split: train, valid or test.
            iw_samples: K of the importance-weighted bound; 500 in the papers, 0 to leave it out.
            iw_sentences: sentences it is measured on; None for all, as in the papers.
            seed: of all noise.
            data: where the data are now, if not where they were, such as `{"path": …}`.
            stage: is told of the progress.
            adaptive: spend the draws of the bound where it is uncertain, for the error that K for every sentence would have.
            precision: of the decoder in the bound, fp32 or bf16; all else is in fp32.
        """
        splits, _ = self.splits(data)
        done = self.evaluate_on(splits, split, iw_samples, iw_sentences, seed, stage, {}, adaptive, precision)
        return done.metrics

    def by_protocol(
        self,
        name: str,
        splits: Splits,
        split: str = "test",
        seed: int = 0,
        data: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return the numbers of one of `PROTOCOLS`; see docs/protocol.md.

        Args:
            name: of the protocol.
            splits: the run's data.
            split: which of them (the tense lab always holds the test split out).
            seed: of all draws.
            data: as in `splits`, for the lab's pairs.

        Raises:
            UserError: an unknown name, or a run that the protocol is not for.
        """
        model, corpus = self.model, choose_split(splits, split)
        choices: dict[str, Callable[[], dict[str, Any]]] = {
            "reconstruction": lambda: reconstruction_protocol(model, splits, split, seed),
            "aggregate": lambda: aggregate_protocol(model, splits, split, seed),
            "samples": lambda: diversity_protocol(model, splits, split, seed),
            "probe": lambda: probe_protocol(model, splits, split, seed),
            "twr": lambda: dict(twr_protocol(model, corpus)),
            "tense": lambda: tense_protocol(model, splits, self._pairs(data), self._fitted(), seed),
            "transfer": lambda: transfer_protocol(model, splits, split, seed),
        }
        if name not in choices:
            raise UserError(f"unknown protocol {name!r}: {nearest(name, choices)}")
        if name in OF_TEXT and self.vocabulary.level == "pixel":
            raise UserError(f"protocol {name}: counts words, and this run is on pictures")
        return choices[name]()

    def protocols(self, splits: Splits) -> list[str]:
        """Return the names of the protocols that say something about this run on its data: what `evaluate --all` runs."""
        forms, timestepwise = (
            splits.train.form_field,
            self.config.model.decode != "last" or self.config.objective.where != "last",
        )
        text = self.vocabulary.level != "pixel"
        fits = {
            "reconstruction": bool(self.model.latent) and text,
            "aggregate": bool(self.model.latent),
            "samples": text,
            "probe": bool(self.model.latent and splits.train.labels),
            "twr": timestepwise,
            "tense": bool(forms) and forms in self.told.names,
            "transfer": bool(self.told.names) and not forms and text,
        }
        return [name for name in PROTOCOLS if fits[name]]

    def _pairs(self, data: Mapping[str, Any] | None) -> list[Pair]:
        """Return the pairs that the tense lab converts, or none."""
        settings = self._data(data)
        if not settings.pairs:
            return []
        return read_pairs(pairs_file(Path(settings.path), settings.pairs), settings.directions)

    def _fitted(self) -> Mixture | None:
        return self.folder.load_prior() if self.folder.prior_file.exists() else None

    def accuracy(self, corpus: Corpus, sentences: int = 500) -> float:
        """Return the token accuracy of greedy reconstructions from posterior means, on the first sentences of a corpus."""
        few = corpus.subset(np.arange(min(sentences, len(corpus))))
        originals = [few.ids(i).tolist() for i in range(len(few))]
        labels = classes_of(few, np.arange(len(few)), {})
        return token_accuracy(originals, write(self.model, posteriors(self.model, few).mu, self.longest, labels))

    def labels_of(self, corpus: Corpus) -> Asked | None:
        """Return the labels of a corpus that the model is told, or None for an unconditional run."""
        names = self.told.names
        return {f: [names[f][i] for i in corpus.labels[f]] for f in names} if names else None

    def evaluate_on(
        self,
        splits: Splits,
        split: str = "test",
        iw_samples: int = 50,
        iw_sentences: int | None = 500,
        seed: int = 0,
        stage: Stage = silent,
        found: Mapping[str, Any] = {},
        adaptive: bool = False,
        precision: Precision = "fp32",
    ) -> Evaluation:
        """Evaluate on splits already read; write `metrics.json`; return the numbers of every sentence too.

        What protocols `found` on the same split is written beside it, and what others found before stays.
        """
        corpus = choose_split(splits, split)
        done = evaluate(self.model, corpus, iw_samples, iw_sentences, seed, stage, adaptive, precision)
        done.metrics["protocol"] = {
            **done.metrics.get("protocol", {}),
            "fingerprint": fingerprint(corpus, tuple(self.told.names)),
            "given": list(self.told.names),
            "weights": self.folder.fingerprint(),
            "same_as_training": split not in changed_splits(self.folder, splits),
        }
        done.metrics.update(transfer_metrics(self.model, corpus, self.longest))
        if split in splits.floor and not self.told.names:  # the floor is that of p(x), not of p(x given labels)
            done.metrics["nll_floor"] = splits.floor[split]
        if log := self.log:
            done.metrics["epochs"], done.metrics["weight_final"] = log[-1]["epoch"], log[-1]["weight"]
        done.metrics.update(found)
        # what a protocol measured on the same sentences with the same weights stays
        before = self.metrics.get(split, {})
        then, now = before.get("protocol", {}), done.metrics["protocol"]
        same = all(then.get(key) == now[key] for key in ("fingerprint", "weights"))
        kept = before.get("by_protocol", []) if same else []
        names = sorted({*kept, *found} - {"by_protocol"})
        written = {**{key: before[key] for key in kept}, **done.metrics, **({"by_protocol": names} if names else {})}
        self.folder.write_metrics(split, written)
        return done


PROTOCOLS = ("reconstruction", "aggregate", "samples", "probe", "twr", "tense", "transfer")
"""What can be measured besides the evaluation that every run gets."""
OF_TEXT = ("reconstruction", "samples", "transfer")


def choose_split(splits: Splits, split: str) -> Corpus:
    """Return a split by its name; raise UserError for another name."""
    if split not in ("train", "valid", "test"):
        raise UserError(f"unknown split {split!r}: {nearest(split, ('train', 'valid', 'test'))}")
    return splits[split]


def load(path: str | Path, device: str = "auto") -> Run:
    """Load a run from its folder; neither the corpus nor the network is needed.

    Raises:
        UserError: no run there, an incomplete or damaged one, or one of another version.
    """
    return Run(path, device)


def train(
    recipe: str = "default",
    remedy: str | Sequence[str] = (),
    seed: int | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    listener: Listener | None = None,
    **settings: Mapping[str, Any],
) -> Run:
    """Train a model and return the run.

    Args:
        recipe: a name of `uncollapse recipes`, or a YAML file.
        remedy: one or several names of `uncollapse remedies`, or YAML files.
        seed: short for `train={"seed": …}`.
        out: the run folder; `runs/RECIPE-REMEDIES-SEED` by default.
        resume: go on with an interrupted run of the same settings.
        overwrite: begin anew where a run already is.
        listener: is told how training goes.
        settings: sections of settings, such as `data={"path": "my.txt"}, model={"latent": 16}`.

    Raises:
        UserError: anything wrong with the settings, the data or the folder.
        TrainingError: the loss stopped being finite.
        Interrupted: Ctrl-C; the state is saved, and `resume=True` goes on.
    """
    folder, config = launch(recipe, remedy, seed, out, resume, overwrite, listener, settings)
    return Run(folder.path, config.train.device)
