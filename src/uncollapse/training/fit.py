"""The training loop. It reads from top to bottom: `fit`, an epoch, a step, a validation, a state."""

import copy
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import chain, islice
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from uncollapse.data.corpus import Batch, Corpus
from uncollapse.data.splits import Splits
from uncollapse.errors import TrainingError, UserError, out_of_memory
from uncollapse.evaluation.evaluate import summarise
from uncollapse.evaluation.scores import Scores, score
from uncollapse.model import VAE, evaluation_mode
from uncollapse.nn.casts import Precision, precision
from uncollapse.nn.norms import BatchNorm
from uncollapse.objectives import Objective, Terms
from uncollapse.parallel import World, random_state, sharing
from uncollapse.schedules import Schedule, constant
from uncollapse.training.aggressive import HELD_BATCHES, HELD_SENTENCES, MI_SENTENCES, Phase
from uncollapse.training.batches import Epochs, batches_of
from uncollapse.training.callbacks.base import Callback
from uncollapse.training.guards import Interrupted, stop_requests
from uncollapse.training.optimizers import clip_and_step, gradient_norm
from uncollapse.training.plateau import Plateau
from uncollapse.training.progress import Progress, Update
from uncollapse.training.states import check_like

LOGGED = ("distortion", "rate", "nll_elbo", "ppl_elbo", "mi", "mi_se", "au")
MakeOptimizer = Callable[[list[dict[str, Any]]], torch.optim.Optimizer]
Measure = Callable[[VAE, Corpus], dict[str, float]]
AnyObjective = Callable[[VAE, Batch, int], Terms]
"""An `Objective`, or any function of model, batch and step."""


@dataclass(frozen=True)
class Result:
    """A finished training.

    Attributes:
        log: an entry for every epoch.
        best: the best weights on validation, which the model has now.
    """

    log: list[dict[str, Any]]
    best: Mapping[str, Tensor]


def fit(
    model: VAE,
    objective: AnyObjective,
    splits: Splits | tuple[Corpus | Epochs, Corpus],
    *,
    optimizer: MakeOptimizer,
    epochs: int,
    batch_size: int = 32,
    seed: int = 1,
    callbacks: Sequence[Callback] = (),
    **options: Any,
) -> Result:
    """Train a model and leave the best weights on validation in it.

    Args:
        model: the network, where it is trained; weights that need no gradient stay as they are.
        objective: an `Objective`, or a function of (model, batch, step) that returns `Terms`.
        splits: of `data.load`; or a training and a validation part, the first a corpus or a function from the number of an epoch
            to its batches (a `DataLoader`, say).
        optimizer: from groups of weights (the encoder, all else) to an optimizer, such as `lambda p: torch.optim.Adam(p, 1e-3)`.
        epochs: how many.
        batch_size: sentences of a batch, where a corpus is given.
        seed: of the order, and of torch's random state.
        callbacks: watch the training.
        options: of `Trainer`.

    Raises:
        Interrupted: Ctrl-C or SIGTERM.
        TrainingError: a loss or gradient that is not finite.
    """
    train, valid = (splits.train, splits.valid) if isinstance(splits, Splits) else splits
    every = batches_of(train, batch_size, seed) if isinstance(train, Corpus) else train
    torch.manual_seed(seed)
    trainer = Trainer(
        model, objective, every, valid, optimizer=optimizer, epochs=epochs, callbacks=callbacks, **options
    )
    trainer.fit()
    model.load_state_dict(trainer.best or model.state_dict())
    model.eval()
    return Result(trainer.log, model.state_dict())


