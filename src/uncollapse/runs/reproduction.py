"""A study run: every row trained with several seeds, measured, and compared with the published numbers.

Finished runs are not trained again.
"""

import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from uncollapse.data.catalogue import entries
from uncollapse.errors import UserError
from uncollapse.runs.checks import validate
from uncollapse.runs.compose import compose
from uncollapse.runs.config import Settings, folder_name, merge
from uncollapse.runs.executors import HERE, Executor, run_trials
from uncollapse.runs.folder import RunFolder
from uncollapse.runs.study import Column, Row, Study, TierName
from uncollapse.runs.trials import Announce, Corpora, Trial
from uncollapse.runs.version import code_version


@dataclass(frozen=True)
class Outcome:
    """A row, run.

    Attributes:
        row: what was run.
        values: of every seed, by column; a column that no run has is absent.
        epochs: trained with each seed.
        states: the verdict on the latent space of each seed.
        runs: the folder of each seed.
        verdict: reproduced, better, not reproduced, or why no comparison is made.
        decoding: by which a corpus was drawn, where one was.
    """

    row: Row
    values: Mapping[str, Sequence[float]]
    epochs: tuple[int, ...]
    states: tuple[str, ...]
    runs: tuple[Path, ...]
    verdict: str
    decoding: str = ""

    @property
    def name(self) -> str:
        """Return the row's name, and the decoding's."""
        return ", ".join(filter(None, (self.row.name, self.decoding)))


def data_settings(study: Study, tier_name: TierName, root: Path) -> tuple[Settings, str]:
    """Return where the data are, and what is said of them.

    Raises:
        UserError: a tier that the study has not; they are not there, and nothing stands in for them.
    """
    if tier_name not in study.tiers:
        raise UserError(f"study {study.name} has the tiers {', '.join(study.tiers)}, got {tier_name}")
    if not study.data:
        return {}, ""
    path = root / (study.tiers[tier_name].data or study.data)
    if path.exists():
        return {"data": {"path": str(path)}}, ""
    if tier_name != "minutes" or not study.stand_in:
        public = f"; or: uncollapse data get {study.data}" if study.data in entries() else ""
        raise UserError(
            f"{path}: study {study.name} needs these data; name the folder that holds {study.data} by --data{public}"
        )
    name = study.stand_in["name"]
    return {"data": dict(study.stand_in)}, f"{path} is absent; the embedded corpus {name} is in its place"


def reproduce(
    study: Study,
    tier_name: TierName,
    root: Path,
    *,
    out: Path,
    callbacks: Announce,
    seeds: int = 0,
    executor: Executor = HERE,
) -> tuple[list[Outcome], list[str]]:
    """Train and measure every row of a study; return them, and what was reduced.

    Args:
        study: what is reproduced.
        tier_name: how far.
        root: the folder of all data.
        out: of the runs, one folder a row and seed.
        callbacks: from the name of a run to what watches its training.
        seeds: of each row; 0 for those of the tier.
        executor: where they are trained.

    Raises:
        UserError: a tier that the study has not, absent data, and all that `train` raises.
    """
    data, absent = data_settings(study, tier_name, root)
    tier = study.tiers[tier_name]
    settings = [merge(data, tier.settings, row.settings, tier.rows.get(row.name, {})) for row in study.rows]
    for row, changes in zip(study.rows, settings, strict=True):  # a wrong one is said before any is trained
        validate(compose(study.recipe, row.remedies, changes))
    bound, every = {"iw_samples": 0, "iw_sentences": None, **tier.bound}, range(1, (seeds or tier.seeds) + 1)
    corpora = Corpora(study.decodings, **tier.corpus) if tier.corpus else None
    trials = [
        Trial(
            out / f"{folder_name(row.name)}-{seed}",
            study.recipe,
            row.remedies,
            seed,
            changes,
            study.protocols,
            corpora=corpora,
            **bound,
        )
        for row, changes in zip(study.rows, settings, strict=True)
        for seed in every
    ]
    numbers, reduced = run_trials(trials, callbacks, executor), list(filter(None, (tier.reduced, absent)))
    outcomes = []
    for i, row in enumerate(replace(row, published={}) if absent else row for row in study.rows):  # those of other data
        these = slice(i * len(every), (i + 1) * len(every))
        runs = tuple(trial.path for trial in trials[these])
        epochs, states = tuple(one["epochs"] for one in numbers[these]), tuple(one["state"] for one in numbers[these])
        for name in study.decodings if corpora else [""]:
            of_seeds = [_with_corpus(one, name) for one in numbers[these]] if name else numbers[these]
            values = {
                column: [one[column] for one in of_seeds]
                for column in study.columns
                if all(column in one for one in of_seeds)
            }
            verdict = "reduced: not compared" if reduced else judge_row(row, study.columns, values)
            outcomes.append(Outcome(row, values, epochs, states, runs, verdict, name))
    return outcomes, reduced


def _with_corpus(numbers: Mapping[str, Any], decoding: str) -> dict[str, Any]:
    """Return the numbers of a run with those of one corpus: perplexities, `drawn_vocabulary`, `real_vocabulary` and so on."""
    judged = numbers["corpora"][decoding]
    drawn, real = judged["samples"]
    of_sentences = {f"{kind}_{name}": one[name] for kind, one in (("drawn", drawn), ("real", real)) for name in one}
    return {**numbers, **judged, **of_sentences}


def judge_row(row: Row, columns: Mapping[str, Column], values: Mapping[str, Sequence[float]]) -> str:
    """Return the verdict on a row.

    A number is reproduced where it differs from the published one by no more than its tolerance and two standard errors of its
    mean over seeds.
    """
    worse, improved = [], False
    for name, published in row.published.items():
        column, ours = columns[name], values.get(name)
        if not ours:
            worse.append(f"{name} was not measured")
            continue
        error = stdev(ours) / math.sqrt(len(ours)) if len(ours) > 1 else 0.0
        difference = mean(ours) - published
        if abs(difference) <= column.tolerance + 2 * error:
            continue
        if (difference < 0) == (column.better == "lower") and column.better != "neither":
            improved = True
        else:
            worse.append(f"{name} {difference:+.{column.digits}f}")
    if not row.published:
        return "nothing published"
    if worse:
        return f"not reproduced: {', '.join(worse)}" + f" ({row.why})" * bool(row.why)
    return "better" if improved else "reproduced"


def provenance(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return what a table was made by: versions (of the training of every run, and of the table), machine, checksums of data."""
    folders = [RunFolder(run) for one in outcomes for run in one.runs]
    trained = dict.fromkeys(str(entry["code"]) for folder in folders for entry in folder.log() if "code" in entry)
    now = code_version()
    first = folders[0]
    return {
        "uncollapse": ", ".join(trained) + f" (table: {now})" * (now not in trained) if trained else now,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads"
        + (f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""),
        "data": {part: entry["fingerprint"] for part, entry in first.corpus().items()},
    }
