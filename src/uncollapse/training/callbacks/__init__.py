"""Callbacks watch a training: a log, checkpoints, a bar, the monitor, loggers.

    class Print(uc.callbacks.Callback):
        def on_validate(self, trainer, entry):
            print(entry["valid"]["nll_elbo"])

They do not change what is learned.
"""

from uncollapse.training.callbacks.bar import Progress
from uncollapse.training.callbacks.base import Callback
from uncollapse.training.callbacks.files import Checkpoint, Keep, Log, MeanSpace
from uncollapse.training.callbacks.loggers import TensorBoard, WandB
from uncollapse.training.callbacks.monitor import Look, Monitor

__all__ = ["Callback", "Checkpoint", "Keep", "Log", "Look", "MeanSpace", "Monitor", "Progress", "TensorBoard", "WandB"]
