"""A callback may end a training."""

import pytest
import torch

import uncollapse as uc


class Stop(uc.callbacks.Callback):
    """Stops at a step, or at the end of an epoch."""

    def __init__(self, step=0, epoch=0):
        self.step, self.epoch, self.ended = step, epoch, 0

    def on_step(self, trainer, update):
        if trainer.progress.step == self.step:
            trainer.stop()

    def on_validate(self, trainer, entry):
        if entry["epoch"] == self.epoch:
            trainer.stop()

    def on_end(self, trainer):
        self.ended, self.steps = self.ended + 1, trainer.progress.step


@pytest.mark.parametrize(
    ("stop", "epochs", "steps"), [(Stop(epoch=2), 2, 14), (Stop(step=10), 1, 10), (Stop(step=3), 0, 3)]
)
def test_fit_returns_with_the_best_weights_so_far(stop, epochs, steps, tmp_path):
    splits = uc.data.load(name="grammar", sentences=200, level="word")
    size = len(splits.vocabulary)
    model = uc.VAE(uc.nn.RecurrentEncoder(size, 4, 6, 2), uc.nn.RecurrentDecoder(size, 4, 6, 2), uc.StandardNormal(2))
    checkpoint = uc.callbacks.Checkpoint(tmp_path)
    result = uc.fit(
        model,
        uc.Objective([uc.Penalty()]),
        splits,
        optimizer=lambda p: torch.optim.Adam(p, 0.01),
        epochs=5,
        callbacks=[stop, checkpoint],
    )
    assert len(result.log) == epochs and (stop.ended, stop.steps) == (1, steps)
    assert not model.training and checkpoint.state_file.exists()
    assert checkpoint.model_file.exists() == bool(epochs)


class Count(uc.callbacks.Callback):
    """Counts steps, and remembers the count where a training goes on."""

    def __init__(self):
        self.count = 0

    def on_step(self, trainer, update):
        self.count += 1

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


def test_a_resumed_training_gives_a_callback_its_memory_back(tmp_path):
    first, second = Count(), Count()
    changes = {"train": {"epochs": 1, "threads": 1}, "data": {"sentences": 200}}
    uc.train("grammar", out=tmp_path / "run", callbacks=[first], **changes)
    changes["train"]["epochs"] = 2
    uc.train("grammar", out=tmp_path / "run", callbacks=[second], resume=True, **changes)
    assert first.count > 0 and second.count == 2 * first.count
