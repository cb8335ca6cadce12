"""Old models, to be used and measured here: checkpoints of other repositories become run folders."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uncollapse.data.parts import find_parts
from uncollapse.data.reading import read_texts
from uncollapse.data.vocabulary import SPECIALS, Vocabulary
from uncollapse.errors import UserError, suggest
from uncollapse.runs.builders.data import build_splits
from uncollapse.runs.builders.model import build_model
from uncollapse.runs.config import Config
from uncollapse.runs.folder import Origin, RunFolder
from uncollapse.runs.launch import with_absolute_paths
from uncollapse.runs.run import Run
from uncollapse.training.states import save_weights

PARTS = {
    "encoder.embed.": "encoder.embedding.",
    "encoder.lstm.": "encoder.cell.",
    "encoder.linear.": "encoder.posterior.",
    "decoder.embed.": "decoder.embedding.",
    "decoder.trans_linear.": "decoder.first_state.",
    "decoder.lstm.": "decoder.cell.",
    "decoder.pred_linear.": "decoder.output.",
}
"""Names of weights in vae-lagging-encoder (its LSTM text model) -> names here; the equations are the same."""

IGNORED = ("decoder.loss.weight",)
"""What a state holds besides: the weights of a loss, all 1."""

KINDS = {
    "lagging": "jxhe/vae-lagging-encoder, text model (He et al. 2019)",
    "pretraining": "bohanli/vae-pretraining-encoder (Li et al. 2019), which kept these names",
}


def import_run(
    kind: str,
    state: Path,
    vocab_from: Path,
    *,
    out: Path,
    data: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Run:
    """Make a run folder of a checkpoint of another repository.

    Args:
        kind: `lagging` or `pretraining`.
        state: its state, as `torch.save(model.state_dict(), …)` wrote it. It is read with `weights_only=True`.
        vocab_from: the text that its vocabulary was built from, its training file: words are numbered as they first appear.
        out: the run folder.
        data: data settings of the run; by default `vocab_from`, or its folder where it has test files too.
        overwrite: whether a run in `out` is replaced.

    Returns:
        the run, ready to be evaluated and used.

    Raises:
        UserError: an unknown kind, a state of another model, a text of another vocabulary, or a run that is in the way.
    """
    if kind not in KINDS:
        raise UserError(f"unknown kind {kind!r}: {suggest(kind, KINDS)}")
    weights = rename(read_state(state), state)
    given = dict(data or {})
    vocabulary = Vocabulary((*SPECIALS, *first_seen(vocab_from, given.get("format", "auto"))))
    if (words := len(weights["decoder.embedding.weight"])) != len(vocabulary):
        raise UserError(
            f"{vocab_from}: expected the text of {words:,} different words (four special ones counted) that {state.name} was "
            f"trained on, got {len(vocabulary):,}"
        )
    settings: dict[str, Any] = {
        "data": {"path": str(_data_path(vocab_from)), "max_vocab": len(vocabulary), **given},
        **sizes(weights),
    }
    config = with_absolute_paths(Config.from_settings(settings))
    model = build_model(config, len(vocabulary))
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        detail = " ".join(str(error).split())
        raise UserError(f"{state}: does not fit an LSTM text model of one layer ({detail})") from None
    folder = RunFolder(out)
    with folder.lock(), folder.beginning() as prepared:
        if folder.config_file.exists() and not overwrite:
            raise UserError(f"{out}: a run is already there; add --overwrite to replace it, or choose another --out")
        prepared.begin(Origin(f"imported from {kind}", (), config), build_splits(config.data, vocabulary))
        save_weights(prepared.model_file, model.state_dict())
        folder.take_over(prepared)
    return Run(out)


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dictionary of tensors, and nothing else that a pickle may hold.

    Raises:
        UserError: no file, or one that holds anything but tensors by name.
    """
    if not path.is_file():
        raise UserError(f"{path}: expected a checkpoint, found no such file")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can make a pickle raise anything
        raise UserError(
            f"{path}: expected a state dictionary of tensors, as torch.save(model.state_dict(), …) writes it; it cannot be "
            f"read as one ({type(error).__name__})"
        ) from None
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) and value.ndim and _held(value)
        for name, value in state.items()
    ):
        inside = f" of {', '.join(map(str, list(state)[:5]))}" if isinstance(state, dict) else ""
        raise UserError(f"{path}: expected a state dictionary of tensors by name, got {type(state).__name__}{inside}")
    return dict(state)


def _held(value: Tensor) -> bool:
    """Return whether every element of a tensor stands in the file: an expanded one may claim terabytes."""
    if value.layout != torch.strided:
        return False
    return value.untyped_storage().nbytes() >= value.numel() * value.element_size()


def rename(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the weights under our names.

    Raises:
        UserError: a weight that the model does not have, or one that is missing.
    """
    renamed = {}
    for name, value in state.items():
        if name in IGNORED:
            continue
        prefix = next((prefix for prefix in PARTS if name.startswith(prefix)), None)
        if prefix is None:
            raise UserError(f"{path}: unknown weight {name!r}; expected the LSTM text model of {', '.join(KINDS)}")
        renamed[PARTS[prefix] + name.removeprefix(prefix)] = value.float()
    missing = [ours for ours in PARTS.values() if not any(name.startswith(ours) for name in renamed)]
    if missing:
        theirs = next(name for name, ours in PARTS.items() if ours == missing[0])
        raise UserError(f"{path}: expected weights {theirs}*, found none; is it the LSTM text model?")
    return renamed


def sizes(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the settings of model, encoder and decoder, by the shapes of the weights.

    Raises:
        UserError: weights that are no matrices.
    """
    names = ("decoder.first_state", "decoder.embedding", "decoder.output", "encoder.embedding", "encoder.posterior")
    if wrong := [name for name in names if getattr(weights.get(f"{name}.weight"), "ndim", 0) != 2]:
        raise UserError(f"expected a matrix as the weight of {wrong[0]}, got none; is it the LSTM text model?")
    latent, *decoder, encoder_emb, encoder_hidden = (weights[f"{name}.weight"].shape[1] for name in names)
    return {
        "model": {"latent": latent},
        "encoder": {"emb": encoder_emb, "hidden": encoder_hidden},
        "decoder": dict(zip(("emb", "hidden"), decoder, strict=True)),
    }


def first_seen(path: Path, format: str = "auto") -> Iterable[str]:
    """Return the words of a text in the order in which they first appear, the special ones left out.

    Args:
        path: the text.
        format: as in `data.reading.read_texts`; labels are no words.

    Raises:
        UserError: no file, or one that is not of the format.
    """
    words = dict.fromkeys(word for text in read_texts(path, format)[0].texts for word in text.split())
    return [word for word in words if word not in SPECIALS]


def _data_path(vocab_from: Path) -> Path:
    """Return the folder of a training text where it has a test text too, else the text."""
    try:
        parts = find_parts(vocab_from.parent)
    except UserError:  # a folder of other things
        return vocab_from
    is_split = parts["train"].resolve() == vocab_from.resolve() and "test" in parts
    return vocab_from.parent if is_split else vocab_from
