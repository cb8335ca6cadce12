"""`uncollapse compare`."""

from uncollapse.cli.parser import Parser
from uncollapse.cli.progress import show_table
from uncollapse.errors import UserError
from uncollapse.reporting.table import comparison_table
from uncollapse.runs.folder import RunFolder
from uncollapse.runs.shipped import run_path


def run(arguments: list[str]) -> None:
    """Print one table of evaluated runs."""
    parser = Parser("compare", "Show evaluated runs side by side.")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders that `uncollapse evaluate` has measured")
    parser.flag("--split", "NAME", "train, valid or test", default="test")
    asked, _ = parser.parse(arguments)
    differing = {}
    for path in asked.runs:
        folder = RunFolder(run_path(path))
        origin, metrics = folder.origin(), folder.metrics()
        if asked.split not in metrics:
            again = f"uncollapse evaluate {path} --split {asked.split}"
            raise UserError(f"{path}: not evaluated on {asked.split}; run `{again}`")
        name = "+".join(origin.remedies) or origin.recipe
        differing[path if name in differing else name] = metrics[asked.split]
    show_table(comparison_table(differing, asked.split))
