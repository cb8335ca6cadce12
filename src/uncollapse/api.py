"""The Python face: train, load, and a run to use."""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uncollapse.build import build_device, build_model, build_objective, build_splits, load_model, refuse_impossible
from uncollapse.config import Config, compose, differences, instead_of, load_named, merge
from uncollapse.data.corpus import Corpus, ordered_batches
from uncollapse.data.splits import Splits, fingerprint
from uncollapse.data.vocabulary import UNK
from uncollapse.errors import UserError, nearest
from uncollapse.evaluation.evaluate import Evaluation, Stage, evaluate, silent
from uncollapse.evaluation.overlap import token_accuracy
from uncollapse.generation.choose import STRATEGIES, Strategy
from uncollapse.generation.decode import decode
from uncollapse.latent import Diagonal, pool
from uncollapse.model import VAE
from uncollapse.run import Origin, RunFolder
from uncollapse.training.loop import Trainer
from uncollapse.training.progress import Listener, Sums
from uncollapse.training.timing import seconds_per_epoch

MOST_EPOCHS = 40


class Quiet:
    """A listener that says nothing."""

    def epoch_begins(self, epoch: int, done: int, batches: int) -> None:
        """Take no notice."""

    def step(self, epoch: int, sums: Sums) -> None:
        """Take no notice."""

    def epoch_ends(self, entry: dict[str, Any]) -> None:
        """Take no notice."""

    def remark(self, text: str) -> None:
        """Take no notice."""


