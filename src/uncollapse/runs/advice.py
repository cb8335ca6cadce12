"""What to change when a latent space fares badly, and the callback that says so while it is trained."""

from collections import Counter
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
    "a lower --objective.target, or, for text, a weaker decoder, --remedy word-dropout",
    "exploding": "the weight is too small or comes too late: raise --objective.weight, shorten its schedule, lower --optim.lr",
    "lagging": "the encoder is behind: --remedy aggressive-adaptive, or aggressive, which costs several times as much",
}
"""State -> the settings to change."""
IN_A_ROW: dict[State, int] = {"collapsed": 2, "dead rate": 2, "exploding": 2, "lagging": 3}
"""State -> looks in a row after which it is warned of; a young encoder lags for a while."""


class Warn(Callback):
    """Warns of a state that training does not get out of by itself: after some looks in a row, each state once.

    A look that has not measured the lag neither confirms nor ends the state `lagging`.
    """

    def __init__(self) -> None:
        self.looks: Counter[State] = Counter()
        self.warned: set[State] = set()

    def on_look(self, trainer: "Trainer", look: "Look") -> None:
        """Warn where there is something new to warn of."""
        state = look.diagnosis.state
        self.looks[state] += 1
        for other in ADVICE:
            if other != state and not (other == "lagging" and look.health.lag is None):
                self.looks[other] = 0
        if state in ADVICE and self.looks[state] >= IN_A_ROW[state] and state not in self.warned:
            self.warned.add(state)
            say(f"monitor: {state} at step {look.step} ({look.diagnosis.evidence}); to change it: {ADVICE[state]}")
