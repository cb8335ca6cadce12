"""`uncollapse report`."""

from pathlib import Path

import uncollapse as uc
from uncollapse.cli.output import show
from uncollapse.cli.parser import Parser
from uncollapse.cli.progress import Bars
from uncollapse.errors import UserError
from uncollapse.files import write_atomically
from uncollapse.reporting.report import default_path, report
from uncollapse.runs.comparison import short_names
from uncollapse.runs.shipped import refuse_shipped


def run(arguments: list[str]) -> None:
    """Write a web page about runs."""
    parser = Parser(
        "report",
        "Write one web page about runs: verdict and findings, numbers, figures, samples, reconstructions, settings. It works "
        "from a file, without a network. What was not measured is measured first, as by `doctor`.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders")
    parser.flag("--split", "NAME", "train, valid or test", default="test")
    parser.flag("--out", "FILE", "the page (default: report.html in the run folder, or beside the folders of several)")
    asked, _ = parser.parse(arguments)
    loaded = [uc.load(path) for path in asked.runs]
    runs = dict(zip(short_names(asked.runs, [one.folder.origin() for one in loaded]), loaded, strict=True))
    path = Path(asked.out) if asked.out else default_path(runs)
    if path.suffix not in (".html", ".htm"):
        raise UserError(f"--out: expected a file named *.html, got {path.name!r}")
    for one in loaded if not asked.out else ():
        refuse_shipped(one.path)
    with Bars() as bars:
        page = report(runs, asked.split, track=bars.track)
    write_atomically(path, page.encode())
    show(f"written to {path}")
