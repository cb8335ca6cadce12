import io

from rich.console import Console

from uncollapse.cli.progress import show_table
from uncollapse.reporting.comparison import bounds_cells
from uncollapse.reporting.formats import markdown_table, terminal_table
from uncollapse.reporting.table import evaluation_table

METRICS = {
    "sentences": 10, "tokens": 50, "distortion": 16.0, "rate": 1.0, "nll_elbo": 17.0, "nll_elbo_se": 0.1, "ppl_elbo": 5.0,
    "nll_iw": 16.9, "nll_iw_se": 0.1, "ppl_iw": 4.9, "mi": 0.5, "mi_se": 0.01, "mi_cap": 2.3, "au": 2, "latent": 4,
    "nll_floor": 15.5, "protocol": {"nll_iw": "K = 50"},
}  # fmt: skip


def shown(table):
    out = io.StringIO()
    Console(file=out, width=160).print(table)
    return out.getvalue()


def test_the_floor_stands_beside_the_bounds():
    assert "15.500" in shown(evaluation_table(METRICS, "x")) and "5.000 a sentence" in shown(
        evaluation_table(METRICS, "x")
    )
    both = markdown_table(*bounds_cells({"one": METRICS, "two": METRICS}))
    assert "floor (exact)" in both and "15.50" in both and "16.90 +- 0.10" in both


def test_what_was_not_measured_is_not_shown():
    few = {key: value for key, value in METRICS.items() if "iw" not in key and key != "nll_floor"}
    assert "floor" not in shown(evaluation_table(few, "x")) and "nll_iw " not in shown(evaluation_table(few, "x"))


def test_a_wide_table_is_whole_in_a_pipe(capsys):
    head = [f"a_number_with_a_long_name_{i}" for i in range(12)]
    show_table(terminal_table("numbers", head, [["1.00"] * 12], text_columns=(0,)))
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == head and lines[2].split() == ["1.00"] * 12
