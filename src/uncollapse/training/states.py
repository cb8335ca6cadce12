"""Weights and states of training in files: written whole or not at all, and checked when they are read. No pickled code runs."""

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from uncollapse.errors import UserError
from uncollapse.files import expect, write_atomically

WEIGHTS, STATE, AUTOENCODER = "model.safetensors", "state/last.pt", "state/autoencoder.safetensors"
PRIOR = "prior.safetensors"
"""The files of the best weights, of the last state, of the best weights in pretraining, and of the mixture fitted to the codes of
the best weights, in the folder of a training."""


BUILT: tuple[Any, ...] = (Mapping, list, tuple, Tensor, bool, str, int | float, object)
"""What a state is built of."""


def save_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write weights as safetensors; of tied ones, which share their memory, each has its copy."""
    content = {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}
    write_atomically(path, safetensors.torch.save(content))


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read weights, in fp32 whatever they were written in.

    Raises:
        UserError: a damaged file, or weights that are not finite.
    """
    try:
        weights = safetensors.torch.load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: truncated or damaged ({error}); restore the file or train again") from None
    if wrong := [name for name, value in weights.items() if value.is_floating_point() and not value.isfinite().all()]:
        raise UserError(
            f"{path}: expected finite weights, got nan or infinity in {wrong[0]}; restore the file or train again"
        )
    return renamed({name: value.float() if value.is_floating_point() else value for name, value in weights.items()})


def renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights under the names of this version: the bag-of-words decoder was `words` before version 3."""
    return {re.sub(r"^words\.", "bow_decoder.", name): value for name, value in weights.items()}


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write the state of a training: tensors and plain values."""
    content = io.BytesIO()
    torch.save(dict(state), content)
    write_atomically(path, content.getvalue())


def load_state(path: Path) -> dict[str, Any]:
    """Read the state of a training, in the terms of this version.

    Raises:
        UserError: no file, or a damaged one.
    """
    if not path.exists():
        raise UserError(f"{path}: nothing to resume, there is no such file; start anew with --overwrite")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return migrated(expect(state, dict, "state"))
    except Exception as error:
        raise UserError(f"{path}: damaged ({type(error).__name__}); start anew with --overwrite") from None


def check_like(value: Any, own: Any, where: str = "state") -> None:
    """Raise TypeError where a value is not built as one's own: of names, lists, text, numbers and tensors.

    Names that are missing, or that one does not have, pass. What is empty in one's own holds numbers, and None says nothing.
    """
    if own is None or (isinstance(own, bool) and value is None):
        return
    kind = next(kind for kind in BUILT if isinstance(own, kind))
    if not isinstance(value, kind) or isinstance(value, bool) != isinstance(own, bool):
        raise TypeError(f"{where}: expected {type(own).__name__}, got {type(value).__name__}")
    if isinstance(own, Mapping):
        for name in value.keys() & own.keys() if own else value:
            check_like(value[name], own[name] if own else 0, f"{where}, {name}")
    elif isinstance(own, list | tuple):
        for item in value:
            check_like(item, own[0] if own else 0, where)


def migrated(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state in this version's form; older ones kept the sums of an epoch and the controller apart."""
    progress = state.get("progress")
    if isinstance(progress, dict) and "sums" in progress:
        sums = dict(progress["sums"])
        counts = {name: sums.pop(name) for name in ("sentences", "seconds")}
        rest = {name: value for name, value in progress.items() if name != "sums"}
        state = {**state, "progress": {**rest, **counts, "totals": sums}}
    if isinstance(state.get("model"), dict):
        state = {**state, "model": renamed(state["model"])}
    if "controller" in state and "objective" not in state:
        state = {**state, "objective": {"controllers": [state["controller"]]}}
    return state
