"""The table of a study: ours as mean and spread beside the published number, for the terminal, Markdown and LaTeX."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich.table import Table

from uncollapse.reporting.curves import COLOURS, draw_curves
from uncollapse.reporting.mean_space import draw_mean_space
from uncollapse.runs.folder import RunFolder
from uncollapse.runs.reproduction import Outcome
from uncollapse.runs.study import Study

LATEX = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "±": r"$\pm$",
}
"""How LaTeX writes the characters that it would obey."""


def cells(study: Study, outcomes: Sequence[Outcome]) -> tuple[list[str], list[list[str]]]:
    """Return the head of the table and its rows: `ours ± spread [published]`."""
    shown = [name for name in study.columns if any(name in one.values or name in one.row.published for one in outcomes)]
    head = ["row", "seeds", "epochs", *shown, "latent space", "verdict"]
    return head, [
        [
            one.row.name,
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
    """Return the table for a terminal."""
    table = Table(
        title=f"{study.title}\nours ± standard deviation over seeds [published]", title_justify="left", box=None
    )
    for number, name in enumerate(head):
        table.add_column(name, justify="right" if 0 < number < len(head) - 2 else "left")
    for row in rows:
        table.add_row(*row)
    return table


def draw_figures(study: Study, outcomes: Sequence[Outcome], out: Path) -> list[Path]:
    """Draw what a study has for a figure, runs by the first seed of each row; return the files."""
    folders = {one.row.name: RunFolder(one.runs[0]) for one in outcomes}
    if study.figure == ("posterior-mean-space",):
        files = {out / f"{folder.path.name}.png": folder for folder in folders.values()}
        for file, folder in files.items():
            draw_mean_space(folder.mean_space(), file)
        return list(files)
    if not study.figure:
        return []
    file = out / "figure.png"
    if study.figure == ("columns",):
        draw_columns(study, outcomes, file)
    else:
        draw_curves({name: folder.log() for name, folder in folders.items()}, file, panels=study.figure)
    return [file]


def draw_columns(study: Study, outcomes: Sequence[Outcome], path: Path) -> None:
    """Draw one panel a number of the table: ours with the spread over seeds by row, and the published numbers."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = [name for name in study.columns if any(name in one.values for one in outcomes)]
    figure, axes = plt.subplots(1, len(shown), figsize=(3.1 * len(shown), 3.2), squeeze=False, layout="constrained")
    for axis, name in zip(axes.flat, shown, strict=True):
        places = [i for i, one in enumerate(outcomes) if name in one.values]
        values = [outcomes[i].values[name] for i in places]
        spread = [stdev(ours) if len(ours) > 1 else 0.0 for ours in values]
        axis.errorbar(
            places, [mean(ours) for ours in values], spread, fmt="o-", color=COLOURS[0], capsize=3, label="ours"
        )
        theirs = {i: one.row.published[name] for i, one in enumerate(outcomes) if name in one.row.published}
        if theirs:
            axis.plot(list(theirs), list(theirs.values()), "D", color=COLOURS[1], fillstyle="none", label="published")
            axis.legend(fontsize=8, frameon=False)
        axis.set_title(name, fontsize=10)
        axis.set_xticks(range(len(outcomes)), [one.row.name for one in outcomes], rotation=45, ha="right", fontsize=8)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def markdown(
    study: Study, head: Sequence[str], rows: Sequence[Sequence[str]], *, notes: Sequence[str], made: Mapping[str, Any]
) -> str:
    """Return the table as a Markdown page with its protocol and provenance."""
    lines = ["| " + " | ".join(part.replace("|", r"\|") for part in row) + " |" for row in (head, *rows)]
    lines.insert(1, "|" + "|".join([" --- "] * len(head)) + "|")
    about = [f"# {study.title}", "", f"Source: {study.source}", "", f"Protocol: {study.protocol}", ""]
    about += [part for note in notes for part in (f"**Reduced:** {note}", "")]
    made_by = "; ".join(f"{name} {value}" for name, value in made.items() if name != "data")
    data = "; ".join(f"{part} {checksum}" for part, checksum in made["data"].items())
    closing = ["", "Ours ± standard deviation over seeds [published].", "", f"Made by {made_by}. Data: {data}.", ""]
    return "\n".join([*about, *lines, *closing])


def latex(study: Study, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the table as a LaTeX tabular."""
    body = [
        " & ".join("".join(LATEX.get(sign, sign) for sign in part) for part in row) + r" \\" for row in (head, *rows)
    ]
    columns = "l" + "r" * (len(head) - 3) + "ll"
    caption = "".join(LATEX.get(sign, sign) for sign in f"{study.title}. {study.source}")
    return "\n".join(
        [
            f"% {caption}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\hline",
            body[0],
            r"\hline",
            *body[1:],
            r"\hline",
            r"\end{tabular}",
            "",
        ]
    )
