"""Tables of what the protocols of `evaluate` find."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from uncollapse.reporting.formats import heading
from uncollapse.runs.protocols import PROTOCOLS

COLUMNS = {name: column for protocol in PROTOCOLS.values() for name, column in protocol.columns.items()}
ROW_TABLES = {name: title for protocol in PROTOCOLS.values() for name, title in protocol.rows.items()}

SHOWN_ROWS = 10
"""Rows of words from the prior that are printed."""


def protocol_tables(metrics: Mapping[str, Any]) -> list[Table]:
    """Return what a protocol added to an evaluation: scores, directions, the lab's pairs, examples."""
    tables = []
    scores = [(name, digits, what) for name, (digits, what) in COLUMNS.items() if name in metrics]
    if scores:
        table = _plain_table("by protocol")
        for name, digits, what in scores:
            error = f" +- {metrics[f'{name}_se']:.{digits}f}" if f"{name}_se" in metrics else ""
            table.add_row(name, f"{metrics[name]:.{digits}f}{error}", what)
        tables.append(table)
    if rates := metrics.get("rate_by_dimension"):
        best = sorted(range(len(rates)), key=lambda d: -rates[d])[:7]
        table.add_row("most rate", "  ".join(f"{d}: {rates[d]:.2f}" for d in best), "dimension: nats")
    of_rows = {name: _rows_table(title, metrics[name]) for name, title in ROW_TABLES.items() if name in metrics}
    if "bleu_signature" in metrics:
        of_rows["reconstruction"].caption = metrics["bleu_signature"]
    tables += of_rows.values()
    if directions := metrics.get("heldout_directions"):
        table = _plain_table("conversions of the test split, share exact, by direction")
        table.add_row("  ".join(f"{direction} {share:.2f}" for direction, share in directions.items()))
        tables.append(table)
    if pairs := metrics.get("tense_pairs"):
        table = _plain_table("the lab's pairs")
        for pair in pairs:
            right = "" if pair["written"] == pair["reference"] else f"(should be {pair['reference']})"
            table.add_row(
                f"{pair['source']} > {pair['target']}", pair["word"], pair["written"], f"{pair['bleu4']:.3f}", right
            )
        by_target = metrics["tense_bleu4_by_target"]
        table.add_row("by target", "  ".join(f"{name} {score:.3f}" for name, score in by_target.items()))
        tables.append(table)
    for name in ("gaussian_rows", "fitted_rows"):
        if name in metrics:
            prior = "prior" if name.startswith("gaussian") else "fitted prior"
            table = _plain_table(
                f"rows from the {prior}, the first {SHOWN_ROWS} of {len(metrics[name])} in metrics.json"
            )
            for row in metrics[name][:SHOWN_ROWS]:
                table.add_row(row)
            tables.append(table)
    if examples := metrics.get("transfer_examples"):
        table = _plain_table("transferred sentences")
        for example in examples:
            table.add_row(example["from"], f"to {example['to']}:", example["written"])
        tables.append(table)
    return tables


def samples_tables(judged: Mapping[str, Any]) -> list[Table]:
    """Return the tables of a judged corpus."""
    table = Table(title=heading("perplexity per predicted token"), title_justify="left", box=None, padding=(0, 2))
    table.add_column("a language model trained on")
    for column in ("scores drawn", "scores real"):
        table.add_column(column, justify="right")
    shown = {name: f"{judged[name]:.2f} +- {judged[f'{name}_se']:.2f}" for name in judged if f"{name}_se" in judged}
    table.add_row("real sentences", f"{shown['ppl_forward']} (forward)", shown["ppl_real"])
    table.add_row("drawn sentences", shown["ppl_drawn"], f"{shown['ppl_reverse']} (reverse)")
    return [table, _rows_table(ROW_TABLES["samples"], judged["samples"])]


def _rows_table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return rows, the keys of the fullest as columns; what a row lacks stays empty."""
    keys = dict.fromkeys(name for row in rows for name in row)
    names = [name for name in keys if name.removesuffix("_se") == name or name.removesuffix("_se") not in keys]
    table = Table(title=heading(title), title_justify="left", box=None, padding=(0, 2))
    for number, name in enumerate(names):
        table.add_column(name, justify="right" if number else "left")
    for row in rows:
        table.add_row(*(_cell(row.get(name, ""), row.get(f"{name}_se")) for name in names))
    return table


def _cell(value: float | int | str, error: float | None = None) -> str:
    """Write a value, with its standard error where it has one."""
    if not isinstance(value, float):
        return str(value)
    digits = 3 if abs(value) < 2 else 1
    return f"{value:.{digits}f}" + (f" +- {error:.{digits}f}" if error is not None else "")


def _plain_table(title: str) -> Table:
    return Table(title=heading(title), title_justify="left", show_header=False, box=None, padding=(0, 2))