class Run:
    """A trained model and everything that is known about it.

    Attributes:
        folder: its files.
        config: its settings.
        recipe: the recipe's name.
        remedies: the remedies' names.
        vocabulary: its tokens.
        model: its best weights, in evaluation mode.
    """

    def __init__(self, path: str | Path, device: str = "auto") -> None:
        self.folder = RunFolder(Path(path))
        origin = self.folder.origin()
        self.config, self.recipe, self.remedies = origin.config, origin.recipe, origin.remedies
        self.vocabulary = self.folder.vocabulary()
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

    @torch.inference_mode()
    def posterior(self, texts: Sequence[str]) -> Diagonal:
        """Return q(z given x) of each sentence: mu and logvar `[N, Z]`, on the CPU.

        Args:
            texts: sentences, in the form of the training text (words separated by blanks, say).

        Raises:
            UserError: no sentence at all, or a language model, which has no latent space.
        """
        self._need_latent()
        corpus = self._corpus(texts)
        order, parts = [], []
        for index in ordered_batches(corpus.lengths, 256):
            posterior = self.model.posterior(corpus.batch(index).to(self.device))
            parts.append(posterior.cpu())
            order.append(index)
        back = torch.from_numpy(np.argsort(np.concatenate(order)))
        return pool(parts)[back]

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return the posterior mean of each sentence, `[N, Z]`."""
        return self.posterior(texts).mu.numpy()

    def decode(self, z: np.ndarray | Tensor, decode: Strategy = "greedy", seed: int = 0) -> list[str]:
        """Write the sentence of each code.

        Args:
            z: codes, `[N, Z]`.
            decode: `greedy`, or `sample` to draw each token from its probability.
            seed: of the draws.

        Raises:
            UserError: codes of another width, or an unknown strategy.
        """
        codes = torch.as_tensor(np.asarray(z), dtype=torch.float32)
        if codes.ndim != 2 or codes.shape[1] != self.model.latent:
            raise UserError(f"decode: expected codes of shape [N, {self.model.latent}], got {list(codes.shape)}")
        return self._write(codes, decode, seed)

    def reconstruct(self, texts: Sequence[str], decode: Strategy = "greedy", seed: int = 0) -> list[str]:
        """Encode each sentence and decode its posterior mean."""
        return self.decode(self.posterior(texts).mu, decode, seed)

    def sample(self, n: int = 5, decode: Strategy = "sample", seed: int = 0) -> list[str]:
        """Draw sentences: z from the prior, then the sentence from z."""
        if n < 1:
            raise UserError(f"sample: expected at least one sentence, got {n}")
        return self._write(self.model.prior.sample(n, seed), decode, seed + 1)

    def unknown_words(self, texts: Iterable[str]) -> int:
        """Count the tokens that are not in the vocabulary."""
        return sum(i == UNK for text in texts for i in self.vocabulary.encode(text))

    def _write(self, z: Tensor, strategy: str, seed: int) -> list[str]:
        if strategy not in STRATEGIES:
            raise UserError(f"unknown decoding {strategy!r}: {nearest(strategy, STRATEGIES)}")
        rows = decode(self.model.decoder, z.to(self.device), STRATEGIES[strategy], self._longest, seed)
        return [self.vocabulary.decode(row) for row in rows]

    def _corpus(self, texts: Sequence[str]) -> Corpus:
        if isinstance(texts, str):
            raise UserError("expected a list of sentences, got one string; write [text]")
        if not len(texts):
            raise UserError("expected at least one sentence, got none")
        return Corpus.from_texts(texts, self.vocabulary)

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
        given = {"data": data or {}}
        config = Config.from_settings(merge(self.config.settings(), instead_of(given), given))
        splits = build_splits(config.data, self.vocabulary)
        remarks = list(splits.remarks)
        if changed := changed_splits(self.folder, splits):
            remarks.append(f"the {', '.join(changed)} split differs from that of the training")
        return splits, remarks

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

    def accuracy(self, corpus: Corpus, sentences: int = 500) -> float:
        """Return the token accuracy of greedy reconstructions from posterior means, on the first sentences of a corpus."""
        few = corpus.subset(np.arange(min(sentences, len(corpus))))
        originals = [few.ids(i).tolist() for i in range(len(few))]
        return token_accuracy(originals, [self.vocabulary.encode(text) for text in self.reconstruct(few.texts())])

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
            "fingerprint": fingerprint(corpus),
            "same_as_training": split not in changed_splits(self.folder, splits),
        }
        if split in splits.floor:
            done.metrics["nll_floor"] = splits.floor[split]
        if log := self.log:
            done.metrics["epochs"], done.metrics["weight_final"] = log[-1]["epoch"], log[-1]["weight"]
        self.folder.write_metrics(split, done.metrics)
        return done


def changed_splits(folder: RunFolder, splits: Splits) -> list[str]:
    """Return the names of the splits that are not those of the run's training."""
    before = folder.corpus()
    return [part for part, entry in before.items() if fingerprint(splits[part]) != entry["fingerprint"]]


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
    remedies = (remedy,) if isinstance(remedy, str) else tuple(remedy)
    if seed is not None:
        settings["train"] = {**settings.get("train", {}), "seed": seed}
    config = with_absolute_paths(compose(recipe, remedies, settings))
    origin = Origin(load_named("recipes", recipe).name, tuple(load_named("remedies", r).name for r in remedies), config)
    folder = RunFolder(Path(out) if out else default_folder(origin))
    with folder.lock():
        _train_in(folder, origin, resume, overwrite, listener or Quiet())
    return Run(folder.path, config.train.device)


def default_folder(origin: Origin) -> Path:
    """Return runs/RECIPE-REMEDIES-SEED."""
    parts = (origin.recipe, "+".join(origin.remedies), str(origin.config.train.seed))
    return Path("runs") / "-".join(part for part in parts if part)


def with_absolute_paths(config: Config) -> Config:
    """Return the configuration with its data paths made absolute, so that the run can be used from any folder."""
    path, valid, test = (
        str(Path(p).resolve()) if p else "" for p in (config.data.path, config.data.valid, config.data.test)
    )
    return replace(config, data=replace(config.data, path=path, valid=valid, test=test))


