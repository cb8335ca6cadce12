"""`uncollapse compare`."""

from collections.abc import Sequence
from pathlib import Path

from uncollapse.cli.parser import Parser
from uncollapse.errors import UserError
from uncollapse.reporting.table import comparison_table, print_table
from uncollapse.run import RunFolder


def run(arguments: Sequence[str]) -> None:
    """Print one table of evaluated runs."""
    parser = Parser("compare", "Show evaluated runs side by side.")
    parser.add("runs", nargs="+", metavar="RUN", help="run folders that `uncollapse evaluate` has measured")
    parser.add("--split", default="test", metavar="NAME", help="train, valid or test (default)")
    asked, _ = parser.parse(arguments)
    found = {}
    for path in asked.runs:
        folder = RunFolder(Path(path))
        origin = folder.origin()
        metrics = folder.metrics()
        if asked.split not in metrics:
            raise UserError(
                f"{path}: not evaluated on {asked.split}; run `uncollapse evaluate {path} --split {asked.split}`"
            )
        name = "+".join(origin.remedies) or origin.recipe
        found[path if name in found else name] = metrics[asked.split]
    print_table(comparison_table(found, asked.split))
