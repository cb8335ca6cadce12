"""Published tables as files of data, run again: rows, settings, published numbers, tolerances, what a smaller tier reduces.

A study is a YAML file in `studies/`; `reproduce` trains its rows with several seeds, measures them, and compares them with the
published numbers. Finished runs are not trained again.
"""

import math
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Literal, cast, get_args

import torch

from uncollapse.errors import UserError, suggest
from uncollapse.files import expect, read_yaml
from uncollapse.runs.bench import measured
from uncollapse.runs.build import validate
from uncollapse.runs.config import Settings, compose, merge
from uncollapse.runs.folder import RunFolder
from uncollapse.runs.run import train
from uncollapse.training.callbacks import Callback

FOLDER = Path(__file__).parent / "studies"
TierName = Literal["minutes", "hours", "full"]
Better = Literal["lower", "higher", "neither"]


@dataclass(frozen=True)
class Column:
    """A number of the table.

    Attributes:
        digits: that are shown.
        tolerance: a difference from the published number that is none.
        better: which way is an improvement.
    """

    digits: int = 2
    tolerance: float = 0.0
    better: Better = "neither"


@dataclass(frozen=True)
class Tier:
    """How far a study is run.

    Attributes:
        seeds: of each row.
        settings: changes to all rows.
        bound: of the evaluation: iw_samples, iw_sentences.
        reduced: what is smaller than published; empty where nothing is, and verdicts are given.
    """

    seeds: int
    settings: Settings
    bound: Mapping[str, Any]
    reduced: str = ""


@dataclass(frozen=True)
class Row:
    """One row: a training, and what was published of it.

    Attributes:
        name: of the row.
        remedies: of the training.
        settings: of this row alone.
        published: number by column.
        why: a known reason for a difference.
    """

    name: str
    remedies: tuple[str, ...] = ()
    settings: Settings = field(default_factory=dict)
    published: Mapping[str, float] = field(default_factory=dict)
    why: str = ""


@dataclass(frozen=True)
class Study:
    """A published table or figure.

    Attributes:
        name: of the study.
        title: what it shows.
        source: paper and table.
        protocol: how the published numbers were measured, and how ours are.
        recipe: of all rows.
        data: the folder of its data, in the folder of all data; empty for an embedded corpus.
        stand_in: data settings of an embedded corpus that serves in the minutes tier where that folder is absent.
        protocols: of `protocols.PROTOCOLS`, measured on the test split.
        columns: the numbers of the table.
        rows: its rows.
        tiers: how far it may be run.
        figure: panels of a figure over training, `posterior-mean-space`, or `columns`: the numbers by row; empty for none.
    """

    name: str
    title: str
    source: str
    protocol: str
    recipe: str
    data: str
    stand_in: Settings
    protocols: tuple[str, ...]
    columns: Mapping[str, Column]
    rows: tuple[Row, ...]
    tiers: Mapping[TierName, Tier]
    figure: tuple[str, ...] = ()


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
    """

    row: Row
    values: Mapping[str, Sequence[float]]
    epochs: tuple[int, ...]
    states: tuple[str, ...]
    runs: tuple[Path, ...]
    verdict: str


def studies() -> list[str]:
    """Return the names of the studies that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_study(name: str) -> Study:
    """Read a study by its name, or from a YAML file of one's own.

    Raises:
        UserError: no such study, or a file that is none.
    """
    own = name.endswith((".yaml", ".yml"))
    if not own and name not in studies():
        raise UserError(f"unknown study {name!r}: {suggest(name, studies())}")
    path = Path(name) if own else FOLDER / f"{name}.yaml"
    content, where = read_yaml(path), str(path)
    texts = dict.fromkeys(("title", "source", "protocol", "recipe"), str)
    expect(content, {**texts, "columns": {str: dict}, "rows": [{"name": str}], "tiers": {str: {"seeds": int}}}, where)
    if wrong := set(content["tiers"]) - set(get_args(TierName)):
        raise UserError(f"{where}: expected the tiers {', '.join(get_args(TierName))}, got {wrong.pop()!r}")
    try:
        return Study(
            path.stem,
            **{key: content[key] for key in texts},
            data=content.get("data", ""),
            stand_in={"data": content.get("stand_in", {})},
            protocols=tuple(content.get("protocols", ())),
            columns={key: Column(**values) for key, values in content["columns"].items()},
            rows=tuple(Row(**{**row, "remedies": tuple(row.get("remedies", ()))}) for row in content["rows"]),
            tiers={
                key: Tier(
                    tier["seeds"],
                    tier.get("settings", {}),
                    {"iw_samples": 0, "iw_sentences": None} | tier.get("bound", {}),
                    tier.get("reduced", ""),
                )
                for key, tier in content["tiers"].items()
            },
            figure=tuple(content.get("figure", ())),
        )
    except TypeError as error:
        raise UserError(f"{where}: {error}") from None


