"""Published tables as files of data: rows, settings, published numbers, tolerances, what a smaller tier reduces.

A study is a YAML file in `studies/`, or one of your own; `reproduction` runs it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from uncollapse.errors import UserError, suggest
from uncollapse.files import expect, read_yaml
from uncollapse.generation.decoding import Decoding
from uncollapse.runs.config import Settings, folder_name
from uncollapse.runs.protocols import PROTOCOLS
from uncollapse.runs.samples import FEWEST

FOLDER = Path(__file__).parent / "studies"
NUMBER, SETTINGS = (int, float), {str: {str: object}}
TEXTS = ("title", "source", "protocol", "recipe")
OPTIONAL: dict[str, Any] = {
    "data": "",
    "stand_in": {},
    "protocols": [],
    "decodings": {},
    "figure": [],
    "axis": "",
    "bracket": "published",
}
FORM = {
    **dict.fromkeys((*TEXTS, "data", "axis", "bracket"), str),
    "stand_in": {str: object},
    "protocols": [str],
    "decodings": {str: {"strategy": str}},
    "figure": [str],
    "columns": {str: {str: object}},
    "rows": [{"name": str}],
    "tiers": {str: {"seeds": int}},
}
COLUMN_FORM = {"digits": int, "tolerance": NUMBER, "better": str}
ROW: dict[str, Any] = {"remedies": [], "settings": {}, "published": {}, "why": "", "line": "", "at": 0}
ROW_FORM = {"remedies": [str], "settings": SETTINGS, "published": {str: NUMBER}, "why": str, "line": str, "at": NUMBER}
TIER: dict[str, Any] = {"settings": {}, "bound": {}, "reduced": "", "data": "", "corpus": {}, "rows": {}}
TIER_FORM = {
    "settings": SETTINGS,
    "bound": {str: (int, bool, type(None))},
    "reduced": str,
    "data": str,
    "corpus": {str: int},
    "rows": {str: SETTINGS},
}
"""What a study holds: the forms of its parts, and what they have where they leave it out."""
TierName = Literal["minutes", "hours", "full"]
Better = Literal["lower", "higher", "neither"]


@dataclass(frozen=True)
class Column:
    """A number of the table.

    Attributes:
        digits: that are shown.
        tolerance: a difference up to this counts as none.
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
        bound: of the evaluation: iw_samples (0, no bound, by default), iw_sentences (all by default), adaptive (whether
            `nll_adaptive` is measured too).
        reduced: what is smaller than published; empty where nothing is, and verdicts are given.
        data: the file or folder that is read in place of the study's.
        corpus: `sentences` and `epochs` of the language models that judge a corpus of every decoding (`trials.Corpora`); empty:
            none is drawn.
        rows: changes to single rows, by their names; they win over all others.
    """

    seeds: int
    settings: Settings
    bound: Mapping[str, Any]
    reduced: str
    data: str = ""
    corpus: Mapping[str, int] = field(default_factory=dict)
    rows: Mapping[str, Settings] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One row: a training, and what was published of it.

    Attributes:
        name: of the row.
        remedies: of the training.
        settings: of this row alone; they win over those of the tier for all rows.
        published: number by column.
        why: a known reason for a difference.
        line: of a figure of the columns, to which the row belongs.
        at: its place on the axis there.
    """

    name: str
    remedies: tuple[str, ...] = ()
    settings: Settings = field(default_factory=dict)
    published: Mapping[str, float] = field(default_factory=dict)
    why: str = ""
    line: str = ""
    at: float = 0.0


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
        stand_in: settings of `data` for an embedded corpus that serves in the minutes tier where that folder is absent.
        protocols: of `protocols.PROTOCOLS`, measured on the test split.
        columns: the numbers of the table.
        rows: its rows.
        tiers: how far it may be run.
        figure: panels of a figure over training, `posterior-mean-space`, `columns`: the numbers by row, or where rows have a
            `line`, a line each over `at`, or `interpolations`: a text by row and decoding; empty for none.
        axis: what `at` is.
        bracket: what the numbers `published` are, where no table prints them, such as a target that ours should reach.
        decodings: by name; a row of the table for each, where a corpus of each is drawn.
    """

    name: str
    title: str
    source: str
    protocol: str
    recipe: str
    data: str
    stand_in: Mapping[str, Any]
    protocols: tuple[str, ...]
    columns: Mapping[str, Column]
    rows: tuple[Row, ...]
    tiers: Mapping[TierName, Tier]
    figure: tuple[str, ...] = ()
    axis: str = ""
    bracket: str = "published"
    decodings: Mapping[str, Decoding] = field(default_factory=dict)


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
    content, where = OPTIONAL | read_yaml(path), str(path)
    expect(content, FORM, where)
    for key, column in content["columns"].items():
        expect(asdict(Column()) | column, COLUMN_FORM, f"{where}, columns, {key}")
    for number, row in enumerate(content["rows"]):
        expect(ROW | row, ROW_FORM, f"{where}, rows, entry {number}")
    for key, tier in content["tiers"].items():
        expect(TIER | tier, TIER_FORM, f"{where}, tiers, {key}")
        if tier["seeds"] < 1:
            raise UserError(f"{where}, tiers, {key}: expected at least one seed, got {tier['seeds']}")
        if (sentences := tier.get("corpus", {}).get("sentences", FEWEST)) < FEWEST:
            raise UserError(f"{where}, tiers, {key}: expected a corpus of at least {FEWEST} sentences, got {sentences}")
    names = [row["name"] for row in content["rows"]]
    if not names:
        raise UserError(f"{where}: expected at least one row, got none")
    published = [key for row in content["rows"] for key in row.get("published", ())]
    better = [column.get("better", "neither") for column in content["columns"].values()]
    corpus, of_rows, bound = (
        [key for tier in content["tiers"].values() for key in tier.get(part, ())]
        for part in ("corpus", "rows", "bound")
    )
    unknown = {
        "tier": (content["tiers"], get_args(TierName)),
        "setting of a corpus": (corpus, ("sentences", "epochs")),
        "setting of the bound": (bound, ("iw_samples", "iw_sentences", "adaptive")),
        "row": (of_rows, names),
        "protocol": (content["protocols"], PROTOCOLS),
        "column of a published number": (published, content["columns"]),
        "better": (better, get_args(Better)),
    }
    for kind, (given, known) in unknown.items():
        if wrong := [one for one in given if one not in known]:
            raise UserError(f"{where}: unknown {kind} {wrong[0]!r}: {suggest(wrong[0], known)}")
    for kind, given in (("rows", names), ("decodings", content["decodings"])):
        if len({folder_name(name) for name in given}) < len(given):
            raise UserError(f"{where}: expected {kind} with different names, got {', '.join(given)}")
    if (corpus or content["figure"] == ["interpolations"]) and not content["decodings"]:
        raise UserError(f"{where}: expected decodings for a corpus and for interpolations, got none")
    if several := [key for key, how in content["decodings"].items() if how.get("n_best", 1) != 1]:
        raise UserError(f"{where}: one sentence is decoded a code, got n_best in decoding {several[0]}")
    try:
        return Study(
            path.stem,
            **{key: content[key] for key in (*TEXTS, "data", "stand_in", "axis", "bracket")},
            protocols=tuple(content["protocols"]),
            columns={key: Column(**values) for key, values in content["columns"].items()},
            rows=tuple(Row(**{**row, "remedies": tuple(row.get("remedies", ()))}) for row in content["rows"]),
            tiers={key: Tier(**{**TIER, **tier}) for key, tier in content["tiers"].items()},
            figure=tuple(content["figure"]),
            decodings={key: Decoding(**how) for key, how in content["decodings"].items()},
        )
    except (TypeError, UserError) as error:
        raise UserError(f"{where}: {str(error).partition('() ')[2] or error}") from None


def select_rows(study: Study, names: Sequence[str]) -> tuple[Study, list[str]]:
    """Return the study with the named rows alone, or with all where none is named; and the names of the others.

    Raises:
        UserError: a name of no row.
    """
    known = [row.name for row in study.rows]
    if wrong := [name for name in names if name not in known]:
        raise UserError(f"study {study.name} has no row {wrong[0]!r}: {suggest(wrong[0], known)}")
    rows = tuple(row for row in study.rows if row.name in (names or known))
    return replace(study, rows=rows), [row.name for row in study.rows if row not in rows]
