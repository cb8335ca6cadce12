"""`uncollapse samples`."""

import json
from collections.abc import Sequence
from pathlib import Path

import uncollapse as uc
from uncollapse.cli.decoding import add_decoding, decoding
from uncollapse.cli.parser import Parser
from uncollapse.cli.progress import Bars, say
from uncollapse.reporting.protocols import samples_tables
from uncollapse.reporting.table import print_table
from uncollapse.samples import judge_samples


def run(arguments: Sequence[str]) -> int:
    """Draw a corpus from the prior, write it and judge it by two language models."""
    parser = Parser(
        "samples", "Draw a corpus from the prior, and judge it by language models trained here. Repeat to resume."
    )
    parser.add("run", metavar="RUN", help="the run folder")
    parser.add(
        "-n", type=int, default=10_000, metavar="N", help="sentences, at most as many as trained on (default 10000)"
    )
    parser.add("--epochs", type=int, default=5, metavar="N", help="of each language model (default 5)")
    parser.add("--out", default="", metavar="DIR", help="where all goes (default: RUN/samples)")
    parser.add("--overwrite", action="store_true", help="replace another corpus and its judges in DIR")
    add_decoding(parser, "sample")
    parser.add_settings(["data.path", "data.valid", "data.test"])
    asked, settings = parser.parse(arguments)
    how, done = decoding(asked), uc.load(asked.run)
    splits, remarks = done.splits(settings.get("data"))
    for remark in remarks:
        say(remark)
    out = Path(asked.out) if asked.out else done.path / "samples"
    with Bars() as bars:

        def announce(name: str) -> Bars:
            say(f"-- {name}")
            return bars

        try:
            found = judge_samples(done, splits, out, asked.n, asked.epochs, asked.seed, how, announce, asked.overwrite)
        except uc.Interrupted:
            say("stopped; the state is saved. The same command goes on.")
            return 130
    if asked.json:
        print(json.dumps(found, indent=2))
        return 0
    for table in samples_tables(found):
        print_table(table)
    print(f"the sentences: {out / 'drawn' / 'train.txt'}")
    return 0