def data_settings(study: Study, tier: Tier, root: Path) -> tuple[Settings, str]:
    """Return where the data are, and what is said of them.

    Raises:
        UserError: they are not there, and nothing stands in for them.
    """
    if not study.data:
        return {}, ""
    path = root / study.data
    if path.exists():
        return {"data": {"path": str(path)}}, ""
    if not tier.reduced or not study.stand_in["data"]:
        raise UserError(
            f"{path}: study {study.name} needs these data; name the folder that holds {study.data} by --data"
        )
    names = ", ".join(f"{name} {value}" for name, value in study.stand_in["data"].items())
    return study.stand_in, f"{path} is absent: embedded data in its place ({names})"


def reproduce(
    study: Study,
    tier_name: TierName,
    root: Path,
    *,
    out: Path,
    callbacks: Callable[[str], Sequence[Callback]],
    seeds: int = 0,
) -> tuple[list[Outcome], list[str]]:
    """Train and measure every row of a study; return them, and what was reduced.

    Args:
        study: what is reproduced.
        tier_name: how far.
        root: the folder of all data.
        out: of the runs, one folder a row and seed.
        callbacks: from the name of a run to what watches its training.
        seeds: of each row; 0 for those of the tier.

    Raises:
        UserError: a tier that the study has not, absent data, and all that `train` raises.
    """
    if tier_name not in study.tiers:
        raise UserError(f"study {study.name} has the tiers {', '.join(study.tiers)}, got {tier_name}")
    tier = study.tiers[tier_name]
    data, absent = data_settings(study, tier, root)
    settings = [merge(data, row.settings, tier.settings) for row in study.rows]
    for row, changes in zip(study.rows, settings, strict=True):  # a wrong one is said before any is trained
        validate(compose(study.recipe, row.remedies, changes))
    outcomes = []
    for row, changes in zip(study.rows, settings, strict=True):
        runs, numbers = [], []
        for seed in range(1, (seeds or tier.seeds) + 1):
            path = out / f"{row.name.replace(' ', '-').replace('/', '-')}-{seed}"
            resume, sections = RunFolder(path).config_file.exists(), cast(dict[str, Any], changes)
            watching = callbacks(path.name)
            run = train(study.recipe, row.remedies, seed, out=path, resume=resume, callbacks=watching, **sections)
            numbers.append(measured(run, **tier.bound, protocols=study.protocols))
            runs.append(path)
        values = {name: [one[name] for one in numbers] for name in study.columns if all(name in one for one in numbers)}
        epochs, states = tuple(one["epochs"] for one in numbers), tuple(one["state"] for one in numbers)
        reduced = "; ".join(filter(None, (tier.reduced, absent)))
        verdict = "reduced: not compared" if reduced else judge_row(row, study.columns, values)
        outcomes.append(Outcome(row, values, epochs, states, tuple(runs), verdict))
    return outcomes, list(filter(None, (tier.reduced, absent)))


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
        return f"not reproduced: {row.why or ', '.join(worse)}"
    return "better" if improved else "reproduced"


def provenance(outcomes: Sequence[Outcome], version: str) -> dict[str, Any]:
    """Return what a table was made by: versions, machine, checksums of the data."""
    here = Path(__file__).parent
    try:
        asked = ["git", "-C", str(here), "describe", "--always", "--dirty"]
        commit = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = ""
    first = RunFolder(outcomes[0].runs[0])
    return {
        "uncollapse": f"{version} {commit}".strip(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads"
        + (f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""),
        "data": {part: entry["fingerprint"] for part, entry in first.corpus().items()},
    }
