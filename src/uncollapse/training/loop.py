"""The training loop. It reads from top to bottom: `fit`, an epoch, a step, a validation, a saved state."""

import copy
import math
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from itertools import chain
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from uncollapse.data.corpus import Batch, shuffled_batches
from uncollapse.errors import TrainingError, UserError
from uncollapse.evaluation.bounds import Scores, score
from uncollapse.evaluation.evaluate import summarise
from uncollapse.evaluation.mean_space import posterior_means
from uncollapse.nn.casts import precision
from uncollapse.objectives import Objective, Terms
from uncollapse.run import RunFolder
from uncollapse.schedules import constant
from uncollapse.training.aggressive import MI_SENTENCES, InnerLoop, Phase
from uncollapse.training.controller import Controller
from uncollapse.training.guards import Interrupted, stop_requests
from uncollapse.training.job import Job
from uncollapse.training.optimizers import descend, gradient_norm, make_optimizer
from uncollapse.training.plateau import Plateau
from uncollapse.training.progress import Listener, Progress, Update

VALIDATION_ROWS = 200
LOGGED = ("distortion", "rate", "nll_elbo", "ppl_elbo", "mi", "mi_se", "au")


RULES: dict[str, Any] = {"progress": Progress, "plateau": Plateau, "phase": Phase, "controller": Controller}
"""What a training remembers besides weights, moments and random numbers."""


