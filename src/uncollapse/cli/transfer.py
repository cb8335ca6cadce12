"""`uncollapse transfer`."""

from uncollapse.cli.decoding import begin, print_written
from uncollapse.cli.inputs import add_sentences, labels_given, read_sentences, say_unknown
from uncollapse.cli.parser import Parser


def run(arguments: list[str]) -> None:
    """Print every sentence with its label changed, one a line."""
    parser = Parser("transfer", "Change the label of sentences: encode under one, decode under another. One a line.")
    add_sentences(parser, "--from", "theirs; without it FILE must hold labels, as the training file did")
    parser.flag("--to", "LABEL", "the label to be; fields not named stay as they are", needed=True)
    done, asked = begin(parser, arguments)
    done.inputs.need_labels()
    texts = read_sentences(asked.file, done, asked.label)
    if done.vocabulary.level == "word":  # unknown letters are refused
        say_unknown(texts.texts, done)
    source = labels_given(asked.label, texts, done, flag="--from") or {}
    target = done.changed(texts.texts, source, asked.to)
    print_written(done, done.posterior(texts.texts, source).mean, asked, labels=target, sources=texts.texts)
