"""The monitor's lag beside He et al.'s picture: both while the toy is trained, and how they agree over the sentences.

    python benchmarks/lag.py --data ../shared/data/synthetic --remedy vanilla --remedy aggressive --steps 900

At every hundredth step, on 100 validation sentences: mean KL(q(z | x), p(z | x)) by `evaluation.lag`, and the distance of the
points of the posterior-mean space from the diagonal, |model's mean - encoder's mean|, with their correlations over sentences.
"""

import argparse
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
from scipy.stats import pearsonr, spearmanr

import uncollapse as uc
from uncollapse.evaluation.lag import encoder_lag
from uncollapse.evaluation.mean_space import posterior_means
from uncollapse.model import evaluation_mode

SENTENCES = 100
ROW = "{:>20} {:>6} {:>8} {:>9} {:>8} {:>8} {:>8} {:>9}"


class Beside(uc.callbacks.Callback):
    """Prints a row every so many steps, and stops after the last one."""

    def __init__(self, remedy: str, every: int, steps: int) -> None:
        self.remedy, self.every, self.steps = remedy, every, steps

    def on_step(self, trainer, update) -> None:
        """Measure now and then."""
        step = trainer.progress.step
        if step % self.every == 0:
            corpus = trainer.valid.subset(np.arange(SENTENCES))
            with evaluation_mode(trainer.model):
                lag = encoder_lag(trainer.model, corpus, np.arange(SENTENCES)).divergence.numpy()
                means = posterior_means(trainer.model, corpus)
            distance = np.abs(means.model - means.inference)
            agree = pearsonr(lag, distance)[0], spearmanr(lag, distance)[0]
            sizes = np.abs(means.model).mean(), np.abs(means.inference).mean()
            numbers = [f"{value:.3f}" for value in (lag.mean(), distance.mean(), *sizes, *agree)]
            print(ROW.format(self.remedy, step, *numbers), flush=True)
        if step >= self.steps:
            trainer.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description="The monitor's lag beside He et al.'s picture.")
    parser.add_argument("--data", help="the folder of the published synthetic set; the stand-in by default")
    parser.add_argument("--remedy", action="append", help="again for another; vanilla and aggressive by default")
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(ROW.format("remedy", "step", "lag", "distance", "|model|", "|enc|", "Pearson", "Spearman"))
    data = {"data": {"path": options.data}} if options.data else {}
    for remedy in options.remedy or ["vanilla", "aggressive"]:
        with tempfile.TemporaryDirectory() as folder:
            watch = [Beside(remedy, options.every, options.steps)]
            settings = {**data, "monitor": {"enabled": False}, "train": {"seed": options.seed}}
            with suppress(uc.UserError):  # where it is stopped within the first epoch there are no weights to load
                uc.train("toy", remedy, out=Path(folder) / "run", callbacks=watch, **settings)


if __name__ == "__main__":
    main()