class Trainer:
    """One training: model, objective, data, optimizers, and the folder that everything goes to."""

    def __init__(self, job: Job, folder: RunFolder, listener: Listener) -> None:
        self.job, self.folder, self.listener = job, folder, listener
        self.model, self.splits, self.optim, self.train = job.model, job.splits, job.optim, job.train
        self.device = self.model.device
        # what may be trained apart: the encoder, and the decoder with all else
        rest = {name: part for name, part in self.model.named_children() if name != "encoder"}
        self.parts = {"encoder": self.model.encoder, "decoder": nn.ModuleDict(rest)}
        self.weights = {name: list(part.parameters()) for name, part in self.parts.items()}
        self.progress = Progress()
        self.plateau = Plateau(self.optim.patience, self.optim.decay_after, self.optim.max_decays)
        self.phase = Phase(self.train.aggressive, self.train.aggressive_steps, on=self.train.aggressive != "off")
        self.controller = Controller()
        pretrains = self.train.pretrain_epochs
        self.first_decoder = copy.deepcopy(self.parts["decoder"].state_dict()) if pretrains else None
        self.optimizer = self._make_optimizer()

    def fit(self) -> None:
        """Train until the last epoch or until the plateau rule ends it; the best weights are in the folder.

        Raises:
            Interrupted: Ctrl-C or SIGTERM; the state is saved.
            TrainingError: a loss or gradient that is not finite; the last good state is kept.
        """
        with stop_requests() as stop:
            while self.progress.epoch < self.train.epochs and not self.progress.finished:
                self._train_epoch(stop)
                self._validate()
                if self.progress.epoch == self.train.pretrain_epochs:
                    self._end_pretraining()
                self.save()

    def _train_epoch(self, stop: threading.Event) -> None:
        progress = self.progress
        order = shuffled_batches(self.splits.train.lengths, self.train.batch_size, self.train.seed, progress.epoch)
        order = order[: self.job.steps_per_epoch]
        self.listener.epoch_begins(progress.epoch + 1, progress.batch, len(order), self.train.epochs)
        if not progress.step:
            self._record()
        self.model.train()
        saved = time.monotonic()
        for index in order[progress.batch :]:
            began = time.monotonic()
            batch = self.batch(index)
            aggressive = self.phase.on and not self._pretraining
            update = self._aggressive_step(batch, order) if aggressive else self.step(batch)
            if self.job.objective.target_kind == "controller" and not self._pretraining:
                self.controller.update(update.means["rate"], self.job.objective.target(self._schedule_step))
            progress.add(update, len(batch), time.monotonic() - began)
            self.listener.step(progress.epoch + 1, progress.means())
            self._record()
            if stop.is_set():
                self.save()
                raise Interrupted
            if time.monotonic() - saved > 60 * self.train.checkpoint_minutes > 0:
                self.save()
                saved = time.monotonic()

    def step(self, batch: Batch, moves: Literal["all", "encoder", "decoder"] = "all") -> Update:
        """Descend once along the gradient of the objective, clipped by its norm over all weights.

        Args:
            batch: the sentences.
            moves: which weights move; `decoder` is all but the encoder.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr
        self._zero_grad(self.weights)
        terms = self._differentiate(batch)
        norm = gradient_norm(chain.from_iterable(self.weights.values()))
        update = Update.read(terms, norm)
        if not math.isfinite(update.means["loss"] + update.norm):
            self._refuse(batch, update)
        if moves != "all":
            self._zero_grad(self.weights.keys() - {moves})
        descend(self.optimizer, norm, self.optim.clip)
        return update

    def _differentiate(self, batch: Batch) -> Terms:
        """Leave the gradients of a batch in the weights; return the terms of the objective."""
        step, task = self._schedule_step, self.job.task
        with precision(self.train.precision, self.device):
            target = task.target(batch)
            extra = None if self._pretraining else task.extra(self.model, len(batch), step)
            terms = self._objective(self.model, batch, step, factor=self.controller.factor, target=target)
            if extra is not None:
                terms = replace(terms, loss=terms.loss + extra())
        terms.loss.backward()
        return terms

    def _aggressive_step(self, batch: Batch, order: list[np.ndarray]) -> Update:
        """Train the encoder alone until it has caught up (on this batch, then on random ones), then the decoder once.

        Both kinds of steps are clipped by the norm over all weights, as in the reference. Now and then a batch has a gradient
        thirty times as long as others; clipped by its own norm alone, the encoder would leap, and end with the same code for
        every sentence.

        Source: He et al. 2019, algorithm 1 and its implementation.
        """
        inner, current = InnerLoop(), batch
        update = self.step(batch, "encoder")
        while inner.goes_on(update.means["loss"] * len(current), current.predicted):
            current = self.batch(order[int(torch.randint(len(order), ()))])
            update = self.step(current, "encoder")
        self.phase.count(inner.steps)
        return self.step(batch, "decoder")

    def _validate(self) -> None:
        """End the epoch: validate, keep the best, decay or stop, write the log."""
        progress, objective = self.progress, self.job.objective
        valid, scores = self._measure("valid")
        batches, epoch = progress.batch, progress.epoch + 1
        entry: dict[str, Any] = {
            "epoch": epoch,
            "step": progress.step,
            "weight": progress.weight,
            "teacher_forcing": objective.forcing(self._schedule_step),
            "lr": self.lr,
            "seconds": progress.seconds,
            "train": progress.means(),
            "valid": valid,
        }
        if self.train.eval_test_every and epoch % self.train.eval_test_every == 0:
            entry["test"], _ = self._measure("test")
        if self.phase.inner:
            entry["aggressive"] = found = self.phase.end_epoch(scores, batches, self.train.batch_size)
            if not found["goes_on"]:
                changed = f"MI {found['mi_before']:.3f} -> {found['mi_after']:.3f}"
                self.listener.remark(f"the aggressive phase ends after {self.phase.outer} outer steps ({changed})")
        progress.end_epoch()
        entry["selection"] = self._selection(valid, scores)
        settled = self._schedule_step >= max(objective.settles, self.job.task.settles)
        trained = epoch - self.train.pretrain_epochs
        advice = "pretrain" if trained <= 0 else self.plateau.advise(entry["selection"], trained, settled)
        entry["advice"] = advice
        if advice == "improved":
            self.folder.save_weights(self.model.state_dict())
        elif advice == "decay":
            self.model.load_state_dict(self.folder.load_weights())
            self.optimizer = self._make_optimizer()
        progress.finished = advice == "stop"
        self.folder.append_log(entry)
        self.listener.epoch_ends(entry)

    def _record(self) -> None:
        """Record the posterior-mean space, at the steps where that is wanted."""
        every, step = self.train.record_every, self.progress.step
        if not every or step % every:
            return
        points = self.splits.valid.subset(np.arange(min(self.train.record_points, len(self.splits.valid))))
        training = self.model.training
        means = posterior_means(self.model.eval(), points)
        self.model.train(training)
        self.folder.append_mean_space(step, means.model, means.inference)

    def _selection(self, valid: dict[str, float], scores: Scores) -> float:
        """Return what the weights to keep are chosen by, the lower the better."""
        if self.train.select == "last":
            return -float(self.progress.epoch)
        if self.train.select == "loss":
            return self.job.objective.settled(scores.distortion, scores.rate)
        return -valid[self.train.select]

    def _end_pretraining(self) -> None:
        """Keep the encoder, make the decoder anew, and begin as if for the first time.

        Source: Li et al. 2019 (a surprisingly effective fix), section 3.
        """
        assert self.first_decoder is not None
        self.parts["decoder"].load_state_dict(self.first_decoder)
        self.optimizer = self._make_optimizer()

    def _measure(self, part: str) -> tuple[dict[str, float], Scores]:
        """Return what the log holds of a split, and the scores of its sentences."""
        corpus = self.splits[part]
        self.model.eval()
        scores = score(self.model, corpus)
        measured = summarise(corpus, scores, mi_sentences=MI_SENTENCES)
        own = self.job.task.measure(self.model, corpus, VALIDATION_ROWS)
        return {key: measured[key] for key in LOGGED} | own, scores

    @property
    def _pretraining(self) -> bool:
        return self.progress.epoch < self.train.pretrain_epochs

    @property
    def _objective(self) -> Objective:
        """Return the objective, or that of a plain autoencoder while pretraining."""
        objective = self.job.objective
        return replace(objective, weight=constant(0.0), mmd=0.0) if self._pretraining else objective

    @property
    def _schedule_step(self) -> int:
        """Return the step that schedules see: counted from the end of pretraining."""
        return max(0, self.progress.step - self.train.pretrain_epochs * self.job.steps_per_epoch)

    def batch(self, index: np.ndarray) -> Batch:
        """Return the training sentences at `index`, where the model is."""
        return self.splits.train.training_batch(index).to(self.device)

    @property
    def lr(self) -> float:
        """Return the learning rate now: after the decays so far, and by its schedule."""
        return self.optim.lr * self.optim.decay**self.plateau.decays * self.job.lr_factor(self._schedule_step)

    def _make_optimizer(self) -> torch.optim.Optimizer:
        """Return a fresh optimizer, with the encoder and all else as its groups."""
        return make_optimizer(self.weights.values(), self.optim)

    def _zero_grad(self, parts: Iterable[str]) -> None:
        for weight in chain.from_iterable(self.weights[part] for part in parts):
            weight.grad = None

    def _refuse(self, batch: Batch, update: Update) -> None:
        progress = self.progress
        self.save()  # the weights are still those before this step
        raise TrainingError(
            f"the loss or its gradient is not finite at step {progress.step} (epoch {progress.epoch + 1}, batch "
            f"{progress.batch + 1}, sentences {', '.join(map(str, batch.index[:5]))}{' …' if len(batch) > 5 else ''}; "
            f"distortion {update.means['distortion']:.4g}, rate {update.means['rate']:.4g}); the last good state is "
            f"kept in {self.folder.path}; try a lower --optim.lr, a lower --optim.clip or --train.precision fp32"
        )

    def save(self) -> None:
        """Save everything that an exact continuation needs."""
        random = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.device)
        self.folder.save_state(
            {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                **{name: asdict(getattr(self, name)) for name in RULES},
                "random": random,
            }
        )

    def resume(self) -> None:
        """Take up the last saved state; what the log says of later epochs is dropped, for it will be written again.

        Raises:
            UserError: there is no state, or it is damaged or of another run.
        """
        state = self.folder.load_state()
        try:
            self.model.load_state_dict(state["model"])
            for name, kind in RULES.items():
                setattr(self, name, kind(**state[name]))
            self.optimizer = self._make_optimizer()
            self.optimizer.load_state_dict(state["optimizer"])
            torch.set_rng_state(state["random"]["cpu"])
            if self.device.type == "cuda" and "cuda" in state["random"]:
                torch.cuda.set_rng_state(state["random"]["cuda"], self.device)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise UserError(
                f"{self.folder.state_file}: not the state of this run ({type(error).__name__}); start anew with --overwrite"
            ) from None
        self.folder.forget_after(self.progress.epoch, self.progress.step)
