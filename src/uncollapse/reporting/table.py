"""Tables of evaluations."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from uncollapse.reporting.formats import heading
from uncollapse.runs.bench import Result


def evaluation_table(metrics: Mapping[str, Any], title: str) -> Table:
    """Return one evaluation, a row a number, with its protocol."""
    table = Table(title=heading(title), title_justify="left", show_header=False, box=None, padding=(0, 2))
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
        rows.append(("twr paper's own", own, str(metrics.get("twr_protocol", "not a bound"))))
    rows.append(("mi", f"{_with_error(metrics, 'mi', 'mi_se', 3)}, cap {metrics['mi_cap']:.2f}", "nats, pooled"))
    rows.append(("au", f"{metrics['au']} of {metrics['latent']}", "variance of mu >= 0.01"))
    for row in rows:
        table.add_row(*row)
    return table


def bench_table(results: Sequence[Result], times: Mapping[str, float], seeds: int) -> Table:
    """Return the table of a bench: a row a remedy, means over seeds and their standard deviations."""
    over = f"; mean +- standard deviation over {seeds} seeds" if seeds > 1 else "; one seed"
    title = f"test split, nats per sentence (EOS counted, BOS not){over}"
    table = Table(title=heading(title), title_justify="left", box=None)
    table.add_column("remedy")
    digits = {"nll_iw": 2, "nll_elbo": 2, "distortion": 2, "rate": 2, "mi": 2, "au": 1, "accuracy": 3}
    digits |= {"heldout_exact": 3, "gaussian_score": 3, "gaussian_distinct": 1}
    digits = {name: n for name, n in digits.items() if any(name in result.values for result in results)}
    for column in (*digits, "time"):
        table.add_column(column, justify="right")
    table.add_column("verdict")
    for result in results:
        cells = [_over_seeds(result, name, n, seeds) for name, n in digits.items()]
        table.add_row(
            result.remedy,
            *cells,
            "-" if math.isnan(times[result.remedy]) else f"{times[result.remedy]:.2f}x",
            ", ".join(sorted(set(result.states))),
        )
    if results and results[0].floor is not None:
        table.add_row("floor (exact)", f"{results[0].floor:.2f}", style="dim")
    return table


def _over_seeds(result: Result, name: str, digits: int, seeds: int) -> str:
    if name not in result.values:
        return ""
    spread = f" +- {result.spread(name):.{digits}f}" if seeds > 1 else ""
    return f"{result.mean(name):.{digits}f}{spread}"


def _with_error(metrics: Mapping[str, Any], key: str, error: str, digits: int) -> str:
    value = f"{metrics[key]:.{digits}f}"
    return f"{value} +- {metrics[error]:.{digits}f}" if error and error in metrics else value
