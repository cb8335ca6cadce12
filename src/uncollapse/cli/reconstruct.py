"""`uncollapse reconstruct`."""

from uncollapse.cli.decoding import begin, print_written
from uncollapse.cli.inputs import add_sentences, sentences_and_labels
from uncollapse.cli.parser import Parser
from uncollapse.evaluation.scores import seeded

CODES = ("mean", "sample")


def run(arguments: list[str]) -> None:
    """Print the reconstruction of every sentence, one a line."""
    parser = Parser("reconstruct", "Encode sentences and decode their codes. One a line.")
    add_sentences(parser)
    code = "the code of a sentence: the posterior's mean (default), or a draw from it"
    parser.add_argument("--from", dest="code", choices=CODES, default="mean", help=code)
    done, asked = begin(parser, arguments)
    texts, labels = sentences_and_labels(done, asked)
    posterior = done.posterior(texts, labels)
    z = posterior.mean
    if asked.code == "sample":
        z = posterior.transform(posterior.noise(len(texts), 1, seeded(asked.seed)))[:, 0]
    print_written(done, z, asked, labels=labels, sources=texts, later=asked.code == "sample")
