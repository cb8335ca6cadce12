"""`uncollapse evaluate`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uncollapse as uc
from uncollapse.api import PROTOCOLS, choose_split
from uncollapse.cli.parser import Parser
from uncollapse.cli.progress import Bars, say
from uncollapse.errors import UserError, nearest
from uncollapse.evaluation.evaluate import Evaluation, expected_seconds
from uncollapse.evaluation.verdict import judge
from uncollapse.files import write_atomically
from uncollapse.launch import spell_time
from uncollapse.reporting.protocols import protocol_tables
from uncollapse.reporting.table import evaluation_table, print_table


def run(arguments: Sequence[str]) -> None:
    """Evaluate a run on a split; table or JSON to stdout, and into metrics.json."""
    parser = Parser("evaluate", "Measure a run. The papers' protocol is --iw-samples 500 --iw-sentences all.")
    parser.add("run", metavar="RUN", help="the run folder")
    parser.add("--split", default="test", metavar="NAME", help="train, valid or test (default)")
    parser.add(
        "--iw-samples",
        type=int,
        default=50,
        metavar="K",
        help="samples of the importance-weighted bound (default 50; 0: leave it out)",
    )
    parser.add(
        "--iw-sentences",
        default="500",
        metavar="N",
        help="sentences that it is measured on, or all (default 500)",
    )
    parser.add(
        "--adaptive",
        action="store_true",
        help="draw from a proposal fitted to each sentence: the error of K draws or less, with far fewer",
    )
    parser.add(
        "--precision",
        choices=["fp32", "bf16"],
        default="fp32",
        help="of the decoder in the importance-weighted bound (default fp32)",
    )
    parser.add_seed()
    parser.add(
        "--protocol",
        default="",
        metavar="NAME",
        help="also: reconstruction, by length; aggregate, the codes beside the prior; samples, how varied and new; probe, "
        "what the code knows of labels; twr, the TWR-VAE paper's own numbers (not a bound); tense, the scores of the tense lab; "
        "transfer, a classifier's view of changed labels",
    )
    parser.add("--all", action="store_true", help="every protocol that fits the run")
    parser.add("--json", action="store_true", help="print JSON instead of a table")
    parser.add("--per-sentence", default="", metavar="FILE", help="also write one row a sentence (TSV)")
    parser.add_settings(["data.path", "data.valid", "data.test", "data.pairs", "data.directions"])
    asked, settings = parser.parse(arguments)
    if asked.iw_samples < 0:
        raise UserError(f"--iw-samples: expected an integer of at least 0, got {asked.iw_samples}")
    if asked.protocol and asked.protocol not in PROTOCOLS:
        raise UserError(f"unknown protocol {asked.protocol!r}: {nearest(asked.protocol, PROTOCOLS)}")
    sentences = _count(asked.iw_sentences)
    if asked.per_sentence and Path(asked.per_sentence).is_dir():
        raise UserError(f"--per-sentence: expected a file, got the folder {asked.per_sentence}")
    done = uc.load(asked.run)
    splits, remarks = done.splits(settings.get("data"))
    for remark in remarks:
        say(remark)
    corpus = choose_split(splits, asked.split)
    if asked.all and asked.protocol:
        raise UserError("expected --all or --protocol, got both")
    names = done.protocols(splits) if asked.all else [asked.protocol] if asked.protocol else []
    if "twr" in names:
        say("the numbers of the TWR paper's protocol are not a bound")
    # what cannot be measured is said before the long evaluation
    data = settings.get("data")
    found: dict[str, Any] = {}
    for name in names:
        say(f"protocol {name}")
        try:
            found |= done.by_protocol(name, splits, asked.split, asked.seed, data)
        except UserError as error:
            if not asked.all:
                raise
            say(f"left out: {error}")
    how = (asked.adaptive, asked.precision)
    seconds = expected_seconds(done.model, corpus, asked.iw_samples, sentences, *how)
    say(f"about {spell_time(seconds)} for {len(corpus):,} sentences")
    with Bars() as bars:
        result = done.evaluate_on(splits, asked.split, asked.iw_samples, sentences, asked.seed, bars.stage, found, *how)
    if asked.per_sentence:
        write_atomically(Path(asked.per_sentence), _rows(result, corpus.texts()).encode())
    if asked.json:
        print(json.dumps(result.metrics, indent=2))
    else:
        print_table(evaluation_table(result.metrics, f"{done.path} on {asked.split}"))
        for table in protocol_tables(result.metrics):
            print_table(table)
        verdict = judge(result.metrics)
        print(f"verdict: {verdict.state} ({verdict.evidence})")


def _count(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isdigit() or int(text) < 1:
        raise UserError(f"--iw-sentences: expected a positive integer or all, got {text!r}")
    return int(text)


def _rows(result: Evaluation, texts: list[str]) -> str:
    """Return a TSV: distortion, rate, nll_elbo, nll_iw (where it was measured) and the text of every sentence."""
    iw = dict(zip(result.iw.indices.tolist(), result.iw.per_sentence.tolist(), strict=True)) if result.iw else {}
    rows = ["distortion\trate\tnll_elbo\tnll_iw\ttext"]
    scores = result.scores
    for i, text in enumerate(texts):
        bound = f"{iw[i]:.4f}" if i in iw else ""
        rows.append(f"{scores.distortion[i]:.4f}\t{scores.rate[i]:.4f}\t{scores.nll_elbo[i]:.4f}\t{bound}\t{text}")
    return "\n".join(rows) + "\n"
