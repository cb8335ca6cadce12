"""`uncollapse evaluate`."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import uncollapse as uc
from uncollapse.cli.inputs import read_splits
from uncollapse.cli.output import one_line, say, show
from uncollapse.cli.parser import Parser
from uncollapse.cli.progress import Bars, show_table
from uncollapse.errors import UserError, suggest
from uncollapse.evaluation.evaluate import Evaluation
from uncollapse.evaluation.verdict import judge
from uncollapse.files import write_atomically
from uncollapse.reporting.protocols import protocol_tables
from uncollapse.reporting.table import evaluation_table
from uncollapse.runs.config import converted
from uncollapse.runs.measure import measure, measure_protocol
from uncollapse.runs.protocols import PROTOCOLS
from uncollapse.runs.shipped import refuse_shipped
from uncollapse.tasks.syntax.pairs import read_minimal_pairs


def run(arguments: list[str]) -> None:
    """Evaluate a run on a split; table or JSON to stdout, and into metrics.json."""
    parser = Parser("evaluate", "Measure a run. The papers' protocol is --iw-samples 500 --iw-sentences all.")
    parser.add_run()
    parser.flag("--split", "NAME", "train, valid or test", default="test")
    parser.flag("--iw-samples", "K", "samples of the importance-weighted bound; 0: leave it out", default=50, least=0)
    parser.flag("--iw-sentences", "N", "sentences that it is measured on, or all", default="500")
    adaptive = "draw from a proposal fitted to each sentence: the error of K draws or less, with far fewer"
    parser.switch("--adaptive", adaptive)
    precision = "of the decoder in the importance-weighted bound (default fp32)"
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help=precision)
    parser.add_seed()
    offered = {name: protocol.help for name, protocol in PROTOCOLS.items() if not protocol.always}
    protocols = f"also: {'; '.join(f'{name}, {what}' for name, what in offered.items())}"
    parser.flag("--protocol", "NAME", protocols)
    parser.flag("--pairs", "FILE", "of minimal-pairs: CLASS<tab>RIGHT<tab>WRONG a line (default: generated ones)")
    parser.switch("--all", "every protocol that fits the run")
    parser.flag("--epoch", "N", "the weights that train.keep has kept of this epoch; 0: the best", default=0, least=0)
    parser.switch("--json", "print JSON instead of a table")
    parser.flag("--per-sentence", "FILE", "also write one row a sentence (TSV)")
    parser.add_settings(["data.path", "data.valid", "data.test", "data.pairs", "data.directions"])
    asked, settings = parser.parse(arguments)
    if asked.protocol and asked.protocol not in offered:
        raise UserError(f"unknown protocol {asked.protocol!r}: {suggest(asked.protocol, offered)}")
    sentences = _count(asked.iw_sentences)
    if asked.per_sentence and Path(asked.per_sentence).is_dir():
        raise UserError(f"--per-sentence: expected a file, got the folder {asked.per_sentence}")
    done = uc.load(asked.run, epoch=asked.epoch)
    refuse_shipped(done.path)
    splits = read_splits(done, settings)
    subject = done.subject(splits, asked.split, asked.seed, data=settings.get("data"))
    if asked.pairs and asked.protocol != "minimal-pairs":
        raise UserError("--pairs: is for --protocol minimal-pairs")
    if asked.pairs:
        subject = replace(subject, minimal_pairs=read_minimal_pairs(Path(asked.pairs)))
    if asked.all and asked.protocol:
        raise UserError("expected --all or --protocol, got both")
    names = [name for name in offered if PROTOCOLS[name].fits(subject)] if asked.all else [asked.protocol]
    # what cannot be measured is said before the long evaluation
    protocol_numbers: dict[str, Any] = {}
    for name in filter(None, names):
        say(f"protocol {name}: {PROTOCOLS[name].help}")
        try:
            protocol_numbers |= measure_protocol(name, subject)
        except UserError as error:
            if not asked.all:
                raise
            say(f"left out: {error}")
    how = {"iw_samples": asked.iw_samples, "iw_sentences": sentences, "adaptive": asked.adaptive}
    with Bars() as bars:
        result = measure(done.folder, subject, protocol_numbers, **how, precision=asked.precision, track=bars.track)
    if "reconstructions" in protocol_numbers:
        say(f"every sentence beside its reconstructions: {done.path / 'reconstructions.jsonl'}")
    if asked.per_sentence:
        write_atomically(Path(asked.per_sentence), _rows(result, subject.corpus.texts()).encode())
    if asked.json:
        show(json.dumps(result.metrics, indent=2))
    else:
        show_table(evaluation_table(result.metrics, f"{done.path} on {asked.split}"))
        for table in protocol_tables(result.metrics):
            show_table(table)
        verdict = judge(result.metrics)
        show(f"verdict: {verdict.state} ({verdict.evidence})")


def _count(text: str) -> int | None:
    if text == "all":
        return None
    count = converted(int, text)
    if not isinstance(count, int) or count < 2:
        raise UserError(f"--iw-sentences: expected an integer of at least 2, or all, got {text!r}")
    return count


def _rows(result: Evaluation, texts: list[str]) -> str:
    """Return a TSV: distortion, rate, nll_elbo, nll_iw (where it was measured) and the text of every sentence."""
    iw = dict(zip(result.iw.indices.tolist(), result.iw.per_sentence.tolist(), strict=True)) if result.iw else {}
    rows = ["distortion\trate\tnll_elbo\tnll_iw\ttext"]
    scores = result.scores
    for i, text in enumerate(texts):
        bound = f"{iw[i]:.4f}" if i in iw else ""
        rows.append(
            f"{scores.distortion[i]:.4f}\t{scores.rate[i]:.4f}\t{scores.nll_elbo[i]:.4f}\t{bound}\t{one_line(text)}"
        )
    return "\n".join(rows) + "\n"