def _train_in(folder: RunFolder, origin: Origin, resume: bool, overwrite: bool, listener: Listener) -> None:
    """Train in a folder that is held by a lock."""
    if resume and folder.config_file.exists():
        origin = _same_settings(folder, origin)
    elif resume:
        raise UserError(f"{folder.path}: nothing to resume, there is no run; leave --resume out to begin")
    elif folder.config_file.exists() and not overwrite:
        raise UserError(
            f"{folder.path}: a run is already there; add --resume to go on, --overwrite to begin anew, or --out DIR"
        )
    splits = build_splits(origin.config.data, folder.vocabulary() if resume else None)
    if resume and (changed := changed_splits(folder, splits)):
        raise UserError(
            f"{folder.path}: the data have changed since the run began ({', '.join(changed)}); restore them"
        )
    # the encoder reads BOS, the tokens and EOS: one more than is predicted
    model = build_model(origin.config, len(splits.vocabulary), splits.train.lengths + 1)
    model.to(build_device(origin.config.train.device))
    batches = math.ceil(len(splits.train) / origin.config.train.batch_size)
    build_objective(_with_epochs(origin.config), batches)  # a wrong schedule is said before anything else
    for remark in (*splits.remarks, _size(splits, model)):
        listener.remark(remark)
    if not resume:
        origin = _plan(origin, model, splits, batches, listener)
    objective = build_objective(origin.config, batches)
    last = batches * (origin.config.train.epochs - origin.config.train.pretrain_epochs) - 1
    if objective.weight.length > last + 1 and not math.isinf(objective.weight.length):
        listener.remark(
            f"the schedule {origin.config.objective.weight} is longer than the run: "
            f"weight ends at {objective.weight(last):.2f}, not {objective.weight.end:g}"
        )
    trainer = Trainer(model, objective, splits, origin.config.optim, origin.config.train, folder, listener)
    if resume and folder.state_file.exists():
        trainer.resume()
    else:
        torch.manual_seed(origin.config.train.seed)
        folder.clear()  # only now: everything that could be refused has been checked
        folder.begin(origin, splits)
        trainer.save()
    trainer.fit()


def _same_settings(folder: RunFolder, asked: Origin) -> Origin:
    """Return the origin of the run in the folder, if the settings asked for are the same (epochs 0 takes what was chosen)."""
    found = folder.origin()
    if asked.config.train.epochs == 0:
        asked = replace(
            asked,
            config=replace(asked.config, train=replace(asked.config.train, epochs=found.config.train.epochs)),
        )
    if differ := differences(found.config, asked.config):
        said = "; ".join(f"{key} was {before!r}, now {now!r}" for key, (before, now) in differ.items())
        raise UserError(f"{folder.path}: --resume needs the settings of the run: {said}")
    return found


def _with_epochs(config: Config) -> Config:
    """Return the configuration with a number of epochs, where that is still to be chosen."""
    return replace(config, train=replace(config.train, epochs=config.train.epochs or MOST_EPOCHS))


def _size(splits: Splits, model: VAE) -> str:
    parameters = sum(p.numel() for p in model.parameters())
    return (
        f"{len(splits.train):,} training sentences ({splits.train.predicted:,} tokens), {len(splits.valid):,} validation, "
        f"{len(splits.test):,} test; vocabulary {len(splits.vocabulary):,}; {parameters / 1e6:.1f} M parameters"
    )


def _plan(origin: Origin, model: VAE, splits: Splits, batches: int, listener: Listener) -> Origin:
    """Measure the speed, choose the epochs where that was left open, and say how long training will take."""
    settings = origin.config.train
    began = time.perf_counter()
    epoch = seconds_per_epoch(model, build_objective(_with_epochs(origin.config), batches), splits, settings)
    # an inner step costs about three quarters of a full one, and there are at least thirty
    most = settings.aggressive_steps or batches * MOST_EPOCHS
    inner = 0.0 if settings.aggressive == "off" else 0.75 * 30 * epoch / batches
    if not settings.epochs and most >= batches:
        epoch, inner = epoch + inner * batches, 0.0
    epochs = settings.epochs or max(1, min(MOST_EPOCHS, int(60 * settings.minutes / epoch)))
    total = epoch * epochs + inner * min(most, batches * epochs)
    chosen = "" if settings.epochs else " (chosen by train.minutes; set --train.epochs for more or fewer)"
    aggressive = ", if the aggressive phase lasts and takes the least it can, 30 encoder steps before each step"
    listener.remark(
        f"about {spell_time(total)} for {epochs} epochs of {batches:,} steps{chosen}"
        f"{aggressive if settings.aggressive != 'off' else ''}; measured in {time.perf_counter() - began:.1f} s"
    )
    planned = replace(origin, config=replace(origin.config, train=replace(settings, epochs=epochs)))
    refuse_impossible(planned.config)
    return planned


def spell_time(seconds: float) -> str:
    """Return seconds in words: `42 s`, `7 min`, `3.2 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
