"""`uncollapse reconstruct`."""

from uncollapse.cli.decoding import begin, print_written
from uncollapse.cli.inputs import add_sentences, sentences_and_labels
from uncollapse.cli.parser import Parser


def run(arguments: list[str]) -> None:
    """Print the reconstruction of every sentence, one a line."""
    parser = Parser("reconstruct", "Encode sentences and decode their posterior means. One a line.")
    add_sentences(parser)
    done, asked = begin(parser, arguments)
    texts, labels = sentences_and_labels(done, asked)
    print_written(done, done.posterior(texts, labels).mean, asked, labels=labels, sources=texts)
