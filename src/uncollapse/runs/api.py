"""The two ways to a run from Python: train one, or load one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from uncollapse.runs.config import merge
from uncollapse.runs.launch import launch
from uncollapse.runs.run import Run
from uncollapse.training.callbacks import Callback, Progress


def load(path: str | Path, device: str = "auto", *, epoch: int = 0, **modules: nn.Module) -> Run:
    """Load a run from its folder; neither the corpus nor the network is needed.

    Args:
        path: the folder, or `model:NAME` for a run that comes with the package (`uncollapse models`).
        device: where the model will be.
        epoch: whose weights, of those that `train.keep` has kept; by default the best.
        modules: `encoder` and `decoder` of a run that was trained with networks of one's own.

    Raises:
        UserError: no run there, an incomplete or damaged one, or one of another version.
    """
    return Run(path, device, modules=modules, epoch=epoch)


def train(
    recipe: str = "default",
    remedy: str | Sequence[str] = (),
    seed: int | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    callbacks: Sequence[Callback] | None = None,
    **settings: Mapping[str, Any] | nn.Module,
) -> Run:
    """Train a model and return the run.

    Args:
        recipe: a name of `uncollapse recipes`, or a YAML file.
        remedy: one or several names of `uncollapse remedies`, or YAML files.
        seed: short for `train={"seed": …}`.
        out: the run folder; by default `runs/RECIPE-REMEDIES-SEED`, with the name of the data for the recipe `default`.
        resume: go on with a run of the same settings, to more epochs or minutes if they are asked for.
        overwrite: begin anew where a run already is.
        callbacks: watch the training; by default `Progress`, a bar and a line for every epoch.
        settings: sections of settings, such as `data={"path": "my.txt"}, model={"latent": 16}`; for `encoder` and `decoder` also
            a module of one's own.

    Raises:
        UserError: anything wrong with the settings, the data or the folder.
        TrainingError: the loss stopped being finite.
        Interrupted: Ctrl-C; the state is saved, and `resume=True` goes on.
    """
    remedies = (remedy,) if isinstance(remedy, str) else tuple(remedy)
    modules = {name: part for name, part in settings.items() if isinstance(part, nn.Module)}
    given = {name: values for name, values in settings.items() if not isinstance(values, nn.Module)}
    seeded = {} if seed is None else {"train": {"seed": seed}}
    sections = merge(given, {name: {"kind": "own"} for name in modules}, seeded)
    how = {"resume": resume, "overwrite": overwrite}
    watching = [Progress()] if callbacks is None else callbacks
    folder, job = launch(recipe, remedies, sections, out=out, callbacks=watching, modules=modules, **how)
    return Run(folder.path, job.train.device, job, modules=modules)
