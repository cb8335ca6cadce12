"""From settings to a finished run folder: compose, prepare, train."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from uncollapse.config import Config, compose, differences, load_named, remedies_of
from uncollapse.errors import UserError
from uncollapse.evaluation.bounds import score
from uncollapse.evaluation.mixture import fit_mixture
from uncollapse.plan import MOST_EPOCHS, plan
from uncollapse.run import Origin, RunFolder
from uncollapse.training.guards import cpu_threads
from uncollapse.training.job import Job
from uncollapse.training.loop import Trainer
from uncollapse.training.progress import Listener

OPEN = (
    ("data", "level", "auto"),
    ("data", "max_vocab", 0),
    ("model", "emb", 0),
    ("model", "hidden", 0),
    ("train", "epochs", 0),
    ("train", "batch_size", 0),
    ("train", "steps_per_epoch", 0),
)
"""Settings whose value may be left to be chosen, and how that is written."""


def launch(
    recipe: str,
    remedies: Sequence[str],
    settings: Mapping[str, Mapping[str, Any]],
    *,
    out: str | Path | None,
    resume: bool,
    overwrite: bool,
    listener: Listener,
) -> tuple[RunFolder, Job]:
    """Train as `api.train` says; return the folder of the run and what was trained."""
    origin = origin_of(recipe, remedies, settings)
    config = origin.config
    folder = RunFolder(Path(out) if out else default_folder(origin, remedies))
    if folder.path.exists() and not folder.path.is_dir():
        raise UserError(f"{folder.path}: expected a folder for the run, got a file; choose another --out")
    with cpu_threads(config.train.threads):
        if resume:
            return folder, _resume(folder, origin, listener)
        return folder, _begin(folder, origin, overwrite, listener)


def preview(
    recipe: str, remedies: Sequence[str], settings: Mapping[str, Mapping[str, Any]], listener: Listener
) -> Config:
    """Say what a training would be like, and choose what is left open; return the settings. Nothing is trained or kept."""
    origin = origin_of(recipe, remedies, settings)
    with TemporaryDirectory() as cache, cpu_threads(origin.config.train.threads):
        return plan(origin, Path(cache), listener.remark)[0]


def origin_of(recipe: str, remedies: Sequence[str], settings: Mapping[str, Mapping[str, Any]]) -> Origin:
    """Merge recipe, remedies and settings, with the names they come from."""
    config = with_absolute_paths(compose(recipe, remedies, settings))
    named = tuple(load_named("remedies", name).name for name in remedies_of(recipe, remedies, settings))
    return Origin(load_named("recipes", recipe).name, named, config)


def _begin(folder: RunFolder, origin: Origin, overwrite: bool, listener: Listener) -> Job:
    """Prepare a run, put it in its place, and train it."""
    with folder.lock(), folder.beginning() as prepared:
        if folder.config_file.exists() and not overwrite:
            raise UserError(
                f"{folder.path}: a run is already there; add --resume to go on, --overwrite to begin anew, or --out DIR"
            )
        config, job = plan(origin, prepared.cache, listener.remark)
        trainer = Trainer(job, prepared, listener)
        torch.manual_seed(config.train.seed)
        prepared.begin(replace(origin, config=config), job.splits)
        trainer.save()
        folder.take_over(prepared)  # only now: everything that could be refused has been checked
        trainer.folder = folder
        _fit(trainer)
    return job


def _resume(folder: RunFolder, origin: Origin, listener: Listener) -> Job:
    if not folder.config_file.exists():
        raise UserError(f"{folder.path}: nothing to resume, there is no run; leave --resume out to begin")
    with folder.lock():
        origin = replace(origin, config=_same_settings(folder, origin, listener))
        _, job = plan(origin, folder.cache, listener.remark, folder)
        trainer = Trainer(job, folder, listener)
        trainer.resume()
        if (
            origin != folder.origin()
        ):  # a longer training, of which nothing may be left over from the end of the shorter
            trainer.progress.finished, trainer.plateau.waited, trainer.plateau.decays = False, 0, 0
            folder.write_origin(origin)
        _fit(trainer)
    return job


def _fit(trainer: Trainer) -> None:
    trainer.fit()
    model, components = trainer.model, trainer.train.fit_prior
    if components:
        model.load_state_dict(trainer.folder.load_weights())
        trainer.folder.save_prior(fit_mixture(score(model.eval(), trainer.splits.train).z, components))


def default_folder(origin: Origin, remedies: Sequence[str]) -> Path:
    """Return runs/RECIPE-REMEDIES-SEED; the name of the data stands for the recipe `default`, which says nothing."""
    data = origin.config.data
    name = origin.recipe if origin.recipe != "default" else data.name or Path(data.path).name.split(".")[0] or "default"
    parts = (name, "+".join(origin.remedies) if remedies else "", str(origin.config.train.seed))
    return Path("runs") / "-".join(part for part in parts if part)


def with_absolute_paths(config: Config) -> Config:
    """Return the configuration with its data paths made absolute, so that the run can be used from any folder."""
    paths = {name: getattr(config.data, name) for name in ("path", "valid", "test", "vocab_from")}
    absolute: dict[str, Any] = {name: str(Path(path).resolve()) for name, path in paths.items() if path}
    return replace(config, data=replace(config.data, **absolute))


def _same_settings(folder: RunFolder, asked: Origin, listener: Listener) -> Config:
    """Return the settings of the run in the folder, if those asked for are the same.

    What is left open takes what was chosen. More epochs, or more minutes than before, lengthen the training.
    """
    found, config = folder.origin().config, asked.config
    for section, name, left_open in OPEN:
        if getattr(getattr(config, section), name) == left_open:
            chosen = {name: getattr(getattr(found, section), name)}
            config = replace(config, **{section: replace(getattr(config, section), **chosen)})
    before, now = found.train, config.train
    if now.minutes > before.minutes and not asked.config.train.epochs:
        now = replace(now, epochs=max(now.epochs, min(MOST_EPOCHS, _fitting(folder, now.minutes))))
    epochs, minutes = max(before.epochs, now.epochs), max(before.minutes, now.minutes)
    found, config = replace(found, train=replace(before, epochs=epochs, minutes=minutes)), replace(config, train=now)
    if differ := differences(found, config):
        said = "; ".join(f"{key} was {before!r}, now {now!r}" for key, (before, now) in differ.items())
        raise UserError(f"{folder.path}: --resume needs the settings of the run, or a longer training: {said}")
    if now.epochs > before.epochs:
        listener.remark(f"going on to {now.epochs} epochs, from {before.epochs}; the schedules are stretched over them")
    return config


def _fitting(folder: RunFolder, minutes: float) -> int:
    """Return how many epochs of a run fit into so many minutes, by those that are done."""
    log = folder.log()
    seconds = sum(entry["seconds"] for entry in log) / len(log) if log else math.inf
    return int(60 * minutes / seconds) if seconds else 0
