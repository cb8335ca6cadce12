"""`uncollapse losses`."""

from pathlib import Path

from uncollapse.cli.output import say
from uncollapse.cli.parser import Parser
from uncollapse.errors import UserError
from uncollapse.files import write_atomically
from uncollapse.runs.folder import RunFolder
from uncollapse.runs.shipped import refuse_shipped, run_path


def run(arguments: list[str]) -> None:
    """Write -ELBO of each epoch, in nats per sentence, as text, one number a line.

    That of training is the mean over the epoch's steps, with dropout while the weights move; that of the test split is measured
    after the epoch, without dropout.
    """
    parser = Parser(
        "losses", "Write train_loss.txt and, where it was followed, test_loss.txt: nll_elbo, one number an epoch."
    )
    parser.add_run()
    parser.flag("--out", "DIR", "where to write (default: the run folder)")
    asked, _ = parser.parse(arguments)
    folder = RunFolder(run_path(asked.run))
    folder.origin()
    log = folder.log()
    if not log:
        raise UserError(f"{asked.run}: no epoch has ended yet, so there are no losses")
    if not asked.out:
        refuse_shipped(folder.path)
    losses = {"train_loss.txt": [entry["train"]["nll_elbo"] for entry in log]}
    if tested := [entry["test"]["nll_elbo"] for entry in log if "test" in entry]:
        losses["test_loss.txt"] = tested
    for name, values in losses.items():
        write_atomically(Path(asked.out or folder.path) / name, "".join(f"{value:.6f}\n" for value in values).encode())
    said = (
        f"nll_elbo written to {asked.out or asked.run}: train_loss.txt, the mean over each epoch's steps, with dropout"
    )
    if tested:
        every = [str(entry["epoch"]) for entry in log if "test" in entry]
        which = "each epoch" if len(every) == len(log) else f"epochs {', '.join(every)}"
        say(f"{said}; test_loss.txt, after {which}, without dropout")
    else:
        say(f"{said}; train with --train.eval_test_every 1 for test_loss.txt")
