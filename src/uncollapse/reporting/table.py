"""Tables of evaluations."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from rich.console import Console
from rich.table import Table

# column -> (metric, its standard error or empty, digits)
COLUMNS = {
    "nll_iw": ("nll_iw", "nll_iw_se", 2),
    "nll_elbo": ("nll_elbo", "", 2),
    "distortion": ("distortion", "", 2),
    "rate": ("rate", "", 3),
    "mi": ("mi", "mi_se", 2),
    "au": ("au", "", 0),
    "ppl_iw": ("ppl_iw", "", 2),
}


# what a protocol may add: metric -> (digits, what it is)
PROTOCOL_ROWS = {
    "tense_bleu4": (4, "the lab's BLEU-4, mean over its pairs"),
    "gaussian_score": (3, "share of draws from the prior whose forms are a training row; 10 sets of 100"),
    "gaussian_distinct": (1, "distinct training rows in 100 draws"),
    "gaussian_new": (3, "share that is no training row, but well-formed English"),
    "gaussian_known": (3, "share of words that occur in training"),
    "fitted_score": (3, "the same under the prior fitted to the training codes"),
    "fitted_distinct": (1, ""),
    "fitted_new": (3, ""),
    "fitted_known": (3, ""),
    "training_exact": (3, "exact conversions of the first 200 training rows, all directions"),
    "heldout_exact": (3, "exact conversions of verbs never seen, all directions"),
    "heldout_exact_regular": (3, "of regular verbs"),
    "heldout_exact_irregular": (3, "of irregular verbs"),
    "heldout_bleu4": (4, "mean BLEU-4 of these conversions"),
    "heldout_copied": (3, "share whose source came back where another form was right"),
    "heldout_reconstructed": (3, "exact reconstructions of verbs never seen"),
    "transfer_exact": (3, "exact conversions between forms of this split"),
    "transfer_bleu4": (4, "mean BLEU-4 of these"),
    "transfer_copied": (3, "share whose source came back where another form was right"),
    "classifier_accuracy": (3, "of a classifier of n-grams on real sentences"),
    "transfer_accuracy": (3, "share of transferred sentences in which it sees the new label"),
    "transfer_self_bleu4": (3, "mean BLEU-4 of a transferred sentence with its source"),
    "reconstruction_accuracy": (3, "share of reconstructions in which it sees the label kept"),
    "reconstruction_bleu4": (3, "mean BLEU-4 of these with their source"),
    "leak_accuracy": (3, "label read from z by a linear probe, on sentences it was not fitted to"),
    "leak_majority": (3, "what saying the most frequent label would reach"),
}


def print_table(table: Table) -> None:
    """Print a table to stdout, never cut to the width of a terminal that is not there."""
    console = Console(highlight=False)
    console.print(table) if console.is_terminal else Console(highlight=False, width=160).print(table)


def evaluation_table(metrics: Mapping[str, Any], title: str) -> Table:
    """Return one evaluation, a row a number, with its protocol."""
    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2))
    rows = [
        (
            "sentences, tokens",
            f"{metrics['sentences']:,}, {metrics['tokens']:,} ({metrics['tokens'] / metrics['sentences']:.3f} a sentence)",
            "EOS counted, BOS not",
        ),
        ("distortion", f"{metrics['distortion']:.3f}", "nats per sentence"),
        ("rate", f"{metrics['rate']:.3f}", "nats per sentence"),
        ("nll_elbo", _with_error(metrics, "nll_elbo", "nll_elbo_se", 3), "distortion + rate"),
    ]
    if "nll_iw" in metrics:
        rows.append(("nll_iw", _with_error(metrics, "nll_iw", "nll_iw_se", 3), metrics["protocol"]["nll_iw"]))
    if "nll_floor" in metrics:
        rows.append(("nll_floor", f"{metrics['nll_floor']:.3f}", "exact: no model can honestly be below it"))
    rows.append(
        (
            "perplexity",
            f"{metrics['ppl_elbo']:.2f} (elbo)" + (f", {metrics['ppl_iw']:.2f} (iw)" if "ppl_iw" in metrics else ""),
            "per predicted token",
        )
    )
    if "twr_nll" in metrics:
        own = f"{metrics['twr_nll']:.3f}, kl {metrics['twr_kl']:.3f}, ppl {metrics['twr_ppl']:.2f}"
        rows.append(("twr paper's own", own, "not a bound: z = mu, KL averaged over time, BOS counted"))
    rows.append(("mi", f"{_with_error(metrics, 'mi', 'mi_se', 3)}, cap {metrics['mi_cap']:.2f}", "nats, pooled"))
    rows.append(("au", f"{metrics['au']} of {metrics['latent']}", "variance of mu >= 0.01"))
    for row in rows:
        table.add_row(*row)
    return table


def protocol_tables(metrics: Mapping[str, Any]) -> list[Table]:
    """Return what a protocol added to an evaluation: scores, directions, the lab's pairs, examples."""
    tables = []
    scores = [(name, digits, what) for name, (digits, what) in PROTOCOL_ROWS.items() if name in metrics]
    if scores:
        table = _plain_table("forms and labels")
        for name, digits, what in scores:
            error = f" +- {metrics[f'{name}_se']:.{digits}f}" if f"{name}_se" in metrics else ""
            table.add_row(name, f"{metrics[name]:.{digits}f}{error}", what)
        tables.append(table)
    if directions := metrics.get("heldout_directions"):
        table = _plain_table("held-out conversions, share exact, by direction")
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
    for name in ("gaussian_examples", "fitted_examples"):
        if name in metrics:
            table = _plain_table(f"rows from the {'prior' if name.startswith('gaussian') else 'fitted prior'}")
            for row in metrics[name]:
                table.add_row(row)
            tables.append(table)
    if examples := metrics.get("transfer_examples"):
        table = _plain_table("transferred sentences")
        for example in examples:
            table.add_row(example["from"], f"to {example['to']}:", example["written"])
        tables.append(table)
    return tables


