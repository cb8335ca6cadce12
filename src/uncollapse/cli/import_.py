"""`uncollapse import`."""

from pathlib import Path

from uncollapse.cli.inputs import read_splits
from uncollapse.cli.output import say
from uncollapse.cli.parser import Parser
from uncollapse.interop.checkpoints import KINDS, import_run


def run(arguments: list[str]) -> None:
    """Make a run folder of a checkpoint of another repository."""
    kinds = "; ".join(f"{kind}: {what}" for kind, what in KINDS.items())
    parser = Parser("import", f"Make a run folder of another repository's checkpoint. {kinds}.")
    parser.add_argument("kind", metavar="KIND", help=" or ".join(KINDS))
    parser.add_argument("state", metavar="STATE.pt", help="its state, as torch.save wrote it")
    parser.flag("--vocab-from", "FILE", "the training text that it numbered its words by", needed=True)
    parser.flag("--out", "DIR", "the run folder", needed=True)
    parser.switch("--overwrite", "replace a run that is there")
    parser.add_settings(["data.path", "data.valid", "data.test", "data.format"])
    asked, settings = parser.parse(arguments)
    done = import_run(
        asked.kind,
        Path(asked.state),
        Path(asked.vocab_from),
        out=Path(asked.out),
        data=settings.get("data"),
        overwrite=asked.overwrite,
    )
    read_splits(done, {})
    network = done.config.settings()["decoder"]
    sizes = f"z {done.model.latent}, emb {network['emb']}, hidden {network['hidden']}"
    say(f"{done.path}: {sizes}, {len(done.vocabulary):,} words")
    say(f"next: uncollapse evaluate {done.path} --iw-samples 500 --iw-sentences all")
