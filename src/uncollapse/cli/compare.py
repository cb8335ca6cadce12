"""`uncollapse compare`."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

import uncollapse as uc
from uncollapse.cli.output import say, show
from uncollapse.cli.parser import Parser
from uncollapse.cli.progress import show_table
from uncollapse.data.corpus import Corpus
from uncollapse.errors import UserError
from uncollapse.reporting.comparison import Cells, bounds_cells, paired_cells, protocol_cells, settings_cells
from uncollapse.reporting.formats import FORMATS, terminal_table
from uncollapse.runs.comparison import Paired, over_seeds, over_sentences, settings_that_differ, short_names
from uncollapse.runs.folder import RunFolder
from uncollapse.runs.run import Run
from uncollapse.runs.shipped import is_shipped, run_path

STEPS = 5
"""Sentences on the way from the first sentence shown to the last."""


def run(arguments: list[str]) -> None:
    """Print tables of evaluated runs."""
    parser = Parser(
        "compare",
        "Show evaluated runs side by side: bounds, protocols, the settings that differ, and paired tests of nll_elbo against "
        "the first run (over sentences; over seeds where there are several). The plane: `uncollapse plot RUN… plane`.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders that `uncollapse evaluate` has measured")
    parser.flag("--split", "NAME", "train, valid or test", default="test")
    formats = ("table", *FORMATS, "json")
    parser.add_argument("--format", choices=formats, default="table", help="of the tables (default table)")
    parser.switch("--no-test", "leave out the paired test over sentences, which reads the data")
    parser.flag(
        "--sentences", "N", "show so many sentences as each run reconstructs and interpolates them", default=0, least=0
    )
    asked, _ = parser.parse(arguments)
    folders = [RunFolder(run_path(path)) for path in asked.runs]
    origins = [folder.origin() for folder in folders]
    names = short_names(asked.runs, origins)
    evaluations = {}
    for name, path, folder in zip(names, asked.runs, folders, strict=True):
        metrics = folder.metrics()
        if asked.split not in metrics:
            again = f"uncollapse evaluate {path} --split {asked.split}"
            raise UserError(f"{path}: not evaluated on {asked.split}; run `{again}`")
        evaluations[name] = metrics[asked.split]
        if not metrics[asked.split].get("protocol", {}).get("same_as_training", True):
            say(f"{path}: these numbers are of other data than its own {asked.split} split")
        if (
            not is_shipped(folder.path)
            and metrics[asked.split].get("protocol", {}).get("weights") != folder.fingerprint()
        ):
            say(
                f"{path}: was trained further after this evaluation; run `uncollapse evaluate {path} --split {asked.split}`"
            )
    by_name = dict(zip(names, origins, strict=True))
    tests = over_seeds(by_name, evaluations)
    loaded: dict[str, Run] = {}
    if (len(names) > 1 and not asked.no_test) or asked.sentences:
        loaded = {name: uc.load(path) for name, path in zip(names, asked.runs, strict=True)}
    if len(names) > 1 and not asked.no_test:
        try:
            tests = [*over_sentences(loaded, asked.split), *tests]
        except UserError as error:
            say(f"no paired test over sentences: {error}")
    differing = settings_that_differ(by_name) if len(names) > 1 else {}
    if asked.format == "json":
        content = {
            "split": asked.split,
            "runs": evaluations,
            "settings": differing,
            "paired": [asdict(t) for t in tests],
        }
        show(json.dumps(content, indent=2))
        return
    _show_tables(evaluations, differing, tests, split=asked.split, format=asked.format)
    if asked.sentences:
        _show_sentences(
            {name: uc.load(path) for name, path in zip(names, asked.runs, strict=True)}, asked.split, asked.sentences
        )


def _show_tables(
    evaluations: Mapping[str, Mapping[str, Any]],
    differing: Mapping[str, Mapping[str, Any]],
    tests: list[Paired],
    *,
    split: str,
    format: str,
) -> None:
    title = f"{split} split, nats per sentence (EOS counted, BOS not); +- one standard error"
    tables: dict[str, Cells] = {
        title: bounds_cells(evaluations),
        "protocols": protocol_cells(evaluations),
        "settings that differ": settings_cells(differing),
        "paired tests of nll_elbo, one draw of q a sentence": paired_cells(tests, next(iter(evaluations))),
    }
    for name, (head, rows) in tables.items():
        if not rows:
            continue
        if format == "table":
            floor = [i for i, row in enumerate(rows) if row[0].startswith("floor")]
            show_table(
                terminal_table(name, head, rows, text_columns=(0, len(head) - 1) if name == title else (0,), dim=floor)
            )
        else:
            show(FORMATS[format](head, rows) + "\n")


def _show_sentences(runs: Mapping[str, Run], split: str, count: int) -> None:
    """Show sentences of a split as every run reconstructs them, and the way from the first to the last."""
    few = {name: _first(run, split, count) for name, run in runs.items() if run.model.latent}
    texts = [part.texts() for part in few.values()]
    if any(other != texts[0] for other in texts):
        raise UserError(f"--sentences: the runs have other {split} sentences, or other tokens")
    back = {name: runs[name].reconstruct(part.texts(), labels=runs[name].labels_of(part)) for name, part in few.items()}
    for number, text in enumerate(next(iter(few.values())).texts() if few else []):
        show(f"\n{text}")
        for name, written in back.items():
            show(f"  {name}: {written[number]}")
    for name, part in few.items():
        run = runs[name]
        codes = run.encode(part.texts(), run.labels_of(part))
        show(f"\n{name}, from the first to the last:")
        same = run.labels_of(part.subset(np.zeros(STEPS, dtype=np.int64)))  # those of the first, all the way
        for sentence in run.decode(run.interpolation(codes[0], codes[-1], STEPS), labels=same):
            show(f"  {sentence}")


def _first(run: Run, split: str, count: int) -> Corpus:
    corpus = run.subject(run.splits()[0], split).corpus
    return corpus.first(count)
