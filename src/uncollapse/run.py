"""The run folder: everything about one training, in files that can be moved, read and mailed.

    config.yaml         the complete settings        corpus.json    what each split held, with fingerprints
    vocab.json          tokens and label names       metrics.jsonl  one line an epoch
    model.safetensors   the best on validation       metrics.json   the evaluation of each split
    prior.safetensors   a mixture fitted to the codes, where asked for
    posterior-mean-space.npz   records of a scalar latent, where asked for
    state/last.pt       the last state, for an exact resume

Every write goes to a temporary file first and is then renamed, so that a file is either old or new, never half.
"""

import hashlib
import io
import json
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import yaml
from safetensors import SafetensorError
from torch import Tensor

from uncollapse.config import Config, Settings, read_yaml
from uncollapse.data.labels import LabelSpace
from uncollapse.data.splits import Splits, fingerprint
from uncollapse.data.vocabulary import Vocabulary
from uncollapse.errors import UserError
from uncollapse.latent import Mixture

VERSION = 1


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, indented."""
    write_atomically(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


@dataclass(frozen=True)
class Origin:
    """What a run was made from: the recipe's name, the remedies' names and all settings."""

    recipe: str
    remedies: tuple[str, ...]
    config: Config


@dataclass(frozen=True)
class MeanSpace:
    """Records of the posterior-mean space over training.

    Attributes:
        steps: when, `[R]`.
        model: mean of p(z given x) of each sentence, `[R, N]`.
        inference: mean of q(z given x), `[R, N]`.
    """

    steps: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    model: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    inference: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))

    def until(self, step: int) -> "MeanSpace":
        """Return the records up to a step: an interrupted run may have recorded more than it saved."""
        kept = self.steps <= step
        return MeanSpace(self.steps[kept], self.model[kept], self.inference[kept])

    def beside(self, step: int, model: np.ndarray, inference: np.ndarray) -> "MeanSpace":
        """Return the records and one more."""
        if not len(self.steps):
            return MeanSpace(np.array([step]), model[None], inference[None])
        models, inferences = np.vstack([self.model, model]), np.vstack([self.inference, inference])
        return MeanSpace(np.append(self.steps, step), models, inferences)


@dataclass(frozen=True)
class RunFolder:
    """The files of one run."""

    path: Path

    @property
    def config_file(self) -> Path:
        """Return the path of config.yaml."""
        return self.path / "config.yaml"

    @property
    def model_file(self) -> Path:
        """Return the path of model.safetensors."""
        return self.path / "model.safetensors"

    @property
    def prior_file(self) -> Path:
        """Return the path of prior.safetensors."""
        return self.path / "prior.safetensors"

    @property
    def mean_space_file(self) -> Path:
        """Return the path of the records of the posterior-mean space."""
        return self.path / "posterior-mean-space.npz"

    @property
    def state_file(self) -> Path:
        """Return the path of the last state."""
        return self.path / "state" / "last.pt"

    @property
    def cache(self) -> Path:
        """Return the folder of what can be made anew: the token ids of a corpus too large to be held."""
        return self.path / "cache"

    @property
    def log_file(self) -> Path:
        """Return the path of metrics.jsonl."""
        return self.path / "metrics.jsonl"

    # -- beginning ----------------------------------------------------------------------------------------------

    def begin(self, origin: Origin, splits: Splits) -> None:
        """Write what is known before training: settings, vocabulary and what the splits hold."""
        self.write_origin(origin)
        vocabulary = splits.vocabulary
        content = {
            "level": vocabulary.level,
            "lowercase": vocabulary.lowercase,
            "tokens": list(vocabulary.tokens),
            "subwords": vocabulary.subwords,
            "labels": {name: list(classes) for name, classes in splits.train.label_names.items()},
        }
        write_json(self.path / "vocab.json", content)
        told = origin.config.model.told
        write_json(
            self.path / "corpus.json", {part: _describe(splits, part, told) for part in ("train", "valid", "test")}
        )

    def write_origin(self, origin: Origin) -> None:
        """Write config.yaml."""
        content = {
            "version": VERSION,
            "recipe": origin.recipe,
            "remedies": list(origin.remedies),
            "settings": origin.config.settings(),
        }
        write_atomically(self.config_file, yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode())

    def clear(self) -> None:
        """Remove the run's own files; anything else in the folder stays."""
        for name in (
            "config.yaml",
            "vocab.json",
            "corpus.json",
            "metrics.json",
            "metrics.jsonl",
            "model.safetensors",
            "prior.safetensors",
            "posterior-mean-space.npz",
        ):
            (self.path / name).unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            shutil.rmtree(self.path / "state")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for one training; a second one is refused (where the system has file locks)."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("w") as file:
            try:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except ImportError:
                pass
            except OSError:
                raise UserError(
                    f"{self.path}: another process is training in this folder; wait for it, or use another --out"
                ) from None
            yield

    # -- reading ------------------------------------------------------------------------------------------------

    def origin(self) -> Origin:
        """Read config.yaml.

        Raises:
            UserError: no run here, another version, or settings that this version does not have.
        """
        if not self.path.is_dir():
            raise UserError(f"{self.path}: no such run folder")
        if not self.config_file.exists():
            raise UserError(f"{self.path}: expected a run folder, but it holds no config.yaml")
        content = read_yaml(self.config_file)
        if content.get("version") != VERSION:
            raise UserError(
                f"{self.config_file}: expected version {VERSION}, got {content.get('version')!r}; "
                "use the version of uncollapse that wrote it, or train again"
            )
        settings: Settings = content.get("settings", {})
        return Origin(content.get("recipe", ""), tuple(content.get("remedies", ())), Config.from_settings(settings))

    def vocabulary(self) -> Vocabulary:
        """Read the vocabulary."""
        content = self._read_json("vocab.json")
        return Vocabulary(tuple(content["tokens"]), content["level"], content["lowercase"], content.get("subwords", ""))

    def label_space(self) -> LabelSpace:
        """Read the labels of the data."""
        names = self._read_json("vocab.json")["labels"]
        return LabelSpace({field: tuple(classes) for field, classes in names.items()})

    def corpus(self) -> dict[str, Any]:
        """Read what the splits held at training time."""
        return self._read_json("corpus.json")

    def metrics(self) -> dict[str, Any]:
        """Read the evaluations so far, by split; empty if there are none."""
        return self._read_json("metrics.json") if (self.path / "metrics.json").exists() else {}

    def write_metrics(self, split: str, metrics: Mapping[str, Any]) -> None:
        """Write the evaluation of one split beside those of the others."""
        write_json(self.path / "metrics.json", {**self.metrics(), split: dict(metrics)})

    def log(self) -> list[dict[str, Any]]:
        """Read the log: one entry an epoch."""
        if not self.log_file.exists():
            return []
        return [json.loads(line) for line in self.log_file.read_text(encoding="utf-8").splitlines()]

    def write_log(self, entries: list[dict[str, Any]]) -> None:
        """Write the whole log."""
        write_atomically(self.log_file, "".join(json.dumps(entry) + "\n" for entry in entries).encode())

    def _read_json(self, name: str) -> Any:
        path = self.path / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(
                f"{self.path}: incomplete run folder, {name} is missing; copy the whole folder or train again"
            ) from None
        except json.JSONDecodeError as error:
            raise UserError(f"{path}: broken JSON (line {error.lineno}); restore the file or train again") from None

    # -- weights ------------------------------------------------------------------------------------------------

    def save_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Write the best weights."""
        write_atomically(
            self.model_file,
            safetensors.torch.save({k: v.detach().cpu().contiguous() for k, v in weights.items()}),
        )

    def fingerprint(self) -> str:
        """Return a short hash of the best weights, to notice that a run has been trained further."""
        return hashlib.sha256(self.model_file.read_bytes()).hexdigest()[:16]

    def load_weights(self) -> dict[str, Tensor]:
        """Read the best weights.

        Raises:
            UserError: none yet, or a truncated file.
        """
        try:
            return safetensors.torch.load_file(self.model_file)
        except FileNotFoundError:
            hint = (
                "training has not reached its first validation; go on with --resume"
                if self.state_file.exists()
                else "train again"
            )
            raise UserError(f"{self.path}: incomplete run folder, model.safetensors is missing; {hint}") from None
        except SafetensorError as error:
            raise UserError(
                f"{self.model_file}: truncated or damaged ({error}); restore the file or train again"
            ) from None

    def save_prior(self, prior: Mixture) -> None:
        """Write the mixture that was fitted to the codes of the training split."""
        weights = {name: value.detach().cpu().contiguous() for name, value in prior.state_dict().items()}
        write_atomically(self.prior_file, safetensors.torch.save(weights))

    def load_prior(self) -> Mixture:
        """Read the fitted mixture.

        Raises:
            UserError: there is none, or a truncated file.
        """
        try:
            return Mixture(**safetensors.torch.load_file(self.prior_file))
        except FileNotFoundError:
            raise UserError(f"{self.path}: no fitted prior; train with --train.fit_prior 1 (or up to 16)") from None
        except SafetensorError as error:
            raise UserError(f"{self.prior_file}: truncated or damaged ({error}); train again") from None

    def mean_space(self) -> MeanSpace:
        """Read the records of the posterior-mean space; empty if there are none.

        Raises:
            UserError: a damaged file.
        """
        if not self.mean_space_file.exists():
            return MeanSpace()
        try:
            with np.load(self.mean_space_file) as found:
                return MeanSpace(found["steps"], found["model"], found["inference"])
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            raise UserError(f"{self.mean_space_file}: truncated or damaged; train again to record") from None

    def write_mean_space(self, records: MeanSpace) -> None:
        """Write the records of the posterior-mean space."""
        content = io.BytesIO()
        np.savez_compressed(content, **vars(records))
        write_atomically(self.mean_space_file, content.getvalue())

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Write the last state of training."""
        self.state_file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.state_file.with_name(f".last.{os.getpid()}")
        with temporary.open("wb") as file:
            torch.save(dict(state), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.state_file)

    def load_state(self) -> dict[str, Any]:
        """Read the last state of training (tensors and plain values only: no pickled code runs)."""
        try:
            return torch.load(self.state_file, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            raise UserError(
                f"{self.path}: nothing to resume, state/last.pt is missing; start anew with --overwrite"
            ) from None
        except Exception as error:
            raise UserError(
                f"{self.state_file}: damaged ({type(error).__name__}); start anew with --overwrite"
            ) from None


def _describe(splits: Splits, part: str, told: Sequence[str]) -> dict[str, Any]:
    corpus = splits[part]
    return {
        "sentences": len(corpus),
        "tokens": corpus.predicted,
        "longest": int(corpus.lengths.max()) - 1,
        "unknown": corpus.unknown,
        "left_out": corpus.left_out,
        "labels": {
            field: dict(zip(names, np.bincount(corpus.labels[field], minlength=len(names)).tolist(), strict=True))
            for field, names in corpus.label_names.items()
        },
        "fingerprint": fingerprint(corpus, told),
    }
