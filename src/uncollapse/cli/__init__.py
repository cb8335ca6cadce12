"""The command line: one thin verb a function, over the Python face."""

import sys
from collections.abc import Sequence
from importlib import import_module
from keyword import iskeyword
from types import ModuleType

import uncollapse
from uncollapse.errors import TrainingError, UserError, nearest

VERBS = {
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
    "samples": "draw a corpus from the prior and judge it by language models",
    "compare": "show several runs in one table",
    "plot": "draw runs over training",
    "losses": "write the loss of each epoch as text",
    "recipes": "list the recipes",
    "remedies": "list the remedies",
    "import": "make a run of another repository's checkpoint",
    "data": "write an embedded corpus to files",
}

USAGE = """usage: uncollapse VERB [options]

Train variational autoencoders whose latent space stays alive, and use that space.

{verbs}

Begin:     uncollapse train --data.path my_sentences.txt
One verb:  uncollapse VERB --help"""


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status: 0, 1 (training failed), 2 (a mistake of the user), 130 (interrupted)."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE.format(verbs="\n".join(f"  {verb:<12} {what}" for verb, what in VERBS.items())))
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"uncollapse {uncollapse.__version__}")
        return 0
    try:
        if arguments[0] not in VERBS:
            raise UserError(f"unknown verb {arguments[0]!r}: {nearest(arguments[0], VERBS)}")
        return module_of(arguments[0]).run(arguments[1:]) or 0
    except UserError as error:
        return _complain(str(error), 2)
    except TrainingError as error:
        return _complain(str(error), 1)
    except BrokenPipeError:  # the reader of a pipe has gone, as in `| head`
        sys.stderr.close()
        return 0
    except OSError as error:
        return _complain(f"{error.filename or 'a file'}: {error.strerror or error}", 2)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)


def module_of(verb: str) -> ModuleType:
    """Return the module of a verb, imported only now so that `--help` is quick."""
    return import_module(f"uncollapse.cli.{verb}_" if iskeyword(verb) else f"uncollapse.cli.{verb}")


def _complain(text: str, status: int) -> int:
    print(f"uncollapse: {' '.join(text.split())}", file=sys.stderr)
    return status
