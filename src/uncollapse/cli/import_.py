"""`uncollapse import`."""

from collections.abc import Sequence
from pathlib import Path

from uncollapse.cli.parser import Parser
from uncollapse.cli.progress import say
from uncollapse.errors import UserError
from uncollapse.importers import KINDS, import_run


def run(arguments: Sequence[str]) -> None:
    """Make a run folder of a checkpoint of another repository."""
    kinds = "; ".join(f"{kind}: {what}" for kind, what in KINDS.items())
    parser = Parser("import", f"Make a run folder of another repository's checkpoint. {kinds}.")
    parser.add("kind", metavar="KIND", help=" or ".join(KINDS))
    parser.add("state", metavar="STATE.pt", help="its state, as torch.save wrote it")
    parser.add(
        "--vocab-from", default="", metavar="FILE", help="the training text that it numbered its words by (needed)"
    )
    parser.add("--out", default="", metavar="DIR", help="the run folder (needed)")
    parser.add("--overwrite", action="store_true", help="replace a run that is there")
    parser.add_settings(["data.path", "data.valid", "data.test", "data.format"])
    asked, settings = parser.parse(arguments)
    for flag in ("vocab_from", "out"):
        if not getattr(asked, flag):
            raise UserError(f"import: expected --{flag.replace('_', '-')}")
    done = import_run(
        asked.kind, Path(asked.state), Path(asked.vocab_from), Path(asked.out), settings.get("data"), asked.overwrite
    )
    for remark in done.splits()[1]:
        say(remark)
    sizes = done.config.model
    say(f"{done.path}: z {sizes.latent}, emb {sizes.emb}, hidden {sizes.hidden}, {len(done.vocabulary):,} words")
    say(f"next: uncollapse evaluate {done.path} --iw-samples 500 --iw-sentences all")
