"""The Python face: train, load, and a run to use."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uncollapse.build import build_device, build_splits, load_model, told
from uncollapse.config import Config, DataConfig, instead_of, merge
from uncollapse.data.corpus import Corpus
from uncollapse.data.labels import Asked
from uncollapse.data.reading import Pair, pairs_file, read_pairs
from uncollapse.data.splits import Splits, fingerprint
from uncollapse.data.vocabulary import UNK
from uncollapse.errors import UserError, nearest
from uncollapse.evaluation.evaluate import Evaluation, Stage, evaluate, silent
from uncollapse.evaluation.overlap import token_accuracy
from uncollapse.evaluation.posterior import posteriors
from uncollapse.evaluation.style import transfer_protocol
from uncollapse.evaluation.tense import tense_protocol
from uncollapse.evaluation.transfer import transfer_metrics
from uncollapse.evaluation.twr import twr_protocol
from uncollapse.generation.choose import STRATEGIES, Strategy
from uncollapse.generation.decode import write
from uncollapse.latent import UNLABELLED, Diagonal, Labels, Mixture
from uncollapse.launch import changed_splits, launch
from uncollapse.model import VAE
from uncollapse.run import RunFolder
from uncollapse.training.progress import Listener


class Run:
    """A trained model and everything that is known about it.

    Attributes:
        folder: its files.
        config: its settings.
        recipe: the recipe's name.
        remedies: the remedies' names.
        vocabulary: its tokens.
        told: the labels that its model is told; none where it is unconditional.
        model: its best weights, in evaluation mode.
    """

    def __init__(self, path: str | Path, device: str = "auto") -> None:
        self.folder = RunFolder(Path(path))
        origin = self.folder.origin()
        self.config, self.recipe, self.remedies = origin.config, origin.recipe, origin.remedies
        self.vocabulary = self.folder.vocabulary()
        self.told = told(self.config.model, self.folder.label_space())
        self.device = build_device(device)
        self.model: VAE = load_model(self.folder, self.config, self.vocabulary).to(self.device)

    def __repr__(self) -> str:
        """Show where the run is and what it is."""
        return f"Run({str(self.folder.path)!r}, recipe={self.recipe!r}, remedies={list(self.remedies)})"

    @property
    def path(self) -> Path:
        """Return the run folder."""
        return self.folder.path

    @property
    def metrics(self) -> dict[str, Any]:
        """Return the evaluations so far, by split."""
        return self.folder.metrics()

    @property
    def log(self) -> list[dict[str, Any]]:
        """Return the training log, one entry an epoch."""
        return self.folder.log()

    @cached_property
    def _longest(self) -> int:
        return int(self.folder.corpus()["train"]["longest"])

    # -- the space ----------------------------------------------------------------------------------------------

    def posterior(self, texts: Sequence[str], labels: Asked | None = None) -> Diagonal:
        """Return q(z given x) of each sentence: mu and logvar `[N, Z]`, on the CPU.

        Args:
            texts: sentences, in the form of the training text (words separated by blanks, say).
            labels: of a conditional run: `"past"`, `"tense=past"`, or `{"tense": …}` with one label for all sentences or a
                list with one each.

        Raises:
            UserError: no sentence at all, a language model (which has no latent space), labels that are missing or unknown.
        """
        self._need_latent()
        return posteriors(self.model, self._corpus(texts, labels))

    def encode(self, texts: Sequence[str], labels: Asked | None = None) -> np.ndarray:
        """Return the posterior mean of each sentence, `[N, Z]`; `labels` as in `posterior`."""
        return self.posterior(texts, labels).mu.numpy()

    def decode(
        self,
        z: np.ndarray | Tensor,
        decode: Strategy = "greedy",
        seed: int = 0,
        labels: Asked | None = None,
    ) -> list[str]:
        """Write the sentence of each code.

        Args:
            z: codes, `[N, Z]`.
            decode: `greedy`, or `sample` to draw each token from its probability.
            seed: of the draws.
            labels: of a conditional run, as in `posterior`.

        Raises:
            UserError: codes of another width, an unknown strategy, labels that are missing or unknown.
        """
        codes = torch.as_tensor(np.asarray(z), dtype=torch.float32)
        if codes.ndim != 2 or codes.shape[1] != self.model.latent:
            raise UserError(f"decode: expected codes of shape [N, {self.model.latent}], got {list(codes.shape)}")
        return self._write(codes, decode, seed, self._classes(labels, len(codes)))

    def reconstruct(
        self, texts: Sequence[str], decode: Strategy = "greedy", seed: int = 0, labels: Asked | None = None
    ) -> list[str]:
        """Encode each sentence and decode its posterior mean; `labels` as in `posterior`."""
        return self.decode(self.posterior(texts, labels).mu, decode, seed, labels)

    def transfer(
        self, texts: Sequence[str], source: Asked, target: Asked, decode: Strategy = "greedy", seed: int = 0
    ) -> list[str]:
        """Change the labels of sentences: encode each under `source`, decode its posterior mean under `target`.

        Args:
            texts: the sentences.
            source: their labels, as in `posterior`.
            target: the labels to be; fields that it does not name stay as they are.
            decode: as in `decode`.
            seed: as in `decode`.

        Raises:
            UserError: an unconditional run, unknown labels, letters that a run on characters does not know.
        """
        self.need_labels()
        if self.vocabulary.level == "char":
            self._refuse_letters(texts)
        changed = {**self.told.read(source), **self.told.read(target)}
        return self.decode(self.posterior(texts, source).mu, decode, seed, changed)

    def sample(
        self,
        n: int = 5,
        decode: Strategy = "sample",
        seed: int = 0,
        labels: Asked | None = None,
        prior: str = "model",
    ) -> list[str]:
        """Draw sentences: z from the prior, then the sentence from z.

        Args:
            n: how many.
            decode: as in `decode`.
            seed: of all draws.
            labels: of a conditional run, as in `posterior`; by default drawn as often as they occur in training.
            prior: `model`, or `fitted`: the mixture fitted to the training codes (`train.fit_prior`).

        Raises:
            UserError: n below 1, unknown names, no fitted prior in the run.
        """
        if n < 1:
            raise UserError(f"sample: expected at least one sentence, got {n}")
        if prior not in ("model", "fitted"):
            raise UserError(f"unknown prior {prior!r}: {nearest(prior, ('model', 'fitted'))}")
        classes = self._drawn_classes(n, seed) if labels is None else self._classes(labels, n)
        source = self.model.prior if prior == "model" else self.folder.load_prior()
        with torch.inference_mode():
            z = source.sample(n, seed, classes)
        return self._write(z, decode, seed + 1, classes)

    def unknown_words(self, texts: Iterable[str]) -> int:
        """Count the tokens that are not in the vocabulary."""
        return sum(i == UNK for text in texts for i in self.vocabulary.encode(text))

    def _write(self, z: Tensor, strategy: str, seed: int, classes: Labels = UNLABELLED) -> list[str]:
        if strategy not in STRATEGIES:
            raise UserError(f"unknown decoding {strategy!r}: {nearest(strategy, STRATEGIES)}")
        rows = write(self.model, z, self._longest, classes, STRATEGIES[strategy], seed)
        return [self.vocabulary.decode(row) for row in rows]

    def _classes(self, labels: Asked | None, count: int) -> Labels:
        """Return the class of every sentence in every field that the model is told."""
        if not self.told.names:
            if labels:
                raise UserError(f"{self.path}: the run is unconditional and takes no labels, got {labels!r}")
            return UNLABELLED
        if labels is None:
            known = "; ".join(f"{field}: {', '.join(names)}" for field, names in self.told.names.items())
            raise UserError(f"{self.path}: the run is conditional, expected labels ({known}), got none")
        found = self.told.of_sentences(labels, count)
        return {field: torch.from_numpy(classes) for field, classes in found.items()}

    def _drawn_classes(self, n: int, seed: int) -> Labels:
        """Draw the labels of sentences as often as they occur in training, each field by itself."""
        found = {}
        for number, (field, names) in enumerate(self.told.names.items()):
            random = np.random.default_rng([seed, 2, number])
            counts = self.folder.corpus()["train"]["labels"][field]
            share = np.array([counts[name] for name in names], dtype=float)
            found[field] = torch.from_numpy(random.choice(len(names), n, p=share / share.sum()))
        return found

    def _refuse_letters(self, texts: Sequence[str]) -> None:
        for number, text in enumerate(texts, 1):
            if strange := {c for c in self.vocabulary.split(text) if c not in self.vocabulary.ids}:
                letters = " ".join(map(repr, sorted(strange)))
                raise UserError(
                    f"sentence {number}, {text!r}: expected letters that the run was trained on, got {letters}"
                )

    def _corpus(self, texts: Sequence[str], labels: Asked | None = None) -> Corpus:
        if isinstance(texts, str):
            raise UserError("expected a list of sentences, got one string; write [text]")
        if not len(texts):
            raise UserError("expected at least one sentence, got none")
        corpus = Corpus.from_texts(texts, self.vocabulary)
        classes = {field: values.numpy() for field, values in self._classes(labels, len(texts)).items()}
        return replace(corpus, labels=classes, label_names=dict(self.told.names))

    def need_labels(self) -> None:
        """Raise UserError unless the run is conditional."""
        if not self.told.names:
            raise UserError(
                f"{self.path}: expected a conditional run, but this one was trained without --model.condition"
            )

    def _need_latent(self) -> None:
        if not self.model.latent:
            raise UserError(
                f"{self.path}: a language model (model.latent 0) has no latent space; use sample or evaluate"
            )

    # -- the numbers --------------------------------------------------------------------------------------------

    def splits(self, data: Mapping[str, Any] | None = None) -> tuple[Splits, list[str]]:
        """Read the run's data again, perhaps from another place.

        Args:
            data: settings to change, such as `{"path": …}`.

        Returns:
            the splits, and remarks: what the readers said, and which splits differ from those of training.
        """
        splits = build_splits(self._data(data), self.vocabulary, self.told)
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
    ) -> dict[str, Any]:
        """Evaluate on a split, write the result into `metrics.json` and return it.

        Args:
            split: train, valid or test.
            iw_samples: K of the importance-weighted bound; 500 in the papers, 0 to leave it out.
            iw_sentences: sentences it is measured on; None for all, as in the papers.
            seed: of all noise.
            data: where the data are now, if not where they were, such as `{"path": …}`.
            stage: is told of the progress.
        """
        splits, _ = self.splits(data)
        return self.evaluate_on(splits, split, iw_samples, iw_sentences, seed, stage).metrics

    def by_protocol(
        self,
        name: str,
        splits: Splits,
        split: str = "test",
        seed: int = 0,
        data: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return the numbers of one of `PROTOCOLS`, and their names as `by_protocol`; see docs/protocol.md.

        Args:
            name: `twr`, `tense` or `transfer`.
            splits: the run's data.
            split: which of them (the tense lab always holds the test split out).
            seed: of all draws.
            data: as in `splits`, for the lab's pairs.

        Raises:
            UserError: an unknown name, or a run that the protocol is not for.
        """
        choices: dict[str, Callable[[], dict[str, Any]]] = {
            "twr": lambda: dict(twr_protocol(self.model, choose_split(splits, split))),
            "tense": lambda: tense_protocol(self.model, splits, self._pairs(data), self._fitted(), seed),
            "transfer": lambda: transfer_protocol(self.model, splits, split, seed),
        }
        if name not in choices:
            raise UserError(f"unknown protocol {name!r}: {nearest(name, choices)}")
        found = choices[name]()
        return {**found, "by_protocol": sorted(found)}

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
        back = self.reconstruct(few.texts(), labels=self.labels_of(few))
        return token_accuracy(originals, [self.vocabulary.encode(text) for text in back])

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
    ) -> Evaluation:
        """Evaluate on splits already read; write `metrics.json`; return the numbers of every sentence too."""
        corpus = choose_split(splits, split)
        done = evaluate(self.model, corpus, iw_samples, iw_sentences, seed, stage)
        done.metrics["protocol"] = {
            **done.metrics.get("protocol", {}),
            "fingerprint": fingerprint(corpus, tuple(self.told.names)),
            "given": list(self.told.names),
            "same_as_training": split not in changed_splits(self.folder, splits),
        }
        done.metrics.update(transfer_metrics(self.model, corpus, self._longest))
        if split in splits.floor and not self.told.names:  # the floor is that of p(x), not of p(x given labels)
            done.metrics["nll_floor"] = splits.floor[split]
        if log := self.log:
            done.metrics["epochs"], done.metrics["weight_final"] = log[-1]["epoch"], log[-1]["weight"]
        # what a protocol measured on the same sentences stays
        before = self.metrics.get(split, {})
        if before.get("protocol", {}).get("fingerprint") == done.metrics["protocol"]["fingerprint"]:
            kept = before.get("by_protocol", [])
            self.folder.write_metrics(split, {**{k: before[k] for k in kept}, "by_protocol": kept, **done.metrics})
        else:
            self.folder.write_metrics(split, done.metrics)
        return done


PROTOCOLS = ("twr", "tense", "transfer")
"""What can be measured besides the evaluation that every run gets."""


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
