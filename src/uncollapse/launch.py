"""From settings to a finished run folder: compose, prepare, train."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from uncollapse.config import Config, compose, differences, load_named
from uncollapse.errors import UserError
from uncollapse.evaluation.bounds import score
from uncollapse.evaluation.mixture import fit_mixture
from uncollapse.plan import plan
from uncollapse.run import Origin, RunFolder
from uncollapse.training.guards import cpu_threads
from uncollapse.training.job import Job
from uncollapse.training.loop import Trainer
from uncollapse.training.progress import Listener


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
    config = with_absolute_paths(compose(recipe, remedies, settings))
    origin = Origin(load_named("recipes", recipe).name, tuple(load_named("remedies", r).name for r in remedies), config)
    folder = RunFolder(Path(out) if out else default_folder(origin))
    if folder.path.exists() and not folder.path.is_dir():
        raise UserError(f"{folder.path}: expected a folder for the run, got a file; choose another --out")
    with cpu_threads(config.train.threads):
        if resume:
            return folder, _resume(folder, origin, listener)
        return folder, _begin(folder, origin, overwrite, listener)


def _begin(folder: RunFolder, origin: Origin, overwrite: bool, listener: Listener) -> Job:
    """Prepare a run, put it in its place, and train it."""
    with folder.lock(), folder.beginning() as prepared:
        if folder.config_file.exists() and not overwrite:
            raise UserError(
                f"{folder.path}: a run is already there; add --resume to go on, --overwrite to begin anew, or --out DIR"
            )
        config, job = plan(origin.config, prepared.cache, listener.remark)
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
        config = _same_settings(folder, origin)
        _, job = plan(config, folder.cache, listener.remark, folder)
        trainer = Trainer(job, folder, listener)
        trainer.resume()
        _fit(trainer)
    return job


def _fit(trainer: Trainer) -> None:
    trainer.fit()
    model, components = trainer.model, trainer.train.fit_prior
    if components:
        model.load_state_dict(trainer.folder.load_weights())
        trainer.folder.save_prior(fit_mixture(score(model.eval(), trainer.splits.train).z, components))


def default_folder(origin: Origin) -> Path:
    """Return runs/RECIPE-REMEDIES-SEED."""
    parts = (origin.recipe, "+".join(origin.remedies), str(origin.config.train.seed))
    return Path("runs") / "-".join(part for part in parts if part)


def with_absolute_paths(config: Config) -> Config:
    """Return the configuration with its data paths made absolute, so that the run can be used from any folder."""
    paths = {name: getattr(config.data, name) for name in ("path", "valid", "test", "vocab_from")}
    absolute: dict[str, Any] = {name: str(Path(path).resolve()) for name, path in paths.items() if path}
    return replace(config, data=replace(config.data, **absolute))


def _same_settings(folder: RunFolder, asked: Origin) -> Config:
    """Return the settings of the run in the folder, if those asked for are the same (epochs 0 takes what was chosen)."""
    found, config = folder.origin().config, asked.config
    if config.train.epochs == 0:
        config = replace(config, train=replace(config.train, epochs=found.train.epochs))
    if differ := differences(found, config):
        said = "; ".join(f"{key} was {before!r}, now {now!r}" for key, (before, now) in differ.items())
        raise UserError(f"{folder.path}: --resume needs the settings of the run: {said}")
    return found
