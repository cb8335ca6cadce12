"""A run to use: its latent space, and the numbers that say how alive it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uncollapse.data.corpus import Corpus
from uncollapse.data.labels import Labels, LabelSpec
from uncollapse.data.pictures import arrays_of
from uncollapse.data.settings import DataConfig
from uncollapse.data.splits import PARTS, Splits
from uncollapse.distributions.posteriors import Posterior
from uncollapse.distributions.priors import Source
from uncollapse.errors import UserError, suggest
from uncollapse.evaluation.bounds import Precision
from uncollapse.evaluation.posterior import posteriors
from uncollapse.evaluation.scores import Track, log_likelihoods, untracked
from uncollapse.generation import latent_ops
from uncollapse.generation.decode import generate_n_best
from uncollapse.generation.decoding import Decoding, Strategy
from uncollapse.model import VAE
from uncollapse.nn.pictures import PictureDecoder
from uncollapse.runs.builders.data import build_splits, read_lab_pairs
from uncollapse.runs.builders.model import NONE_OWN, Modules, build_device, load_model
from uncollapse.runs.builders.objective import SHARES
from uncollapse.runs.compose import source_override
from uncollapse.runs.config import Config, merge
from uncollapse.runs.folder import RunFolder
from uncollapse.runs.inputs import Inputs
from uncollapse.runs.job import Job
from uncollapse.runs.measure import measure
from uncollapse.runs.protocols import Subject
from uncollapse.runs.shipped import run_path

How = Decoding | Strategy
"""How to decode: `Decoding(...)`, or the name of a strategy with its defaults."""

Point = str | np.ndarray | Tensor
"""A place in the space: a sentence, which stands for its posterior mean, or a code `[Z]`."""


@dataclass(frozen=True)
class Sentence:
    """A sentence that was written.

    Attributes:
        text: it.
        log_prob: log p(text | its code), in nats, EOS counted.
        tokens: predicted tokens, EOS counted.
    """

    text: str
    log_prob: float
    tokens: int


class Run:
    """A finished run: its latent space to use, and the numbers that say how alive it is.

    Attributes:
        folder: its files.
        config: its settings.
        recipe: the recipe's name.
        remedies: the remedies' names.
        vocabulary: its tokens.
        label_space: the labels of its condition; none where it is unconditional.
        model: its best weights, in evaluation mode.
        inputs: what it takes of sentences, labels and codes.
    """

    def __init__(
        self,
        path: str | Path,
        device: str = "auto",
        job: Job | None = None,
        *,
        modules: Modules = NONE_OWN,
        epoch: int = 0,
    ) -> None:
        self.folder = RunFolder(run_path(path), epoch)
        origin = self.folder.origin()
        self.config, self.recipe, self.remedies = origin.config, origin.recipe, origin.remedies
        self.vocabulary = self.folder.vocabulary()
        self.label_space = self.folder.label_space().only(self.config.model.condition)
        self.device = build_device(device)
        built: VAE | None = job.model if job else None
        model = load_model(self.folder, self.config, self.vocabulary, model=built, modules=modules)
        self.model: VAE = model.to(self.device)
        self.inputs = Inputs(
            str(self.path), self.vocabulary, self.label_space, self.model.latent, side=self.config.data.side
        )
        self._splits = job.splits if job else None

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
    def longest_sentence(self) -> int:
        """Return the most tokens of a training sentence, EOS not counted: the default limit of decoding."""
        return int(self.folder.corpus()["train"]["longest"])

    # -- how alive it is ------------------------------------------------------------------------------------------

    def splits(self, data: Mapping[str, Any] | None = None) -> tuple[Splits, list[str]]:
        """Read the run's data again, perhaps from another place.

        Args:
            data: settings to change, such as `{"path": …}`.

        Returns:
            the splits, and messages: what the readers said, and which splits differ from those of training.
        """
        if data or self._splits is None:
            splits = build_splits(self._data(data), self.vocabulary, self.label_space, cache=self.folder.cache)
        else:
            splits = self._splits
        if missing := [field for field in self.label_space.names if field not in splits.train.labels]:
            raise UserError(
                f"{self.path}: the model is conditioned on {', '.join(missing)}, but the data have no such labels"
            )
        messages = list(splits.messages)
        if changed := self.folder.changed(splits):
            messages.append(f"the {', '.join(changed)} split differs from that of the training")
        if not data:
            self._splits = splits
        return splits, messages

    def share_splits(self, other: "Run") -> None:
        """Take the data that another run has read, where both read the same by the same tokens and labels."""
        mine, theirs = (
            (run.config.data, run.vocabulary.tokens, run.vocabulary.subwords, run.label_space) for run in (self, other)
        )
        if self._splits is None and mine == theirs:
            self._splits = other._splits

    def _data(self, data: Mapping[str, Any] | None) -> DataConfig:
        """Return the run's data settings, some of them changed."""
        given = {"data": data or {}}
        return Config.from_settings(merge(self.config.settings(), source_override(given), given)).data

    def subject(
        self, splits: Splits, split: str = "test", seed: int = 0, *, data: Mapping[str, Any] | None = None
    ) -> Subject:
        """Return what protocols measure: this run on a split.

        Args:
            splits: the run's data.
            split: train, valid or test.
            seed: of all draws.
            data: as in `splits`, for the lab's pairs.

        Raises:
            UserError: an unknown split.
        """
        if split not in PARTS:
            raise UserError(f"unknown split {split!r}: {suggest(split, PARTS)}")
        has_fitted = self.folder.prior_file.exists() and not self.folder.epoch
        fitted = self.folder.load_prior(self.model.latent) if has_fitted else None
        pairs, penalised = read_lab_pairs(self._data(data)), SHARES[self.config.objective.timesteps]
        return Subject(self.model, splits, split, seed, fitted, pairs, timesteps=penalised)

    def evaluate(
        self,
        split: str = "test",
        iw_samples: int = 50,
        iw_sentences: int | None = 500,
        *,
        seed: int = 0,
        data: Mapping[str, Any] | None = None,
        track: Track = untracked,
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
            track: shows the progress.
            adaptive: spend the draws of the bound where it is uncertain, for the error that K for every sentence would have.
            precision: of the decoder in the bound, fp32 or bf16; all else is in fp32.
        """
        subject = self.subject(self.splits(data)[0], split, seed, data=data)
        bound: dict[str, Any] = {
            "iw_samples": iw_samples,
            "iw_sentences": iw_sentences,
            "adaptive": adaptive,
            "precision": precision,
        }
        return measure(self.folder, subject, track=track, **bound).metrics

    def labels_of(self, corpus: Corpus) -> LabelSpec | None:
        """Return the labels of a corpus that the model is conditioned on, or None for an unconditional run."""
        names = self.label_space.names
        return {f: [names[f][i] for i in corpus.labels[f]] for f in names} if names else None

    # -- from sentences to codes ----------------------------------------------------------------------------------

    def posterior(self, texts: Sequence[str], labels: LabelSpec | None = None) -> Posterior:
        """Return q(z | x) of each sentence, on the CPU.

        Args:
            texts: sentences, in the form of the training text (words separated by blanks, say).
            labels: of a conditional run: `"past"`, `"tense=past"`, or `{"tense": …}` with one label for all sentences or a
                list with one each.

        Raises:
            UserError: no sentence at all, a language model (which has no latent space), labels that are missing or unknown.
        """
        self.inputs.need_latent()
        return posteriors(self.model, self.inputs.corpus(texts, labels))

    def encode(self, texts: Sequence[str], labels: LabelSpec | None = None) -> np.ndarray:
        """Return the posterior mean of each sentence, `[N, Z]`; `labels` as in `posterior`."""
        return self.posterior(texts, labels).mean.numpy()

    def mean_code(self, texts: Sequence[str], labels: LabelSpec | None = None) -> np.ndarray:
        """Return the mean of the posterior means of a group of sentences, `[Z]`; `labels` as in `posterior`."""
        return self.encode(texts, labels).mean(0)

    def draw(
        self, n: int, seed: int = 0, labels: LabelSpec | None = None, *, prior: str = "model"
    ) -> tuple[Tensor, dict[str, list[str]] | None]:
        """Draw codes from the prior.

        Args:
            n: how many.
            seed: of all draws.
            labels: of a conditional run, as in `posterior`; by default drawn as often as they occur in training.
            prior: `model`, or `fitted`: the mixture fitted to the training codes (`train.fit_prior`).

        Returns:
            codes `[n, Z]`, and the label of each (None for an unconditional run).

        Raises:
            UserError: n below 1, unknown names, no fitted prior in the run.
        """
        if n < 1:
            raise UserError(f"sample: expected at least one sentence, got {n}")
        if prior not in ("model", "fitted"):
            raise UserError(f"unknown prior {prior!r}: {suggest(prior, ('model', 'fitted'))}")
        classes = self._drawn_classes(n, seed) if labels is None else self.inputs.classes(labels, n)
        source = self.model.prior if prior == "model" else self.folder.load_prior(self.model.latent)
        with torch.inference_mode():
            z = source.sample(n, Source(seed), classes)
        names = self.label_space.names
        return z, ({f: [names[f][i] for i in classes[f].tolist()] for f in names} if names else None)

    # -- from code to code ----------------------------------------------------------------------------------------

    def interpolation(
        self,
        a: Point | None = None,
        b: Point | None = None,
        steps: int = 8,
        *,
        path: str = "line",
        seed: int = 0,
        labels: LabelSpec | None = None,
    ) -> Tensor:
        """Return codes on the way from a to b, both among them, `[steps, Z]`.

        Args:
            a: where it begins; a draw from the prior by default.
            b: where it ends; another draw by default.
            steps: codes, at least 2.
            path: `line`, or `arc` about the origin (spherical interpolation).
            seed: of the draws.
            labels: of a conditional run, as in `posterior`, one for all.

        Raises:
            UserError: fewer than 2 steps, an unknown path, codes of another width.
        """
        if path not in latent_ops.PATHS:
            raise UserError(f"unknown path {path!r}: {suggest(path, latent_ops.PATHS)}")
        if steps < 2:
            raise UserError(f"interpolate: expected at least 2 steps, its two ends, got {steps}")
        self.inputs.need_latent()
        drawn = self.draw(2, seed, labels)[0] if a is None or b is None else ()
        begin, end = (drawn[i] if point is None else self.code(point, labels) for i, point in enumerate((a, b)))
        return latent_ops.PATHS[path](begin, end, steps)

    def traversal(
        self,
        dimension: int,
        start: Point | None = None,
        steps: int = 7,
        *,
        span: float = 3.0,
        labels: LabelSpec | None = None,
    ) -> Tensor:
        """Return copies of a code whose one dimension goes from -span to span, `[steps, Z]`.

        Args:
            dimension: which, from 0.
            start: the code that is walked from; the origin by default.
            steps: codes, at least 2.
            span: half the length of the walk; the standard deviation of N(0, I) is 1.
            labels: of a conditional run, as in `posterior`.

        Raises:
            UserError: no such dimension, fewer than 2 steps.
        """
        self.inputs.need_latent()
        if not 0 <= dimension < self.model.latent:
            raise UserError(f"walk: expected a dimension from 0 to {self.model.latent - 1}, got {dimension}")
        if steps < 2:
            raise UserError(f"walk: expected at least 2 steps, got {steps}")
        origin = torch.zeros(self.model.latent) if start is None else self.code(start, labels)
        return latent_ops.traversal(origin, dimension, span, steps=steps)

    def code(self, point: Point, labels: LabelSpec | None = None) -> Tensor:
        """Return the code `[Z]` of a place; `labels` as in `posterior`.

        Raises:
            UserError: a code of another width.
        """
        if isinstance(point, str):
            return self.posterior([point], labels).mean[0]
        return self.inputs.code(point)

    # -- from codes to sentences ----------------------------------------------------------------------------------

    def decode(
        self, z: np.ndarray | Tensor, decode: How = "greedy", seed: int = 0, *, labels: LabelSpec | None = None
    ) -> list[str]:
        """Write the sentence of each code.

        Args:
            z: codes, `[N, Z]`.
            decode: the name of a strategy, such as `beam`, or a `Decoding` with its settings.
            seed: of the draws.
            labels: of a conditional run, as in `posterior`.

        Raises:
            UserError: codes of another width, an unknown strategy, labels that are missing or unknown.
        """
        if isinstance(decode, Decoding) and decode.n_best > 1:
            raise UserError(f"decode: writes one sentence a code, got n_best {decode.n_best}; use candidates")
        written = self._write(*self.inputs.codes(z, labels), decode, seed)
        return [self.vocabulary.decode(best[0]) for best in written]

    def candidates(
        self, z: np.ndarray | Tensor, decode: How = "greedy", seed: int = 0, *, labels: LabelSpec | None = None
    ) -> list[list[Sentence]]:
        """Write the n best sentences of each code (one unless by a beam with `n_best`), the best first, with their scores.

        Arguments and errors as in `decode`.
        """
        codes, classes = self.inputs.codes(z, labels)
        written = self._write(codes, classes, decode, seed)
        owner = torch.tensor([i for i, best in enumerate(written) for _ in best], dtype=torch.long)
        rows = [ids for best in written for ids in best]
        corpus = Corpus.from_ids(rows, self.vocabulary)
        labelled = replace(corpus, labels={f: c[owner].numpy() for f, c in classes.items()})
        sentences = iter(
            Sentence(self.vocabulary.decode(ids), float(log_prob), len(ids) + 1)
            for ids, log_prob in zip(rows, log_likelihoods(self.model, labelled, codes[owner]), strict=True)
        )
        return [[next(sentences) for _ in best] for best in written]

    @torch.inference_mode()
    def ink(self, pictures: Sequence[str], z: np.ndarray | Tensor, labels: LabelSpec | None = None) -> np.ndarray:
        """Return p(ink) at every pixel of pictures, given the code of each and the pixels before it, `[N, side, side]`.

        Args:
            pictures: as `decode` writes them.
            z: a code each, `[N, Z]`.
            labels: of a conditional run, as in `posterior`.

        Raises:
            UserError: a run on text, codes of another width, labels that are missing or unknown.
        """
        if not isinstance(self.model.decoder, PictureDecoder):
            raise UserError(f"{self.path}: expected a run on pictures, got one on text")
        codes, classes = self.inputs.codes(z, labels)
        here = {field: each.to(self.device) for field, each in classes.items()}
        drawn = torch.from_numpy(arrays_of(pictures)).to(self.device, torch.float32)[:, None]
        logits = self.model.decoder.logits(drawn, self.model.decoder_input(codes.to(self.device), here))
        return logits.sigmoid().cpu().numpy()

    def reconstruct(
        self, texts: Sequence[str], decode: How = "greedy", seed: int = 0, *, labels: LabelSpec | None = None
    ) -> list[str]:
        """Encode each sentence and decode its posterior mean; `labels` as in `posterior`."""
        return self.decode(self.posterior(texts, labels).mean, decode, seed, labels=labels)

    def transfer(
        self, texts: Sequence[str], source: LabelSpec, target: LabelSpec, *, decode: How = "greedy", seed: int = 0
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
        labels = self.changed(texts, source, target)
        return self.decode(self.posterior(texts, source).mean, decode, seed, labels=labels)

    def changed(self, texts: Sequence[str], source: LabelSpec, target: LabelSpec) -> LabelSpec:
        """Return the labels that `transfer` decodes under; errors as there."""
        self.inputs.need_labels()
        self.inputs.need_letters(texts)
        return {**self.label_space.read(source), **self.label_space.read(target)}

    def sample(
        self,
        n: int = 5,
        decode: How = "sample",
        seed: int = 0,
        *,
        labels: LabelSpec | None = None,
        prior: str = "model",
    ) -> list[str]:
        """Draw sentences: z from the prior (arguments as in `draw`), then the sentence from z."""
        z, drawn = self.draw(n, seed, labels, prior=prior)
        return self.decode(z, decode, seed + 1, labels=drawn)

    def interpolate(
        self,
        a: Point | None = None,
        b: Point | None = None,
        steps: int = 8,
        *,
        path: str = "line",
        decode: How = "greedy",
        seed: int = 0,
        labels: LabelSpec | None = None,
    ) -> list[str]:
        """Write the sentences on the way from a to b, both ends among them; arguments as in `interpolation` and `decode`."""
        return self.decode(
            self.interpolation(a, b, steps, path=path, seed=seed, labels=labels), decode, seed + 1, labels=labels
        )

    def analogy(
        self, a: Point, b: Point, c: Point, *, decode: How = "greedy", seed: int = 0, labels: LabelSpec | None = None
    ) -> str:
        """Write what stands to c as a stands to b: the sentence of a - b + c."""
        code = latent_ops.analogy(*(self.code(point, labels) for point in (a, b, c)))
        return self.decode(code[None], decode, seed, labels=labels)[0]

    def traverse(
        self,
        dimension: int,
        start: Point | None = None,
        steps: int = 7,
        *,
        span: float = 3.0,
        decode: How = "greedy",
        seed: int = 0,
        labels: LabelSpec | None = None,
    ) -> list[str]:
        """Write the sentences along one dimension; arguments as in `traversal` and `decode`."""
        return self.decode(
            self.traversal(dimension, start, steps, span=span, labels=labels), decode, seed, labels=labels
        )

    def neighbours(
        self,
        point: Point,
        among: Sequence[str],
        n: int = 5,
        *,
        cosine: bool = False,
        labels: LabelSpec | None = None,
        among_labels: LabelSpec | None = None,
    ) -> list[tuple[float, str]]:
        """Return the distances and the texts of the sentences whose codes lie nearest, the nearest first.

        Args:
            point: a sentence or a code.
            among: the sentences to look among.
            n: how many.
            cosine: by 1 - cos of the angle, not by the Euclidean distance.
            labels: of the sentence, for a conditional run, as in `posterior`.
            among_labels: of the sentences looked among.
        """
        codes = self.posterior(among, among_labels).mean
        if n < 1:
            raise UserError(f"neighbours: expected at least one, got {n}")
        distance, index = latent_ops.neighbours(self.code(point, labels), codes, len(codes), cosine=cosine)
        nearest_texts: dict[str, float] = {}
        for d, i in zip(distance.tolist(), index.tolist(), strict=True):
            nearest_texts.setdefault(among[i], d)  # a sentence that occurs twice is one neighbour
            if len(nearest_texts) == n:
                break
        return [(d, text) for text, d in nearest_texts.items()]

    def _write(self, z: Tensor, classes: Labels, decode: How, seed: int) -> list[list[list[int]]]:
        how = decode if isinstance(decode, Decoding) else Decoding(decode)
        if not self.vocabulary.of_text and (how.min_length or how.max_length or how.no_repeat):
            raise UserError("min_length, max_length and no_repeat are for text; a picture has all its pixels")
        return generate_n_best(self.model, z, self.longest_sentence, labels=classes, decoding=how, seed=seed)

    def _drawn_classes(self, n: int, seed: int) -> Labels:
        """Draw the labels of sentences as often as they occur in training, each field by itself."""
        classes = {}
        for number, (field, names) in enumerate(self.label_space.names.items()):
            random = np.random.default_rng([seed, 2, number])
            counts = self.folder.corpus()["train"]["labels"][field]
            share = np.array([counts[name] for name in names], dtype=float)
            classes[field] = torch.from_numpy(random.choice(len(names), n, p=share / share.sum()))
        return classes
