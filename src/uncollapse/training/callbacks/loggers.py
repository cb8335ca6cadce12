"""Loggers: a training in TensorBoard or in Weights & Biases, by their own writers."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from uncollapse.data.corpus import Corpus
from uncollapse.distributions.priors import Source
from uncollapse.errors import UserError
from uncollapse.evaluation.posterior import posteriors
from uncollapse.generation.decode import generate_ids
from uncollapse.generation.decoding import Decoding
from uncollapse.model import evaluation_mode
from uncollapse.training.callbacks.base import Callback

if TYPE_CHECKING:
    from uncollapse.training.callbacks.monitor import Look
    from uncollapse.training.fit import Trainer

SAMPLES = 8
"""Sentences from the prior after every epoch."""
MAPPED = 1000
"""Sentences whose codes are logged at the end."""


class Logger(Callback):
    """Passes numbers on after every epoch and every look, sentences from the prior, and at the end a map of codes.

    Args:
        corpus: validation sentences, for the map and for the labels of the sentences from the prior.
    """

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus

    @abstractmethod
    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Log numbers at a step."""

    @abstractmethod
    def sentences(self, name: str, texts: Sequence[str], step: int) -> None:
        """Log sentences at a step."""

    @abstractmethod
    def codes(self, codes: Tensor, texts: Sequence[str], step: int) -> None:
        """Log codes `[N, Z]`, each with its sentence."""

    @abstractmethod
    def close(self) -> None:
        """Write what is still held."""

    def on_look(self, trainer: "Trainer", look: "Look") -> None:
        """Log the numbers of a look."""
        self.scalars({f"monitor/{name}": value for name, value in numbers(look.record())}, look.step)

    def on_measure(self, trainer: "Trainer", entry: dict[str, Any]) -> None:
        """Log the numbers of an epoch, and sentences from the prior."""
        self.scalars(dict(numbers({name: value for name, value in entry.items() if name != "monitor"})), entry["step"])
        if self.corpus.vocabulary.of_text:
            self.sentences("samples", self._samples(trainer), entry["step"])

    def on_end(self, trainer: "Trainer") -> None:
        """Log the map of codes."""
        if trainer.model.latent and not trainer.failed and self.corpus.vocabulary.of_text:
            few = self.corpus.first(MAPPED)
            with evaluation_mode(trainer.model):
                codes = posteriors(trainer.model, few).mean.flatten(1)
            self.codes(codes, few.texts(), trainer.progress.step)
        self.close()

    def _samples(self, trainer: "Trainer") -> list[str]:
        model, vocabulary = trainer.model, self.corpus.vocabulary
        count = min(SAMPLES, len(self.corpus))
        labels = self.corpus.classes(np.arange(count))
        with evaluation_mode(model), torch.inference_mode():
            z = model.prior.sample(count, Source(0), labels)
            written = generate_ids(model, z, int(self.corpus.lengths.max()), labels=labels, decoding=Decoding("sample"))
        return [vocabulary.decode(ids) for ids in written]


def need(package: str) -> None:
    """Refuse a logger whose package is not installed.

    Raises:
        UserError: it is not.
    """
    if find_spec(package) is None:
        raise UserError(f"{package} is not installed; run: pip install 'uncollapse[{package}]'")


def numbers(entry: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield the numbers of a nested entry, names joined by slashes; lists and truth values are left out."""
    for name, value in entry.items():
        if isinstance(value, Mapping):
            yield from numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield prefix + name, float(value)


class TensorBoard(Logger):
    """Logs to TensorBoard: `tensorboard --logdir PATH`.

    Args:
        path: the folder of the event files.
        corpus: validation sentences.

    Raises:
        UserError: tensorboard is not installed.
    """

    def __init__(self, path: str | Path, corpus: Corpus) -> None:
        super().__init__(corpus)
        need("tensorboard")
        self.path = path

    @cached_property
    def writer(self) -> Any:
        """Return the writer; its folder is made with the first number."""
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(self.path))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Log numbers at a step."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def sentences(self, name: str, texts: Sequence[str], step: int) -> None:
        """Log sentences at a step, as a list."""
        self.writer.add_text(name, "\n".join(f"1. {text}" for text in texts), step)

    def codes(self, codes: Tensor, texts: Sequence[str], step: int) -> None:
        """Log codes for the projector, each with its sentence."""
        self.writer.add_embedding(
            codes, [text.replace("\t", " ") for text in texts], global_step=step, tag="posterior-means"
        )

    def close(self) -> None:
        """Write what is still held."""
        self.writer.flush()


class WandB(Logger):
    """Logs to Weights & Biases; offline with WANDB_MODE=offline.

    Args:
        path: the folder of the run: its name is that of the run, and wandb's files go into it.
        corpus: validation sentences.
        config: the settings to show.

    Raises:
        UserError: wandb is not installed.
    """

    def __init__(self, path: str | Path, corpus: Corpus, config: Mapping[str, Any] = {}) -> None:
        super().__init__(corpus)
        need("wandb")
        self.path, self.config = Path(path), dict(config)

    @cached_property
    def run(self) -> Any:
        """Return the run of wandb, begun with the first number."""
        import wandb

        self.path.mkdir(parents=True, exist_ok=True)
        return wandb.init(project="uncollapse", name=self.path.resolve().name, dir=str(self.path), config=self.config)

    def _table(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
        import wandb

        return wandb.Table(list(columns), [list(row) for row in rows])

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Log numbers; `step` is one of them, since wandb counts its own."""
        self.run.log({**values, "step": step})

    def sentences(self, name: str, texts: Sequence[str], step: int) -> None:
        """Log sentences as a table."""
        self.run.log({name: self._table(["sentence"], [[text] for text in texts]), "step": step})

    def codes(self, codes: Tensor, texts: Sequence[str], step: int) -> None:
        """Log codes as a table, a row a sentence."""
        rows = [[text, *code] for text, code in zip(texts, codes.tolist(), strict=True)]
        columns = ["sentence", *(f"z{d}" for d in range(codes.shape[1]))]
        self.run.log({"codes": self._table(columns, rows), "step": step})

    def close(self) -> None:
        """Finish the run."""
        self.run.finish()
