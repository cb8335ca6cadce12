"""The run folder: everything about one training, in files that can be moved, read and mailed.

    config.yaml         the complete settings        corpus.json    what each split held, with fingerprints
    vocab.json          tokens and label names       metrics.jsonl  one line an epoch
    model.safetensors   the best on validation       metrics.json   the evaluation of each split
    prior.safetensors   a mixture fitted to the codes, where asked for
    monitor.jsonl       looks at a sample during training
    reconstructions.jsonl   sentences beside their reconstructions, where these were evaluated
    posterior-mean-space.jsonl   records of a scalar latent, where asked for
    kept/               weights of epochs that reached train.keep
    state/last.pt       the last state, for an exact resume

A run is there with all that is known before training, or not at all: config.yaml comes last.
Every file is written whole or not at all, or appended to
by whole lines; every reader checks what it reads. Nothing in a folder is executed.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
import yaml
from torch import Tensor

from uncollapse.data.labels import LabelSpace
from uncollapse.data.splits import PARTS, Splits, fingerprint
from uncollapse.data.vocabulary import PIXELS, SPECIALS, Level, Vocabulary
from uncollapse.distributions.priors import Mixture
from uncollapse.errors import UserError
from uncollapse.files import expect, parse_json, read_lines, read_text, read_yaml, write_atomically, write_json
from uncollapse.runs.config import Config
from uncollapse.runs.lock import lock
from uncollapse.runs.mean_space import MeanSpaceRecords, read_first_version, read_records
from uncollapse.runs.migration import VERSION, migrated
from uncollapse.runs.shipped import refuse_shipped
from uncollapse.training.callbacks.files import KEPT
from uncollapse.training.states import PRIOR, STATE, WEIGHTS, load_weights, save_weights

OWN = ("config.yaml", "vocab.json", "corpus.json", "metrics.json", "metrics.jsonl", "monitor.jsonl", "reconstructions.jsonl",
       "model.safetensors", "prior.safetensors", "posterior-mean-space.npz", "posterior-mean-space.jsonl",
       "report.html")  # fmt: skip
"""The files of a run; besides them it has the folders `state`, `cache`, `kept` and `tensorboard`. Anything else is the user's."""
LONGEST = 1_000_000
"""Tokens of a sentence above which a corpus.json is not believed."""


@dataclass(frozen=True)
class Origin:
    """What a run was made from: the recipe's name, the remedies' names and all settings."""

    recipe: str
    remedies: tuple[str, ...]
    config: Config


NUMBER = (int, float)
MEASURED = ("sentences", "tokens", "distortion", "rate", "nll_elbo", "mi", "mi_se", "mi_cap", "au", "latent")
"""Numbers of every evaluation."""
BOUND = ("nll_iw", "nll_iw_se", "iw_gap", "iw_gap_se", "iw_samples", "ppl_iw")
"""Those of an importance-weighted bound."""
PERHAPS = ("nll_elbo_se", "ppl_elbo", "z_use", "z_use_se", "accuracy", "distinct", "epochs", "seconds")
"""Those that some evaluations have."""


