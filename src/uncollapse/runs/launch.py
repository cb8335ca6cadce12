"""From settings to a finished run folder: compose, prepare, train."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from glob import has_magic
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from uncollapse.errors import UserError
from uncollapse.evaluation.mixture import fit_mixture
from uncollapse.evaluation.scores import score
from uncollapse.messages import say
from uncollapse.parallel import World
from uncollapse.runs.advice import Warn
from uncollapse.runs.builders.model import NONE_OWN, Modules
from uncollapse.runs.compose import compose, load_named, remedies_of
from uncollapse.runs.config import Config, differences, merge
from uncollapse.runs.folder import Origin, RunFolder
from uncollapse.runs.job import Job
from uncollapse.runs.plan import MOST_EPOCHS, plan
from uncollapse.runs.shipped import refuse_shipped, run_path
from uncollapse.runs.version import code_version
from uncollapse.training.callbacks import Callback, Checkpoint, Keep, Log, MeanSpace, Monitor, TensorBoard, WandB
from uncollapse.training.fit import Trainer
from uncollapse.training.guards import cpu_threads

OPEN = (
    ("data", "level", "auto"),
    ("data", "max_vocab", 0),
    ("encoder", "emb", 0),
    ("encoder", "hidden", 0),
    ("decoder", "emb", 0),
    ("decoder", "hidden", 0),
    ("train", "epochs", 0),
    ("train", "batch_size", 0),
    ("train", "steps_per_epoch", 0),
)
"""Settings that may be left open, and the value that says so."""


def launch(
    recipe: str,
    remedies: Sequence[str],
    settings: Mapping[str, Mapping[str, Any]],
    *,
    out: str | Path | None,
    resume: bool,
    overwrite: bool,
    callbacks: Sequence[Callback],
    modules: Modules = NONE_OWN,
) -> tuple[RunFolder, Job]:
    """Train as `run.train` says; return the folder of the run and its job."""
    origin = origin_of(recipe, remedies, settings)
    folder = RunFolder(Path(out) if out else default_folder(origin, remedies))
    if folder.path.exists() and not folder.path.is_dir():
        raise UserError(f"{folder.path}: expected a folder for the run, got a file; choose another --out")
    refuse_shipped(folder.path)
    world = World.current()
    with cpu_threads(origin.config.train.threads):
        if world.rank:
            return folder, _follow(folder, world, modules)
        with folder.lock():
            with _leading(world):
                trainer, job = (
                    _resume(folder, origin, callbacks, modules)
                    if resume
                    else _begin(folder, origin, callbacks, overwrite=overwrite, modules=modules)
                )
            _fit(folder, trainer, job)
            world.agree(None)  # the others may read the folder now
    return folder, job


@contextmanager
def _leading(world: World) -> Iterator[None]:
    """Prepare a run for all processes; where this one fails, the others end too."""
    try:
        yield
    except BaseException:
        world.agree("the first process has failed; see its message")
        raise
    world.agree("")


def _follow(folder: RunFolder, world: World, modules: Modules) -> Job:
    """Train beside the first process, which alone writes, from the state that it has written.

    The folder must be one that all processes see.
    """
    if failure := world.agree(""):
        raise UserError(failure)
    _, job = plan(folder.origin(), folder.cache, folder, modules=modules)
    trainer = job.trainer()
    Checkpoint(folder.path).resume(trainer)
    trainer.fit()
    world.agree(None)
    return job


def preview(recipe: str, remedies: Sequence[str], settings: Mapping[str, Mapping[str, Any]]) -> Config:
    """Say what a training would be like, and choose what is left open; return the settings. Nothing is trained or kept."""
    origin = origin_of(recipe, remedies, settings)
    with TemporaryDirectory() as cache, cpu_threads(origin.config.train.threads):
        return plan(origin, Path(cache))[0]


def origin_of(recipe: str, remedies: Sequence[str], settings: Mapping[str, Mapping[str, Any]]) -> Origin:
    """Merge recipe, remedies and settings, with the names they come from."""
    earlier = compose(recipe, remedies, settings).train.init_from
    config = with_absolute_paths(compose(recipe, remedies, with_network_of(earlier, settings)))
    named = tuple(load_named("remedies", name).name for name in remedies_of(recipe, remedies, settings))
    return Origin(load_named("recipes", recipe).name, named, config)


def with_network_of(earlier: str, settings: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
    """Return the settings with network and tokens of the run whose weights are the start, where there is one."""
    if not earlier:
        return settings
    theirs = RunFolder(run_path(earlier)).origin().config.settings()
    data = {name: theirs["data"][name] for name in ("level", "lowercase", "max_vocab", "max_length", "side")}
    return merge({"data": data, **{name: theirs[name] for name in ("encoder", "decoder", "model")}}, settings)


def _begin(
    folder: RunFolder, origin: Origin, callbacks: Sequence[Callback], *, overwrite: bool, modules: Modules
) -> tuple[Trainer, Job]:
    """Prepare a run, and put it in its place."""
    if folder.config_file.exists() and not overwrite:
        raise UserError(
            f"{folder.path}: a run is already there; add --resume to go on, --overwrite to begin anew, or --out DIR"
        )
    with folder.beginning() as prepared:
        config, job = plan(origin, prepared.cache, modules=modules)
        torch.manual_seed(config.train.seed)
        prepared.begin(replace(origin, config=config), job.splits)
        trainer, _ = _trainer(folder, job, callbacks, config)
        Checkpoint(prepared.path).save(trainer)
        folder.take_over(prepared)  # only now: everything that could be refused has been checked
    return trainer, job


def _resume(folder: RunFolder, origin: Origin, callbacks: Sequence[Callback], modules: Modules) -> tuple[Trainer, Job]:
    """Prepare to go on with a run."""
    if not folder.config_file.exists():
        raise UserError(f"{folder.path}: nothing to resume, there is no run; leave --resume out to begin")
    origin = replace(origin, config=_same_settings(folder, origin))
    _, job = plan(origin, folder.cache, folder, modules=modules)
    trainer, checkpoint = _trainer(folder, job, callbacks, origin.config)
    checkpoint.resume(trainer)
    if trainer.progress.finished and origin.config.train != folder.origin().config.train:
        # the plateau rule ended the shorter training: the longer one waits anew, at the learning rate that was reached
        trainer.progress.finished, trainer.plateau.waited = False, 0
        checkpoint.save(trainer)
    folder.write_origin(origin)
    return trainer, job


LOGGERS: dict[str, Callable[[RunFolder, Job, Config], Callback]] = {
    "tensorboard": lambda folder, job, _: TensorBoard(folder.path / "tensorboard", job.splits.valid),
    "wandb": lambda folder, job, config: WandB(folder.path, job.splits.valid, config.settings()),
}
"""Name -> from the run to the callback that logs it."""


def _trainer(folder: RunFolder, job: Job, callbacks: Sequence[Callback], config: Config) -> tuple[Trainer, Checkpoint]:
    """Return a training that goes to a folder."""
    checkpoint, train = Checkpoint(folder.path, job.train.checkpoint_minutes), job.train
    own: list[Callback] = [Log(folder.log_file, {"code": code_version()})]
    if job.monitor.enabled and job.model.latent:
        monitor = Monitor(
            job.splits.valid, every=job.monitor.every, path=folder.monitor_file, stop_when=job.monitor.stop_when
        )
        own = [monitor, *own, Warn()]
    if train.keep:
        own.append(Keep(folder.path, train.keep))
    own += [LOGGERS[name](folder, job, config) for name in job.monitor.log]
    if train.record_every:
        points = job.splits.valid.first(train.record_points)
        own.append(MeanSpace(folder.mean_space_file, points, train.record_every, halves=train.record_halves))
    return job.trainer([*own, checkpoint, *callbacks]), checkpoint


def _fit(folder: RunFolder, trainer: Trainer, job: Job) -> None:
    trainer.fit()
    if job.train.fit_prior:
        job.model.load_state_dict(folder.load_weights())
        folder.save_prior(fit_mixture(score(job.model.eval(), job.splits.train).z, job.train.fit_prior))


def default_folder(origin: Origin, remedies: Sequence[str]) -> Path:
    """Return runs/RECIPE-REMEDIES-SEED; the name of the data stands for the recipe `default`, which says nothing."""
    data = origin.config.data
    name = origin.recipe if origin.recipe != "default" else data.name or _name_of(data.path)
    parts = (name, "+".join(origin.remedies) if remedies else "", str(origin.config.train.seed))
    return Path("runs") / "-".join(part for part in parts if part)


def _name_of(path: str) -> str:
    """Return the name of a file without its suffix; of a pattern, that of the folder."""
    name = Path(path).parent.name if has_magic(path) else Path(path).name.split(".")[0]
    return "default" if not name or has_magic(name) else name


def with_absolute_paths(config: Config) -> Config:
    """Return the configuration with its data paths made absolute, so that the run can be used from any folder."""
    paths = {name: getattr(config.data, name) for name in ("path", "valid", "test")}
    absolute: dict[str, Any] = {name: str(Path(path).resolve()) for name, path in paths.items() if path}
    absolute["vocab_from"] = config.data.vocab_from and str(run_path(config.data.vocab_from).resolve())
    init_from = config.train.init_from and str(run_path(config.train.init_from).resolve())
    return replace(config, data=replace(config.data, **absolute), train=replace(config.train, init_from=init_from))


def _same_settings(folder: RunFolder, asked: Origin) -> Config:
    """Return the settings of the run in the folder, if those asked for are the same.

    What is left open takes what was chosen. More epochs, or more minutes than before, lengthen the training.
    """
    config_then, config = folder.origin().config, asked.config
    for section, name, left_open in OPEN:
        if getattr(getattr(config, section), name, None) == left_open and hasattr(getattr(config_then, section), name):
            chosen = {name: getattr(getattr(config_then, section), name)}
            config = replace(config, **{section: replace(getattr(config, section), **chosen)})
    before, now = config_then.train, config.train
    if now.minutes > before.minutes and not asked.config.train.epochs:
        now = replace(now, epochs=max(now.epochs, min(MOST_EPOCHS, _fitting(folder, now.minutes))))
    epochs, minutes = max(before.epochs, now.epochs), max(before.minutes, now.minutes)
    config_then, config = (
        replace(config_then, train=replace(before, epochs=epochs, minutes=minutes)),
        replace(config, train=now),
    )
    if differ := differences(replace(config_then, monitor=config.monitor), config):
        said = "; ".join(f"{key} was {before!r}, now {now!r}" for key, (before, now) in differ.items())
        raise UserError(f"{folder.path}: --resume needs the settings of the run, or a longer training: {said}")
    if now.epochs > before.epochs:
        say(f"going on to {now.epochs} epochs, from {before.epochs}; the schedules are stretched over them")
    return config


def _fitting(folder: RunFolder, minutes: float) -> int:
    """Return how many epochs of a run fit into so many minutes, by those that are done."""
    log = folder.log()
    seconds = sum(entry["seconds"] for entry in log) / len(log) if log else math.inf
    return int(60 * minutes / seconds) if seconds else 0
