"""The table of a study: ours as mean and spread beside the published number, for the terminal, Markdown and LaTeX."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from rich.table import Table

from uncollapse.files import write_atomically
from uncollapse.reporting.canvas import label, legend, panels, save, style
from uncollapse.reporting.curves import curves_figure, recorded
from uncollapse.reporting.formats import latex_table, latex_text, markdown_table, terminal_table
from uncollapse.reporting.mean_space import draw_mean_space
from uncollapse.runs.api import load as load_run
from uncollapse.runs.folder import RunFolder
from uncollapse.runs.reproduction import Outcome
from uncollapse.runs.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ARROWS = 100, 105
"""Steps from and to which one point's way is drawn where half steps are recorded: few enough to tell the arrows apart."""


def cells(study: Study, outcomes: Sequence[Outcome]) -> tuple[list[str], list[list[str]]]:
    """Return the head of the table and its rows: `ours ± spread [published]` (or what else stands in brackets)."""
    shown = [name for name in study.columns if any(name in one.values or name in one.row.published for one in outcomes)]
    head = ["row", "seeds", "epochs", *shown, "latent space", "verdict"]
    return head, [
        [
            one.name,
            str(len(one.runs)),
            " to ".join(map(str, sorted({min(one.epochs), max(one.epochs)}))),
            *(_cell(one, name, study.columns[name].digits) for name in shown),
            ", ".join(sorted(set(one.states))),
            one.verdict,
        ]
        for one in outcomes
    ]


def _cell(outcome: Outcome, name: str, digits: int) -> str:
    ours, published = outcome.values.get(name), outcome.row.published.get(name)
    text = f"{mean(ours):.{digits}f}" if ours else ""
    text += f" ± {stdev(ours):.{digits}f}" if ours and len(ours) > 1 else ""
    return f"{text} [{published:.{digits}f}]".strip() if published is not None else text


def rich_table(study: Study, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Return the table for a terminal; the last two columns are words."""
    title = f"{study.title}\nours ± standard deviation over seeds [{study.bracket}]"
    return terminal_table(title, head, rows, text_columns=(0, len(head) - 2, len(head) - 1))


def studies_table(studies: Sequence[Study]) -> Table:
    """Return the list of studies for a terminal."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for study in studies:
        table.add_row(study.name, f"{study.title} ({study.source}; {', '.join(study.tiers)})")
    return table


def draw_figures(study: Study, outcomes: Sequence[Outcome], out: Path) -> list[Path]:
    """Draw what a study has for a figure, runs by the first seed of each row; return the files."""
    folders = {one.row.name: RunFolder(one.runs[0]) for one in outcomes}
    if study.figure == ("posterior-mean-space",):
        files = {out / f"{folder.path.name}.png": folder for folder in folders.values()}
        for file, folder in files.items():
            records = folder.mean_space()
            if records.half.any():
                draw_mean_space(records, file, ARROWS if set(ARROWS) <= set(records.steps.tolist()) else (), point=0)
            else:
                draw_mean_space(records, file)
        return list(files)
    if study.figure == ("interpolations",):
        file = out / "interpolations.md"
        write_atomically(file, interpolations(study, folders).encode())
        return [file]
    if not study.figure:
        return []
    file = out / "figure.png"
    if study.figure == ("columns",):
        save(columns_figure(study, outcomes), file)
    else:
        logs = {name: folder.log() for name, folder in folders.items()}
        save(curves_figure(logs, names=[panel for panel in study.figure if recorded(logs, panel)]), file)
    return [file]


def interpolations(study: Study, folders: Mapping[str, RunFolder], steps: int = 8, seed: int = 0) -> str:
    """Write the way between two draws from the prior, the same for every row: a Markdown table a row, a column a decoding."""
    parts = [f"# {study.title}"]
    for row, folder in folders.items():
        run = load_run(folder.path)
        ways = [run.interpolate(steps=steps, decode=how, seed=seed) for how in study.decodings.values()]
        cells = [[escape(text, quote=False) for text in texts] for texts in zip(*ways, strict=True)]
        parts.append(markdown_table([row, *study.decodings], [[str(i), *texts] for i, texts in enumerate(cells, 1)]))
    return "\n\n".join(parts) + "\n"


def columns_figure(study: Study, outcomes: Sequence[Outcome]) -> "Figure":
    """Draw one panel a number of the table: ours with the spread over seeds, a line each, and the published numbers."""
    shown = [name for name in study.columns if any(name in one.values for one in outcomes)]
    figure, axes = panels(len(shown), size=(3.1, 3.2), columns=len(shown))
    lines = list(dict.fromkeys(one.row.line for one in outcomes))
    places = [one.row.at if one.row.line else i for i, one in enumerate(outcomes)]
    for axis, name in zip(axes, shown, strict=True):
        for number, line in enumerate(lines):
            there = [i for i, one in enumerate(outcomes) if one.row.line == line and name in one.values]
            values = [outcomes[i].values[name] for i in there]
            spread = [stdev(ours) if len(ours) > 1 else 0.0 for ours in values]
            at, ours = [places[i] for i in there], [mean(ours) for ours in values]
            axis.errorbar(at, ours, spread, fmt="o-", color=style(number)["color"], capsize=3, label=line or "ours")
        theirs = {places[i]: one.row.published[name] for i, one in enumerate(outcomes) if name in one.row.published}
        if theirs:
            axis.plot(list(theirs), list(theirs.values()), "D", color="0.3", fillstyle="none", label=study.bracket)
        if theirs or any(lines):
            legend(axis)
        label(axis, name, study.axis)
        if not any(lines):
            axis.set_xticks(places, [one.name for one in outcomes], rotation=45, ha="right", fontsize=8)
    return figure


def seed_cells(study: Study, outcomes: Sequence[Outcome]) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of a table of every seed; no row where each has one."""
    shown = [name for name in study.columns if any(name in one.values for one in outcomes)]
    many = [one for one in outcomes if len(one.runs) > 1]
    return ["row", "seed", *shown], [
        [one.name, run.name.rpartition("-")[2], *(_one(one, name, study.columns[name].digits, i) for name in shown)]
        for one in many
        for i, run in enumerate(one.runs)
    ]


def _one(outcome: Outcome, name: str, digits: int, seed: int) -> str:
    return f"{outcome.values[name][seed]:.{digits}f}" if name in outcome.values else ""


def markdown(study: Study, outcomes: Sequence[Outcome], *, notes: Sequence[str] = (), made: Mapping[str, Any]) -> str:
    """Return the table as a Markdown page with its protocol and provenance; under it, where there are several, every seed."""
    (head, rows), (seed_head, seeds) = cells(study, outcomes), seed_cells(study, outcomes)
    about = [f"# {study.title}", "", f"Source: {study.source}", "", f"Protocol: {study.protocol}", ""]
    about += [part for note in notes for part in (f"**Reduced:** {note}", "")]
    made_by = "; ".join(f"{name} {value}" for name, value in made.items() if name != "data")
    data = "; ".join(f"{part} {checksum}" for part, checksum in made["data"].items())
    closing = ["", f"Ours ± standard deviation over seeds [{study.bracket}].", ""]
    closing += ["Every seed:", "", markdown_table(seed_head, seeds), ""] if seeds else []
    closing += [f"Made by {made_by}. Data: {data}.", ""]
    return "\n".join([*about, markdown_table(head, rows), *closing])


def latex(study: Study, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the table as a LaTeX tabular; the last two columns are words."""
    caption = latex_text(f"{study.title}. {study.source}")
    return f"% {caption}\n{latex_table(head, rows, text_columns=(0, len(head) - 2, len(head) - 1))}\n"