@dataclass(frozen=True)
class RunFolder:
    """The files of one run.

    Attributes:
        path: the folder.
        epoch: whose weights are meant, of those that `train.keep` has kept; 0: the best.
    """

    path: Path
    epoch: int = 0

    @property
    def config_file(self) -> Path:
        """Return the path of config.yaml."""
        return self.path / "config.yaml"

    @property
    def model_file(self) -> Path:
        """Return the path of the weights: model.safetensors, or those kept of an epoch.

        Raises:
            UserError: none were kept of that epoch.
        """
        if not self.epoch:
            return self.path / WEIGHTS
        files = sorted((self.path / KEPT).glob("[0-9]*-*.safetensors"))
        kept = {int(match[1]): file for file in files if (match := re.match(r"(\d{1,9})-", file.name))}
        if self.epoch not in kept:
            there = ", ".join(map(str, kept)) or "none; train with --train.keep"
            raise UserError(f"{self.path}: no weights were kept of epoch {self.epoch}; kept: {there}")
        return kept[self.epoch]

    @property
    def prior_file(self) -> Path:
        """Return the path of prior.safetensors."""
        return self.path / PRIOR

    @property
    def mean_space_file(self) -> Path:
        """Return the path of the records of the posterior-mean space."""
        return self.path / "posterior-mean-space.jsonl"

    @property
    def state_file(self) -> Path:
        """Return the path of the last state."""
        return self.path / STATE

    @property
    def cache(self) -> Path:
        """Return the folder of what can be made anew: the token ids of a corpus too large to be held."""
        return self.path / "cache"

    @property
    def log_file(self) -> Path:
        """Return the path of metrics.jsonl."""
        return self.path / "metrics.jsonl"

    @property
    def monitor_file(self) -> Path:
        """Return the path of the monitor's looks."""
        return self.path / "monitor.jsonl"

    # -- beginning ----------------------------------------------------------------------------------------------

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for one training; a second one is refused (where the system has file locks).

        The folder is made where there is none, and removed if nothing has come into it. Half-written files of killed
        trainings are removed.
        """
        with lock(self.path):
            self._remove_unfinished()
            yield

    def _remove_unfinished(self) -> None:
        shutil.rmtree(self.path / ".beginning", ignore_errors=True)
        names = r"config|vocab|corpus|metrics|monitor|model|prior|posterior|last"
        for folder in (self.path, self.state_file.parent, self.cache, self.path / KEPT):
            for file in folder.glob(".*"):
                if re.fullmatch(rf"\.({names if folder == self.path else ''})\S*\.\d+(\.part)?", file.name):
                    file.unlink()

    @contextmanager
    def beginning(self) -> Iterator["RunFolder"]:
        """Prepare a run inside of this folder; `take_over` puts it in its place, and it is removed if that never comes."""
        prepared = RunFolder(self.path / ".beginning")
        try:
            yield prepared
        finally:
            shutil.rmtree(prepared.path, ignore_errors=True)

    def take_over(self, prepared: "RunFolder") -> None:
        """Put a prepared run in the place of the one that was here; what is not of a run stays.

        Only names change, so that no disk is too full for it. config.yaml goes first and comes last: without it there is no run,
        and one may be begun.
        """
        for name in OWN:
            (self.path / name).unlink(missing_ok=True)
        for made in (self.state_file.parent, self.path / KEPT, self.path / "tensorboard"):
            shutil.rmtree(made, ignore_errors=True)
        for name in ("state", "vocab.json", "corpus.json", "model.safetensors", "config.yaml"):
            if (prepared.path / name).exists():
                (prepared.path / name).rename(self.path / name)
        for file in prepared.cache.glob("*"):
            self.cache.mkdir(exist_ok=True)
            file.rename(self.cache / file.name)

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
        fields = origin.config.model.condition
        write_json(self.path / "corpus.json", {part: _describe(splits, part, fields) for part in PARTS})

    def write_origin(self, origin: Origin) -> None:
        """Write config.yaml."""
        content = {
            "version": VERSION,
            "recipe": origin.recipe,
            "remedies": list(origin.remedies),
            "settings": origin.config.settings(),
        }
        write_atomically(self.config_file, yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode())

    # -- reading ------------------------------------------------------------------------------------------------

    def origin(self) -> Origin:
        """Read config.yaml.

        Raises:
            UserError: no run here, a later version, or settings that this version does not have.
        """
        try:
            there = self.path.is_dir()
        except (OSError, ValueError):  # a name that no file can have
            there = False
        if not there:
            raise UserError(f"{self.path}: no such run folder")
        if not self.config_file.exists():
            raise UserError(f"{self.path}: expected a run folder, but it holds no config.yaml")
        content = read_yaml(self.config_file)
        version = content.get("version")
        if type(version) is not int or not 1 <= version <= VERSION:
            raise UserError(
                f"{self.config_file}: expected a version from 1 to {VERSION}, got {version!r}; "
                "use the version of uncollapse that wrote it, or train again"
            )
        form = {"recipe": str, "remedies": [str], "settings": {str: {str: object}}}
        expect(content, form, str(self.config_file))
        settings = migrated(content["settings"], version)
        return Origin(content["recipe"], tuple(content["remedies"]), Config.from_settings(settings))

    def vocabulary(self) -> Vocabulary:
        """Read the vocabulary."""
        where = str(self.path / "vocab.json")
        content = expect(self._read_json("vocab.json"), {"tokens": [str], "level": str, "lowercase": bool}, where)
        tokens, level = tuple(content["tokens"]), content["level"]
        subwords = expect(content.get("subwords", ""), str, where)
        if tokens[: len(SPECIALS)] != SPECIALS or len(set(tokens)) < len(tokens):
            raise UserError(
                f"{where}: expected different tokens that begin with {' '.join(SPECIALS)}; restore the file"
            )
        if level not in get_args(Level) or (level == "pixel") != (tokens == PIXELS.tokens):
            raise UserError(f"{where}: expected tokens of level {', '.join(get_args(Level))}, got {level!r}")
        vocabulary = Vocabulary(tokens, level, content["lowercase"], subwords)
        if level == "bpe" and not vocabulary.readable:
            raise UserError(f"{where}: expected the subwords of its tokens, got something else; restore the file")
        return vocabulary

    def label_space(self) -> LabelSpace:
        """Read the labels of the data."""
        names = expect(self._read_json("vocab.json"), {"labels": {str: [str]}}, str(self.path / "vocab.json"))["labels"]
        return LabelSpace({field: tuple(classes) for field, classes in names.items()})

    def corpus(self) -> dict[str, Any]:
        """Read what the splits held at training time."""
        where = str(self.path / "corpus.json")
        split = {"longest": int, "fingerprint": str, "labels": {str: {str: int}}}
        content = expect(self._read_json("corpus.json"), dict.fromkeys(PARTS, split), where)
        if not 1 <= (longest := content["train"]["longest"]) <= LONGEST:
            raise UserError(f"{where}: expected a longest sentence of 1 to {LONGEST:,} tokens, got {longest}")
        for label, names in self.label_space().names.items():
            counts = content["train"]["labels"].get(label, {})
            if not all(counts.get(name, -1) >= 0 for name in names) or not 0 < sum(counts.values()) < 2**53:
                raise UserError(
                    f"{where}: expected how often each label of {label} occurs; restore the file or train again"
                )
        return content

    def changed(self, splits: Splits) -> list[str]:
        """Return the names of the splits that are not those of the run's training."""
        fields = self.origin().config.model.condition
        return [
            part for part, entry in self.corpus().items() if fingerprint(splits[part], fields) != entry["fingerprint"]
        ]

    def metrics(self) -> dict[str, Any]:
        """Read the evaluations so far, by split; empty if there are none."""
        if not (self.path / "metrics.json").exists():
            return {}
        where = str(self.path / "metrics.json")
        content = expect(self._read_json("metrics.json"), {str: dict.fromkeys(MEASURED, NUMBER)}, where)
        for split, metrics in content.items():
            here = f"{where}, {split}"
            expect(metrics.get("protocol", {}), dict, f"{here}, protocol")
            bound = {name: NUMBER for name in BOUND if "nll_iw" in metrics}
            expect(metrics, bound | {name: NUMBER for name in PERHAPS if name in metrics}, here)
        return content

    def write_metrics(self, split: str, metrics: Mapping[str, Any]) -> None:
        """Write the evaluation of one split, those of the others kept."""
        refuse_shipped(self.path)
        write_json(self.path / "metrics.json", {**self.metrics(), split: dict(metrics)})

    def write_reconstructions(self, split: str, pairs: Sequence[Mapping[str, str]]) -> None:
        """Write sentences beside their reconstructions, one JSON object a line, in place of those of an earlier evaluation."""
        lines = (json.dumps({"split": split, **pair}, ensure_ascii=False) + "\n" for pair in pairs)
        write_atomically(self.path / "reconstructions.jsonl", "".join(lines).encode())

    def log(self) -> list[dict[str, Any]]:
        """Read the log: one entry an epoch."""
        train, valid = ("loss", "distortion", "rate", "nll_elbo"), ("distortion", "rate", "nll_elbo")
        form = {"epoch": int, "step": int, "seconds": NUMBER, "advice": str}
        form |= {
            "train": {str: NUMBER} | dict.fromkeys(train, NUMBER),
            "valid": {str: NUMBER} | dict.fromkeys(valid, NUMBER),
        }
        return [expect(entry, form, str(self.log_file)) for entry in read_lines(self.log_file)]

    def looks(self) -> list[dict[str, Any]]:
        """Read the monitor's looks; none where it was off."""
        form = {"step": int, "epoch": int, "state": str, "evidence": str, "rates": [NUMBER]}
        form |= dict.fromkeys(("distortion", "rate", "mi", "mi_se", "au", "latent", "z_use", "z_use_se"), NUMBER)
        return [expect(entry, form, str(self.monitor_file)) for entry in read_lines(self.monitor_file)]

    def _read_json(self, name: str) -> Any:
        if not (self.path / name).exists():
            raise UserError(
                f"{self.path}: incomplete run folder, {name} is missing; copy the whole folder or train again"
            )
        return parse_json(read_text(self.path / name), str(self.path / name))

    # -- weights ------------------------------------------------------------------------------------------------

    def fingerprint(self) -> str:
        """Return a short hash of the best weights, to notice that a run has been trained further."""
        return hashlib.sha256(self.model_file.read_bytes()).hexdigest()[:16]

    def load_weights(self) -> dict[str, Tensor]:
        """Read the best weights.

        Raises:
            UserError: none yet, a truncated file, or weights that are not finite.
        """
        if not self.model_file.exists():
            resumable = self.state_file.exists()
            hint = "training has not reached its first validation; go on with --resume" if resumable else "train again"
            raise UserError(f"{self.path}: incomplete run folder, model.safetensors is missing; {hint}")
        return load_weights(self.model_file)

    def save_prior(self, prior: Mixture) -> None:
        """Write the mixture that was fitted to the codes of the training split."""
        save_weights(self.prior_file, prior.state_dict())

    def load_prior(self, latent: int) -> Mixture:
        """Read the fitted mixture.

        Raises:
            UserError: there is none, a truncated file, or the mixture of another space.
        """
        if self.epoch:
            raise UserError(f"{self.path}: the fitted prior is of the best weights, not of those of epoch {self.epoch}")
        if not self.prior_file.exists():
            raise UserError(f"{self.path}: no fitted prior; train with --train.fit_prior 1 (or up to 16)")
        weights = load_weights(self.prior_file)
        count = weights["weights"].numel() if "weights" in weights else 0
        shapes = {"weights": (count,), "means": (count, latent), "factors": (count, latent, latent)}
        form = {name: tuple(value.shape) for name, value in weights.items() if value.dtype == torch.float32}
        if not count or form != shapes or not bool((weights["weights"] > 0).all()):
            raise UserError(f"{self.prior_file}: expected a mixture of codes of {latent} dimensions; train again")
        return Mixture(**weights)

    def mean_space(self) -> MeanSpaceRecords:
        """Read the records of the posterior-mean space; empty if there are none.

        Raises:
            UserError: a damaged file.
        """
        old = self.path / "posterior-mean-space.npz"
        return read_first_version(old) if old.exists() else read_records(self.mean_space_file)


def _describe(splits: Splits, part: str, fields: Sequence[str]) -> dict[str, Any]:
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
        "fingerprint": fingerprint(corpus, fields),
    }
