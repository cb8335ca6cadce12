"""The command line: one thin module a command, over the Python functions."""

import os
import signal
import sys
import threading
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from importlib import import_module
from keyword import iskeyword
from pathlib import Path
from types import ModuleType

import uncollapse
from uncollapse.cli.output import say, show
from uncollapse.errors import TrainingError, UserError, out_of_memory, suggest

COMMANDS = {
    "train": "train a model",
    "evaluate": "measure a run: bounds, mutual information, active units",
    "sample": "draw sentences from the prior",
    "reconstruct": "encode sentences and decode them again",
    "interpolate": "write the sentences between two",
    "analogy": "write what stands to C as A stands to B",
    "walk": "write the sentences along one dimension",
    "neighbours": "find the sentences nearest to one",
    "mean": "write the sentence of a group's mean code",
    "transfer": "change the label of sentences",
    "encode": "write the codes of sentences",
    "bench": "train several remedies on one corpus and say which works",
    "tune": "search for settings that reach a stated goal",
    "reproduce": "run a published table again, and compare",
    "samples": "draw a corpus from the prior and judge it by language models",
    "compare": "show several runs in one table, with a paired test",
    "doctor": "say what is wrong with a run, why, and what to type",
    "report": "write a web page about runs",
    "explore": "play with the latent space in a browser",
    "plot": "draw runs over training",
    "losses": "write the loss of each epoch as text",
    "recipes": "list the recipes",
    "remedies": "list the remedies",
    "models": "list the trained runs that come with the package, or copy one",
    "import": "make a run of another repository's checkpoint",
    "data": "write an embedded corpus, or download a public one",
}

SHARED_COMMANDS = ("train", "evaluate")
"""Commands whose work several processes share (`torchrun -m uncollapse COMMAND`)."""

USAGE = """usage: uncollapse COMMAND [options]

Train variational autoencoders whose latent space stays alive, and use that space.

{commands}

Begin:     uncollapse train --data.path my_sentences.txt
More:      uncollapse COMMAND --help"""


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status.

    0; 1 (training failed), 2 (a mistake of the user), 3 (training ended as collapsed), 130 (interrupted).
    """
    if not sys.warnoptions:  # what libraries warn of is no message of ours; filters that are set go first
        warnings.simplefilter("ignore", append=True)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what is unfinished is cleared away
    try:
        try:
            return _run(arguments)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
    except BrokenPipeError:
        return _end_without_output(0)
    except OSError as error:
        return _end_without_output(_complain(f"a file or the output: {error.strerror or error}", 2))


def _run(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        show(USAGE.format(commands="\n".join(f"  {command:<12} {what}" for command, what in COMMANDS.items())))
        return 0 if arguments else 2
    if arguments[0] == "--version":
        show(f"uncollapse {uncollapse.__version__}")
        return 0
    try:
        if arguments[0] not in COMMANDS:
            raise UserError(f"unknown command {arguments[0]!r}: {suggest(arguments[0], COMMANDS)}")
        if os.environ.get("WORLD_SIZE", "1") == "1":  # what torchrun sets
            return module_of(arguments[0]).run(list(arguments[1:])) or 0
        return _share(arguments[0], arguments[1:])
    except (UserError, TrainingError) as error:
        return _complain(str(error), 2 if isinstance(error, UserError) else 1)
    except OSError as error:
        if error.filename is None:  # the output
            raise
        return _complain(f"{error.filename}: {error.strerror or error}", 2)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        return _complain("out of memory; give it more, or lower what the command asks for (sizes, batch, samples)", 1)
    except uncollapse.Interrupted:
        return _complain("stopped; the state is saved. The same command goes on.", 130)


def _share(command: str, arguments: Sequence[str]) -> int:
    """Run a command in one of several processes; the first one speaks."""
    from uncollapse.parallel import process_group

    if command not in SHARED_COMMANDS:
        raise UserError(
            f"{command}: runs in one process; {' and '.join(SHARED_COMMANDS)} can share their work between several"
        )
    with process_group() as world:
        if not world.rank:
            return module_of(command).run(list(arguments)) or 0
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            return module_of(command).run(list(arguments)) or 0


def module_of(command: str) -> ModuleType:
    """Return the module of a command, imported only now so that `--help` is quick."""
    return import_module(f"uncollapse.cli.{command}_" if iskeyword(command) else f"uncollapse.cli.{command}")


def _complain(text: str, status: int) -> int:
    say(f"uncollapse: {' '.join(text.split())}")
    return status


def _end_without_output(status: int) -> int:
    """End a command that cannot write any more, as when the reader of a pipe has gone: what is still held goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            os.dup2(nowhere, stream.fileno())
    return status