class Trainer:
    """One training.

    Args:
        model: the network.
        objective: what is minimised.
        train: the batches of every epoch.
        valid: the sentences that weights are chosen by.
        optimizer: from groups of weights to an optimizer; a weight without a gradient stays where it is.
        epochs: how many.
        clip: largest norm of the gradient; 0 for no clipping.
        lr_factor: on the learning rate, by the step.
        precision: of the training arithmetic, fp32 or bf16; validation is in fp32.
        plateau: when the learning rate decays; by default never.
        phase: aggressive training of the encoder; by default none.
        pretrain_epochs: as a plain autoencoder first, or fewer where the plateau rule ends them; then the best encoder stays, all
            else is made anew, and the plateau rule begins again.
        select: which weights are best: `loss` on validation, by the loss that the schedules end at; `nll_elbo`; `last`; or a
            number of `measure`, the higher the better.
        measure: further numbers of a split, for the log.
        test: a split that is measured now and then, for the log alone, and after how many epochs.
        callbacks: watch the training.
    """

    def __init__(
        self,
        model: VAE,
        objective: AnyObjective,
        train: Epochs,
        valid: Corpus,
        *,
        optimizer: MakeOptimizer,
        epochs: int,
        clip: float = 5.0,
        lr_factor: Schedule | None = None,
        precision: Precision = "fp32",
        plateau: Plateau | None = None,
        phase: Phase | None = None,
        pretrain_epochs: int = 0,
        select: str = "loss",
        measure: Measure | None = None,
        test: tuple[Corpus, int] | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        if pretrain_epochs and not isinstance(objective, Objective):
            raise UserError("pretrain_epochs: expected an Objective, whose autoencoder is trained first")
        self.model, self.objective, self.train, self.valid, self.test = model, objective, train, valid, test
        self.make_optimizer, self.epochs, self.clip, self.precision = optimizer, epochs, clip, precision
        self.lr_factor, self.pretrain_epochs = lr_factor or constant(1.0), pretrain_epochs
        self.select, self.measure, self.callbacks = select, measure, list(callbacks)
        self.device = model.device
        # what may be trained apart: the encoder, and all else
        rest = nn.ModuleDict({name: part for name, part in model.named_children() if name != "encoder"})
        encoder = list(model.encoder.parameters())
        shared = {id(weight) for weight in encoder}  # a shared table of embeddings belongs to the encoder
        self.weights = {"encoder": encoder, "decoder": [w for w in rest.parameters() if id(w) not in shared]}
        if pretrain_epochs and len(self.weights["decoder"]) < len(list(rest.parameters())):
            raise UserError(
                "pretrain_epochs: the decoder is made anew after it, but it shares weights with the encoder"
            )
        self.first_weights = copy.deepcopy(rest.state_dict()) if pretrain_epochs else {}
        self.rest = rest
        self.progress, self.plateau, self.phase = Progress(), plateau or Plateau(), phase or Phase()
        self.optimizer = self._new_optimizer()
        self.best: Mapping[str, Tensor] | None = None
        self.log: list[dict[str, Any]] = []
        self.batches, self.failed = 0, False
        self._stop, self._interrupt = threading.Event(), threading.Event()
        self.world = World.current()
        self.norms = [part for part in model.modules() if isinstance(part, BatchNorm)]

    def fit(self) -> None:
        """Train until the last epoch, or until the plateau rule ends it.

        Raises:
            Interrupted: Ctrl-C or SIGTERM.
            TrainingError: a loss or gradient that is not finite.
        """
        self.world.begin_random(self.device)
        with stop_requests(self._interrupt):
            try:
                while self.progress.epoch < self.last_epoch and not self.progress.finished and not self._stops():
                    self._train_epoch()
                    if self._stops():
                        break
                    self.notify("on_validate", self._end_epoch())
            except BaseException as error:
                self.failed = not isinstance(error, Interrupted)
                raise
            finally:
                self.notify("on_end")

    def stop(self) -> None:
        """Stop after the present step or validation, from any thread; an unfinished epoch is not validated."""
        self._stop.set()

    def _stops(self) -> bool:
        """Return whether training was asked to stop, in this process or in another."""
        (stop,) = self.world.any(self._stop.is_set())
        return stop

    def _train_epoch(self) -> None:
        progress, batches = self.progress, self.train(self.progress.epoch)
        self.batches = len(batches) if isinstance(batches, Sequence) else self.batches
        self.notify("on_epoch")
        self.model.train()
        if not any(weight.requires_grad for weight in self.model.encoder.parameters()):
            self.model.encoder.eval()  # frozen: its normalisations do not move either
        for batch in _from(batches, progress.batch):
            began = time.monotonic()
            self.world.seed_step(progress.step)
            aggressive = not self.pretraining and self.phase.begins()
            try:
                update = self._aggressive_step(batch, batches) if aggressive else self.step(batch)
            except (RuntimeError, MemoryError) as error:
                if out_of_memory(error):
                    raise self._too_large(batch) from None
                raise
            if isinstance(self.objective, Objective) and not self.pretraining:
                self.objective.after_step(update.means["rate"], self.schedule_step)
            progress.add(update, len(batch), time.monotonic() - began)
            self.notify("on_step", update)
            interrupted, stop = self.world.any(self._interrupt.is_set(), self._stop.is_set())
            if interrupted:
                raise Interrupted
            if stop:
                return

    def step(self, batch: Batch, moves: Literal["all", "encoder", "decoder"] = "all") -> Update:
        """Descend once along the gradient of the objective, clipped by its norm over all weights.

        Args:
            batch: the sentences; in several processes each takes its share of them.
            moves: which weights move; `decoder` is all but the encoder.
        """
        for group, first in zip(self.optimizer.param_groups, self.first_lrs, strict=True):
            group["lr"] = self._scaled(first)
        self._zero_grad(self.weights)
        shard = self.world.shard(len(batch))
        for part in self.norms:
            part.joined = bool(shard.counts)
        share = (batch.part(shard) if self.world.size > 1 else batch).to(self.device)
        with precision(self.precision, self.device):
            terms = self._loss(share, self.schedule_step)
        terms.loss.backward()
        norm = gradient_norm(chain.from_iterable(self.weights.values()))
        update = Update.read(terms, norm)
        if not math.isfinite(update.means["loss"] + update.norm):
            self._refuse(batch, update)
        if moves != "all":
            self._zero_grad(self.weights.keys() - {moves})
        clip_and_step(self.optimizer, norm, self.clip)
        return update

    def _aggressive_step(self, batch: Batch, batches: Iterable[Batch]) -> Update:
        """Train the encoder alone until it has caught up (on this batch, then on random ones), then the decoder once.

        Both kinds of steps are clipped by the norm over all weights, as in the reference. Now and then a batch has a gradient
        thirty times as long as others; clipped by its own norm alone, the encoder would leap, and end with the same code for
        every sentence.

        Source: He et al. 2019, algorithm 1 and its implementation.
        """
        if not isinstance(batches, Sequence):
            raise UserError("aggressive training draws batches at random: expected a corpus or sequences of batches")
        inner = self.phase.loop(self._held_losses)
        while self.world.agree(inner.goes_on()):
            with self.world.shared_random():
                current = batches[int(torch.randint(len(batches), ()))] if inner.steps else batch
            update = self.step(current, "encoder")
            inner.add(update.means["loss"] * len(current), current.predicted)
        self.phase.count(inner)
        self.notify("on_inner")
        return self.step(batch, "decoder")

    @torch.no_grad()
    def _held_losses(self) -> Tensor:
        """Return the loss of some validation batches, `[HELD_BATCHES]`, the same at every call but for the weights."""
        random = torch.random.fork_rng([self.device] if self.device.type == "cuda" else [])
        with random, evaluation_mode(self.model):
            torch.manual_seed(0)
            losses = [self._objective(self.model, batch, self.schedule_step).loss for batch in self._held]
        return torch.stack(losses).cpu()

    @cached_property
    def _held(self) -> list[Batch]:
        """Return the first sentences of the validation split, as batches."""
        most = min(len(self.valid), HELD_BATCHES * HELD_SENTENCES)
        parts = np.array_split(np.arange(most), HELD_BATCHES)
        return [self.valid.batch(part).to(self.device) for part in parts if len(part)]

    def _end_epoch(self) -> dict[str, Any]:
        """End the epoch: validate, keep the best, decay or stop; return the entry of the log."""
        progress, epoch, objective = self.progress, self.progress.epoch + 1, self.objective
        valid, scores = self._measure(self.valid)
        entry: dict[str, Any] = {
            "epoch": epoch,
            "step": progress.step,
            "weight": progress.weight,
            "teacher_forcing": getattr(objective, "teacher_forcing", constant(1.0))(max(0, self.schedule_step - 1)),
            "lr": self.lr,
            "seconds": progress.seconds,
            "train": progress.means(),
            "valid": valid,
        }
        if self.test and epoch % self.test[1] == 0:
            entry["test"], _ = self._measure(self.test[0])
        if self.phase.inner:
            with self.world.shared_random():
                entry["aggressive"] = self.phase.end_epoch(scores, self.valid.lengths, progress.batch)
        settled = self.pretraining or self.schedule_step >= getattr(objective, "settles", 0)
        progress.end_epoch()
        entry["selection"] = self._selection(valid, scores)
        advice = self.plateau.advise(entry["selection"], epoch - progress.pretrained, settled)
        entry["advice"], self.phase.on = self.world.agree((advice, self.phase.on))
        entry |= {"pretraining": True} if self.pretraining else {}
        self.notify("on_measure", entry)
        if entry["advice"] == "improved":
            self.best = {name: value.detach().cpu().clone() for name, value in self.model.state_dict().items()}
        elif entry["advice"] == "decay" and self.best is not None:
            self.model.load_state_dict(self.best)
            self.optimizer = self._new_optimizer()
        progress.finished = entry["advice"] == "stop" and not self.pretraining
        if self.pretraining and (entry["advice"] == "stop" or epoch == self.pretrain_epochs):
            self._end_pretraining()
        self.log.append(entry)
        return entry

    def _selection(self, valid: dict[str, float], scores: Scores) -> float:
        """Return the number that weights are chosen by, the lower the better: of an autoencoder its distortion."""
        if self.pretraining:
            return float(scores.distortion.mean())
        if self.select == "last":
            return -float(self.progress.epoch)
        if self.select not in ("loss", "nll_elbo"):
            return -valid[self.select]
        if self.select == "loss" and isinstance(self.objective, Objective):
            return self.objective.settled(scores.distortion, scores.rate, torch.from_numpy(self.valid.lengths))
        return float(scores.nll_elbo.mean())

    def _end_pretraining(self) -> None:
        """Keep the best encoder, make all else anew, and begin as if for the first time.

        Source: Li et al. 2019 (a surprisingly effective fix), section 3.
        """
        self.model.load_state_dict(self.best or self.model.state_dict())
        self.rest.load_state_dict(self.first_weights)
        self.progress.pretrained, self.plateau, self.best = self.progress.epoch, self.plateau.anew(), None
        self.optimizer = self._new_optimizer()

    def _measure(self, corpus: Corpus) -> tuple[dict[str, float], Scores]:
        """Return what the log holds of a split, and the scores of its sentences."""
        with sharing(self.world):
            scores = score(self.model.eval(), corpus)
            own = self.measure(self.model, corpus) if self.measure else {}
        measured = summarise(corpus, scores, mi_sentences=MI_SENTENCES)
        return {key: measured[key] for key in LOGGED} | own, scores

    @property
    def warming_up(self) -> bool:
        """Return whether the first epoch is not over, or a schedule of the objective has not settled."""
        settles = getattr(self.objective, "settles", 0)
        return self.progress.epoch < 1 or self.pretraining or self.schedule_step < settles

    @property
    def pretraining(self) -> bool:
        """Return whether the model is still trained as an autoencoder."""
        return self.pretrain_epochs > 0 and not self.progress.pretrained

    @property
    def last_epoch(self) -> int:
        """Return the number of the last epoch, which comes the earlier the shorter pretraining was."""
        return self.epochs - self.pretrain_epochs + (self.progress.pretrained or self.pretrain_epochs)

    @property
    def _objective(self) -> AnyObjective:
        """Return the objective, or that of a plain autoencoder while pretraining."""
        objective = self.objective
        return objective.autoencoder() if self.pretraining and isinstance(objective, Objective) else objective

    @cached_property
    def _loss(self) -> Callable[[Batch, int], Terms]:
        """Return the objective of a batch at a step; in several processes the gradients are averaged over them."""
        unused = self.pretrain_epochs > 0 or not isinstance(self.objective, Objective)
        return self.world.parallel(_Loss(self), unused=unused)

    @property
    def schedule_step(self) -> int:
        """Return the step that schedules see: counted from the end of pretraining."""
        progress = self.progress
        if self.pretraining:
            return 0
        return progress.step - progress.pretrained * ((progress.step - progress.batch) // max(1, progress.epoch))

    @property
    def lr(self) -> float:
        """Return the learning rate of the encoder now: after the decays so far, and by its schedule."""
        return self._scaled(self.first_lrs[0])

    def _scaled(self, lr: float) -> float:
        return lr * self.plateau.decay**self.plateau.decays * self.lr_factor(self.schedule_step)

    def _new_optimizer(self) -> torch.optim.Optimizer:
        """Return a fresh optimizer, with the encoder and all else as its groups."""
        trained = [[w for w in group if w.requires_grad] for group in self.weights.values()]
        optimizer = self.make_optimizer([{"params": group} for group in trained if group])
        self.first_lrs = [group["lr"] for group in optimizer.param_groups]
        return optimizer

    def _zero_grad(self, parts: Iterable[str]) -> None:
        for weight in chain.from_iterable(self.weights[part] for part in parts):
            weight.grad = None

    def notify(self, name: str, *arguments: Any) -> None:
        """Call a method of every callback, in the first process alone."""
        for callback in self.callbacks if self.world.rank == 0 else ():
            getattr(callback, name)(self, *arguments)

    def _named_callbacks(self) -> dict[str, Callback]:
        """Return the callbacks by class, the second of a class and those after it with a number."""
        seen: Counter[str] = Counter()
        named = {}
        for callback in self.callbacks:
            kind = type(callback).__name__
            seen[kind] += 1
            named[kind if seen[kind] == 1 else f"{kind}-{seen[kind]}"] = callback
        return named

    def _refuse(self, batch: Batch, update: Update) -> None:
        raise TrainingError(
            f"the loss or its gradient is not finite at {self._place(batch)} ("
            f"distortion {update.means['distortion']:.4g}, rate {update.means['rate']:.4g}); the last saved state is "
            f"kept; try a lower --optim.lr, a lower --optim.clip or --train.precision fp32"
        )

    def _too_large(self, batch: Batch) -> TrainingError:
        return TrainingError(
            f"out of memory at {self._place(batch)}, of {len(batch)} sentences of up to {int(batch.lengths.max())} tokens; the "
            f"last saved state is kept; lower --train.batch_size, --data.max_length, --decoder.hidden or --data.max_vocab"
        )

    def _place(self, batch: Batch) -> str:
        """Say where training is."""
        some = f"{', '.join(map(str, batch.index[:5]))}{' …' if len(batch) > 5 else ''}"
        progress = self.progress
        return f"step {progress.step} (epoch {progress.epoch + 1}, batch {progress.batch + 1}, sentences {some})"

    def state_dict(self) -> dict[str, Any]:
        """Return everything that an exact continuation needs, but the best weights."""
        random = self.world.state or random_state(self.device)
        objective = self.objective.state_dict() if hasattr(self.objective, "state_dict") else {}
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "progress": asdict(self.progress),
            "plateau": asdict(self.plateau),
            "phase": asdict(self.phase),
            "objective": objective,
            "callbacks": {name: callback.state_dict() for name, callback in self._named_callbacks().items()},
            "random": {name.partition(":")[0]: state for name, state in random.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a state; raise TypeError, KeyError, ValueError or RuntimeError where it is that of another training."""
        own = self.state_dict()
        parts = {"optimizer": {"param_groups": own["optimizer"]["param_groups"]}, "callbacks": own["callbacks"] or None}
        check_like(state, own | parts)
        self.model.load_state_dict(state["model"])
        self.progress = Progress(**state["progress"])
        if self.progress.epoch >= self.pretrain_epochs:  # older states do not say so
            self.progress.pretrained = self.progress.pretrained or self.pretrain_epochs
        self.plateau, self.phase = replace(self.plateau, **state["plateau"]), self.phase.continued(state["phase"])
        self.optimizer = self._new_optimizer()
        self.optimizer.load_state_dict(state["optimizer"])
        if hasattr(self.objective, "load_state_dict"):
            self.objective.load_state_dict(state["objective"])
        own = dict(state.get("callbacks", {}))
        for name, callback in self._named_callbacks().items():
            if name in own:
                callback.load_state_dict(own[name])
        torch.set_rng_state(state["random"]["cpu"])
        if self.device.type == "cuda" and "cuda" in state["random"]:
            torch.cuda.set_rng_state(state["random"]["cuda"], self.device)


class _Loss(nn.Module):
    """The objective of a training as a module, which `DistributedDataParallel` wants."""

    def __init__(self, trainer: Trainer) -> None:
        super().__init__()
        self.model, self.trainer = trainer.model, trainer

    def forward(self, batch: Batch, step: int) -> Terms:
        """Return the terms of a batch."""
        return self.trainer._objective(self.model, batch, step)


def _from(batches: Iterable[Batch], start: int) -> Iterable[Batch]:
    """Return the batches from a position on; those before it are not made where that can be helped."""
    if isinstance(batches, Sequence):
        return (batches[i] for i in range(start, len(batches)))
    return islice(batches, start, None)
