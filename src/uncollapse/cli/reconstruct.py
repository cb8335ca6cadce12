"""`uncollapse reconstruct`."""

import sys
from collections.abc import Sequence
from pathlib import Path

import uncollapse as uc
from uncollapse.api import Run
from uncollapse.cli.parser import Parser
from uncollapse.cli.progress import say
from uncollapse.cli.sample import add_decoding
from uncollapse.data.reading import decode_lines, read_texts
from uncollapse.errors import UserError


def read_sentences(source: str, run: Run) -> list[str]:
    """Read sentences from a file, or from stdin for `-`; say how many of their words are unknown."""
    if source == "-":
        if sys.stdin.isatty():
            say("reading sentences from the keyboard, one a line; end with Ctrl-D")
        texts = [text for _, text in decode_lines(sys.stdin.buffer, "stdin")]
    else:
        found, remarks = read_texts(Path(source), run.config.data.format)
        texts = found.texts
        for remark in remarks:
            say(remark)
    if not texts:
        raise UserError(f"{'stdin' if source == '-' else source}: expected a sentence a line, got none")
    if unknown := run.unknown_words(texts):
        say(f"{unknown} tokens are not in the vocabulary of the run and were read as <unk>")
    return texts


def run(arguments: Sequence[str]) -> None:
    """Print the reconstruction of every sentence, one a line."""
    parser = Parser("reconstruct", "Encode sentences and decode their posterior means. One a line.")
    parser.add("run", metavar="RUN", help="the run folder")
    parser.add("file", nargs="?", default="-", metavar="FILE", help="a file of sentences, or - for stdin (default)")
    add_decoding(parser, "greedy")
    asked, _ = parser.parse(arguments)
    done = uc.load(asked.run)
    for sentence in done.reconstruct(read_sentences(asked.file, done), asked.decode, asked.seed):
        print(sentence)
