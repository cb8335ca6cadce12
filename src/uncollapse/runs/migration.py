"""The settings of older versions in the terms of this one."""

from collections.abc import Mapping
from typing import Any

from uncollapse.errors import UserError
from uncollapse.nn.kinds import KINDS

VERSION = 3
BOTH, ENCODER, DECODER = ("encoder", "decoder"), ("encoder",), ("decoder",)
MOVED = {
    "encoder": (ENCODER, "kind"),
    "decoder": (DECODER, "kind"),
    "emb": (BOTH, "emb"),
    "hidden": (BOTH, "hidden"),
    "channels": (BOTH, "channels"),
    "encoder_state": (ENCODER, "state_pooling"),
    "decode": (ENCODER, "pooling"),
    "bn": (ENCODER, "bn"),
    "kernels": (DECODER, "kernel_sizes"),
    "maps": (DECODER, "maps"),
    "context": (DECODER, "context"),
    "dropout_in": (DECODER, "dropout_in"),
    "dropout_out": (DECODER, "dropout_out"),
    "word_dropout": (DECODER, "word_dropout"),
    "skip": (DECODER, "skip"),
}
"""Settings of `model` in version 2: the sections that have them now, and their names there."""
RENAMED = {"where": "timesteps", "dream": "form_consistency"}
"""Settings of `objective` in version 2, and their names now."""


def migrated(settings: Mapping[str, Mapping[str, Any]], version: int) -> dict[str, dict[str, Any]]:
    """Return the settings of a version in the terms of this one."""
    current = {section: dict(values) for section, values in settings.items()}
    if version == 1:
        train = current.setdefault("train", {})
        train.pop("compile", None)
    return _from_version_2(current) if version < VERSION else current


def _from_version_2(settings: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    model, objective = settings.get("model", {}), settings.get("objective", {})
    networks: dict[str, dict[str, Any]] = {"encoder": {}, "decoder": {}}
    kinds = {}
    for section in networks:
        name = model.get(section, "lstm")
        if not isinstance(name, str) or name not in KINDS[section]:
            raise UserError(
                f"config.yaml, model.{section}: expected one of {', '.join(KINDS[section])}, got {str(name)[:40]!r}"
            )
        kinds[section] = KINDS[section][name]
    for old, (sections, new) in MOVED.items():
        for section in sections:
            if old in model and hasattr(kinds[section], new):
                networks[section][new] = model[old]
        model.pop(old, None)
    for old, new in RENAMED.items():
        if old in objective:
            objective[new] = objective.pop(old)
    rise, target = str(objective.pop("ramp", "0 steps")), objective.get("target", 0.0)
    if target and not rise.strip().startswith("0 "):
        if not isinstance(target, int | float):
            raise UserError(f"config.yaml, objective.target: expected a number, got {str(target)[:40]!r}")
        objective["target"] = f"linear(0, {target:g}, {rise})"
    if "plain" in (train := settings.get("train", {})):
        train["optimisations"] = not train.pop("plain")
    return {**settings, **networks}
