"""What to change when a latent space fares badly, and the callback that says so while it is trained."""

from typing import TYPE_CHECKING

from uncollapse.evaluation.health import State
from uncollapse.messages import say
from uncollapse.training.callbacks import Callback

if TYPE_CHECKING:
    from uncollapse.training.callbacks import Look
    from uncollapse.training.fit import Trainer

ADVICE: dict[State, str] = {
    "collapsed": "hold the rate: --remedy kl-controller, or free bits, --objective.floor 5",
    "dead rate": "the rate is paid and not used: --model.init torch (small first weights make q the same for all sentences), "
    "a lower --objective.target, or a weaker decoder, --remedy word-dropout",
    "exploding": "the weight is too small or comes too late: raise --objective.weight, shorten its schedule, lower --optim.lr",
    "lagging": "the encoder is behind the decoder: --remedy aggressive-adaptive",
}
"""State -> the settings to change."""


class Warn(Callback):
    """Warns of a state of the space that training does not get out of by itself: each state once."""

    def __init__(self) -> None:
        self.warned: set[State] = set()

    def on_look(self, trainer: "Trainer", look: "Look") -> None:
        """Warn where there is something new to warn of."""
        state = look.diagnosis.state
        if state in ADVICE and state not in self.warned:
            self.warned.add(state)
            say(f"monitor: {state} at step {look.step} ({look.diagnosis.evidence}); to change it: {ADVICE[state]}")
