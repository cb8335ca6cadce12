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