def _plain_table(title: str) -> Table:
    return Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2))


def comparison_table(runs: Mapping[str, Mapping[str, Any]], split: str) -> Table:
    """Return several evaluations, a row a run, and the floor where it is known."""
    table = Table(
        title=f"{split} split, nats per sentence (EOS counted, BOS not); +- one standard error",
        title_justify="left",
        box=None,
    )
    table.add_column("run")
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for name, metrics in runs.items():
        cells = (_with_error(metrics, *COLUMNS[column]) if COLUMNS[column][0] in metrics else "" for column in COLUMNS)
        table.add_row(name, *cells)
    floors = {metrics["nll_floor"] for metrics in runs.values() if "nll_floor" in metrics}
    if len(floors) == 1:
        table.add_row("floor (exact)", f"{floors.pop():.2f}", *([""] * (len(COLUMNS) - 1)), style="dim")
    return table


class Summary(Protocol):
    """Several runs of one remedy, as `bench` sums them up."""

    @property
    def remedy(self) -> str:
        """Its name."""

    @property
    def values(self) -> Mapping[str, Sequence[float]]:
        """For each number shown, that of every seed."""

    @property
    def floor(self) -> float | None:
        """The lowest NLL that any model can reach, where it is known."""

    @property
    def states(self) -> tuple[str, ...]:
        """The verdict of each seed."""

    def mean(self, name: str) -> float:
        """Return the mean of a number over seeds."""

    def spread(self, name: str) -> float:
        """Return its standard deviation over seeds."""


def bench_table(results: Sequence[Summary], times: Mapping[str, float], seeds: int) -> Table:
    """Return the table of a bench: a row a remedy, means over seeds and their standard deviations."""
    over = f"; mean +- standard deviation over {seeds} seeds" if seeds > 1 else "; one seed"
    table = Table(title=f"test split, nats per sentence (EOS counted, BOS not){over}", title_justify="left", box=None)
    table.add_column("remedy")
    digits = {"nll_iw": 2, "nll_elbo": 2, "distortion": 2, "rate": 2, "mi": 2, "au": 1, "accuracy": 3}
    digits |= {"heldout_exact": 3, "gaussian_score": 3, "gaussian_distinct": 1}
    digits = {name: n for name, n in digits.items() if any(name in result.values for result in results)}
    for column in (*digits, "time"):
        table.add_column(column, justify="right")
    table.add_column("verdict")
    for result in results:
        cells = [_over_seeds(result, name, n, seeds) for name, n in digits.items()]
        table.add_row(result.remedy, *cells, f"{times[result.remedy]:.2f}x", ", ".join(sorted(set(result.states))))
    if results and results[0].floor is not None:
        table.add_row("floor (exact)", f"{results[0].floor:.2f}", style="dim")
    return table


def _over_seeds(result: Summary, name: str, digits: int, seeds: int) -> str:
    if name not in result.values:
        return ""
    spread = f" +- {result.spread(name):.{digits}f}" if seeds > 1 else ""
    return f"{result.mean(name):.{digits}f}{spread}"


def _with_error(metrics: Mapping[str, Any], key: str, error: str, digits: int) -> str:
    value = f"{metrics[key]:.{digits}f}"
    return f"{value} +- {metrics[error]:.{digits}f}" if error and error in metrics else value
