"""`uncollapse models`."""

import shutil
from pathlib import Path

from uncollapse.cli.output import say, show
from uncollapse.cli.parser import Parser
from uncollapse.errors import UserError
from uncollapse.runs.folder import RunFolder
from uncollapse.runs.shipped import PREFIX, run_path, shipped


def run(arguments: list[str]) -> None:
    """List the small trained runs that come with the package, or copy one."""
    parser = Parser("models", "List the small trained runs that come with the package, or copy one to a folder.")
    parser.add_argument("name", nargs="?", default="", metavar="NAME", help="a run; without: list them")
    parser.flag("--out", "DIR", "copy it there, to evaluate or to train it further")
    asked, _ = parser.parse(arguments)
    if not asked.name:
        for name in shipped():
            folder = RunFolder(run_path(f"{PREFIX}{name}"))
            origin, metrics = folder.origin(), folder.metrics()["test"]
            numbers = f"{metrics['state']}, rate {metrics['rate']:.2f}, MI {metrics['mi']:.2f}"
            made = " + ".join((f"recipe {origin.recipe}", *origin.remedies))
            show(f"{PREFIX}{name:<10} {made}: {numbers}, {folder.model_file.stat().st_size / 2**20:.1f} MiB")
        return
    source = run_path(asked.name if asked.name.startswith(PREFIX) else f"{PREFIX}{asked.name}")
    if not asked.out:
        raise UserError(f"models: expected --out DIR, the folder to copy {source.name} to")
    out = Path(asked.out)
    if "\0" in asked.out:
        raise UserError(f"models: expected --out DIR, got {asked.out!r}")
    if RunFolder(out).config_file.exists():
        raise UserError(f"{out}: a run is already there; choose another --out")
    shutil.copytree(source, out, dirs_exist_ok=True)
    say(f"{source.name} copied to {out}")
