"""Tables of text for a terminal, and as Markdown, LaTeX and CSV."""

import csv
import io
from collections.abc import Callable, Collection, Sequence

from rich.table import Table
from rich.text import Text

Rows = Sequence[Sequence[str]]
LATEX = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
}
"""How LaTeX writes the characters that it would obey."""


def heading(title: str) -> Text:
    """Return the title of a table, which is not wrapped where the table is narrower than it."""
    return Text(title, style="table.title", no_wrap=True, overflow="ignore")


def terminal_table(
    title: str, head: Sequence[str], rows: Rows, *, text_columns: Collection[int] = (0,), dim: Collection[int] = ()
) -> Table:
    """Return a table for a terminal; all but the columns of text are set to the right, and some rows are dim."""
    table = Table(title=heading(title), title_justify="left", box=None)
    for number, name in enumerate(head):
        table.add_column(name, justify="left" if number in text_columns else "right")
    for number, row in enumerate(rows):
        table.add_row(*row, style="dim" if number in dim else None)
    return table


def markdown_table(head: Sequence[str], rows: Rows) -> str:
    """Return a table in Markdown."""
    lines = ["| " + " | ".join(part.replace("|", r"\|") for part in row) + " |" for row in (head, *rows)]
    return "\n".join([lines[0], "|" + "|".join([" --- "] * len(head)) + "|", *lines[1:]])


def latex_text(text: str) -> str:
    """Return text with the characters that LaTeX would obey written out."""
    return "".join(LATEX.get(sign, sign) for sign in text)


def latex_table(head: Sequence[str], rows: Rows, *, text_columns: Collection[int] = (0,)) -> str:
    """Return a LaTeX tabular; all but the columns of text are set to the right."""
    columns = "".join("l" if number in text_columns else "r" for number in range(len(head)))
    body = [" & ".join(map(latex_text, row)) + r" \\" for row in (head, *rows)]
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\hline", body[0], r"\hline", *body[1:], r"\hline", r"\end{tabular}"]
    return "\n".join(lines)


def csv_table(head: Sequence[str], rows: Rows) -> str:
    """Return a table as CSV."""
    content = io.StringIO()
    csv.writer(content, lineterminator="\n").writerows([head, *rows])
    return content.getvalue().rstrip("\n")


FORMATS: dict[str, Callable[[Sequence[str], Rows], str]] = {
    "markdown": markdown_table,
    "latex": latex_table,
    "csv": csv_table,
}
"""Name -> from a head and rows to text."""
