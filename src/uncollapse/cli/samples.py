"""`uncollapse samples`."""

import json
from pathlib import Path

import uncollapse as uc
from uncollapse.cli.decoding import add_decoding, decoding
from uncollapse.cli.inputs import read_splits
from uncollapse.cli.output import show
from uncollapse.cli.parser import Parser
from uncollapse.cli.progress import Bars, show_table
from uncollapse.reporting.protocols import samples_tables
from uncollapse.runs.samples import judge_samples


def run(arguments: list[str]) -> None:
    """Draw a corpus from the prior, write it and judge it by two language models."""
    parser = Parser("samples", "Draw a corpus, and judge it by language models trained here. Repeat to resume.")
    parser.add_run()
    parser.flag("-n", "N", "sentences, at most as many as trained on", default=10_000)
    parser.flag("--epochs", "N", "of each language model", default=5)
    parser.flag("--out", "DIR", "where all goes (default: RUN/samples)")
    parser.switch("--overwrite", "replace another corpus and its judges in DIR")
    add_decoding(parser, "sample")
    parser.set_defaults(unknown=True)  # the model is judged as it is
    parser.add_settings(["data.path", "data.valid", "data.test"])
    asked, settings = parser.parse(arguments)
    how, done = decoding(asked), uc.load(asked.run)
    splits = read_splits(done, settings)
    out = Path(asked.out) if asked.out else done.path / "samples"
    with Bars() as bars:
        judged = judge_samples(
            done,
            splits,
            out,
            count=asked.n,
            epochs=asked.epochs,
            seed=asked.seed,
            how=how,
            callbacks=bars.announce,
            overwrite=asked.overwrite,
        )
    if asked.json:
        show(json.dumps(judged, indent=2))
        return
    for table in samples_tables(judged):
        show_table(table)
    show(f"the sentences: {out / 'drawn' / 'train.txt'}")
