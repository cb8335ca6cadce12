"""From settings to a finished run folder: compose, check, plan, train."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from uncollapse.build import (
    build_device,
    build_lr_factor,
    build_model,
    build_objective,
    build_splits,
    refuse_impossible,
    told,
)
from uncollapse.config import Config, compose, differences, load_named
from uncollapse.data.labels import LabelSpace
from uncollapse.data.pairs import pairs_file, read_pairs
from uncollapse.data.splits import Splits, fingerprint
from uncollapse.data.vocabulary import UNK
from uncollapse.errors import UserError
from uncollapse.evaluation.bounds import score
from uncollapse.evaluation.mixture import fit_mixture
from uncollapse.model import VAE
from uncollapse.nn.casts import multiplies_in_bf16
from uncollapse.objectives import Objective
from uncollapse.run import Origin, RunFolder
from uncollapse.training.aggressive import LEAST_INNER_STEPS
from uncollapse.training.guards import cpu_threads
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


def launch(
    recipe: str,
    remedy: str | Sequence[str],
    seed: int | None,
    out: str | Path | None,
    resume: bool,
    overwrite: bool,
    listener: Listener | None,
    settings: dict[str, Mapping[str, Any]],
) -> tuple[RunFolder, Config]:
    """Train as `api.train` says; return the folder of the run and its settings."""
    remedies = (remedy,) if isinstance(remedy, str) else tuple(remedy)
    if seed is not None:
        settings = {**settings, "train": {**settings.get("train", {}), "seed": seed}}
    config = with_absolute_paths(compose(recipe, remedies, settings))
    origin = Origin(load_named("recipes", recipe).name, tuple(load_named("remedies", r).name for r in remedies), config)
    folder = RunFolder(Path(out) if out else default_folder(origin))
    with folder.lock(), cpu_threads(config.train.threads):
        _train_in(folder, origin, resume, overwrite, listener or Quiet())
    return folder, config


def changed_splits(folder: RunFolder, splits: Splits) -> list[str]:
    """Return the names of the splits that are not those of the run's training."""
    before, told = folder.corpus(), folder.origin().config.model.told
    return [part for part, entry in before.items() if fingerprint(splits[part], told) != entry["fingerprint"]]


def default_folder(origin: Origin) -> Path:
    """Return runs/RECIPE-REMEDIES-SEED."""
    parts = (origin.recipe, "+".join(origin.remedies), str(origin.config.train.seed))
    return Path("runs") / "-".join(part for part in parts if part)


def with_absolute_paths(config: Config) -> Config:
    """Return the configuration with its data paths made absolute, so that the run can be used from any folder."""
    paths = {name: getattr(config.data, name) for name in ("path", "valid", "test", "vocab_from")}
    absolute: dict[str, Any] = {name: str(Path(path).resolve()) for name, path in paths.items() if path}
    return replace(config, data=replace(config.data, **absolute))


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
    vocabulary, labels = (folder.vocabulary(), folder.label_space()) if resume else (None, None)
    splits = build_splits(origin.config.data, vocabulary, labels, folder.cache)
    if resume and (changed := changed_splits(folder, splits)):
        raise UserError(
            f"{folder.path}: the data have changed since the run began ({', '.join(changed)}); restore them"
        )
    # the encoder reads BOS, the tokens and EOS: one more than is predicted
    space = LabelSpace(splits.train.label_names)
    model = build_model(origin.config, len(splits.vocabulary), splits.train.lengths + 1, space)
    model.to(build_device(origin.config.train.device))
    batches = math.ceil(len(splits.train) / origin.config.train.batch_size)
    # a wrong schedule, or one that the data cannot serve, is said before anything else
    refuse_for_data(origin.config, build_objective(_with_epochs(origin.config), batches), splits)
    build_lr_factor(_with_epochs(origin.config), batches)
    bf16 = origin.config.train.precision == "bf16" and not multiplies_in_bf16(model.device)
    unable = ["train.precision bf16: this CPU does not multiply in bf16, and computes in fp32"] if bf16 else []
    for remark in (*splits.remarks, *unable, _size(splits, model)):
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
    trainer = Trainer(
        model,
        objective,
        splits,
        origin.config.optim,
        origin.config.train,
        folder,
        listener,
        build_lr_factor(origin.config, batches),
    )
    if resume and folder.state_file.exists():
        trainer.resume()
    else:
        torch.manual_seed(origin.config.train.seed)
        folder.clear()  # only now: everything that could be refused has been checked
        folder.begin(origin, splits)
        trainer.save()
    trainer.fit()
    if components := origin.config.train.fit_prior:
        model.load_state_dict(folder.load_weights())
        folder.save_prior(fit_mixture(score(model.eval(), splits.train).z, components))


def refuse_for_data(config: Config, objective: Objective, splits: Splits) -> None:
    """Refuse settings that the data cannot serve, in one line.

    Raises:
        UserError: always with what to change.
    """
    space = told(config.model, LabelSpace(splits.train.label_names))
    rows = splits.train.form_field
    for name, wanted in {"translate": objective.translate, "dream": not objective.dream.zero}.items():
        if wanted and not rows:
            raise UserError(f"objective.{name}: expected rows of parallel forms (--data.format parallel), got none")
        if wanted and rows not in space.names:
            raise UserError(
                f"objective.{name}: the decoder must be told which form to write; add --model.condition {rows}"
            )
    if config.train.select.startswith("transfer") and rows not in space.names:
        raise UserError(
            f"train.select {config.train.select}: expected rows of parallel forms and a model.condition that tells them apart"
        )
    if config.train.select.startswith("transfer") and not len(splits.valid.forms):
        raise UserError(
            f"train.select {config.train.select}: expected complete rows in the validation split, got none; raise data.max_length"
        )
    if config.data.pairs:
        refuse_pairs(config, splits)
    if config.train.fit_prior and not config.model.latent:
        raise UserError("train.fit_prior: a language model (model.latent 0) has no codes to fit a prior to")


def refuse_pairs(config: Config, splits: Splits) -> None:
    """Refuse pairs that could not be converted: unknown directions, or letters that no training word has.

    Raises:
        UserError: always with what is wrong.
    """
    train = splits.train
    if not train.form_field:
        raise UserError(
            "data.pairs: expected rows of parallel forms (--data.format parallel), got none; add --data.pairs="
        )
    pairs = read_pairs(pairs_file(Path(config.data.path), config.data.pairs), config.data.directions)
    LabelSpace(train.label_names).ids(train.form_field, [name for pair in pairs for name in (pair.source, pair.target)])
    for pair in pairs:
        if UNK in train.vocabulary.encode(pair.word):
            raise UserError(f"data.pairs: {pair.word!r} has letters that no training word has")


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
    # an inner step costs about three quarters of a full one
    most = settings.aggressive_steps or batches * MOST_EPOCHS
    inner = 0.0 if settings.aggressive == "off" else 0.75 * LEAST_INNER_STEPS * epoch / batches
    if not settings.epochs and most >= batches:
        epoch, inner = epoch + inner * batches, 0.0
    epochs = settings.epochs or max(1, min(MOST_EPOCHS, int(60 * settings.minutes / epoch)))
    total = epoch * epochs + inner * min(most, batches * epochs)
    chosen = "" if settings.epochs else " (chosen by train.minutes; set --train.epochs for more or fewer)"
    aggressive = f", if the aggressive phase lasts and takes the least it can, {LEAST_INNER_STEPS} encoder steps before each step"
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
