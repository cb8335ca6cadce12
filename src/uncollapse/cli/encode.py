"""`uncollapse encode`."""

import io
from pathlib import Path
from typing import Any

import numpy as np

import uncollapse as uc
from uncollapse.cli.inputs import add_sentences, sentences_and_labels
from uncollapse.cli.output import one_line, say, show
from uncollapse.cli.parser import Parser
from uncollapse.errors import UserError
from uncollapse.files import write_atomically


def run(arguments: list[str]) -> None:
    """Write the posterior of every sentence to a file, or its mean as TSV to stdout."""
    parser = Parser("encode", "Write the codes of sentences: their posterior means.")
    add_sentences(parser)
    parser.flag("--out", "FILE", ".npz (mu, logvar [N, Z], texts) or .tsv (mu, then the text); default: TSV to stdout")
    asked, _ = parser.parse(arguments)
    out = Path(asked.out)
    if asked.out and out.suffix not in (".npz", ".tsv"):
        raise UserError(f"--out: expected a file named *.npz or *.tsv, got {asked.out!r}")
    done = uc.load(asked.run)
    texts, labels = sentences_and_labels(done, asked)
    posterior = done.posterior(texts, labels)
    if out.suffix == ".npz":
        content = io.BytesIO()
        parts: dict[str, Any] = {name: value.numpy() for name, value in posterior.tensors.items()}
        np.savez_compressed(content, texts=np.array(texts), **parts)
        write_atomically(out, content.getvalue())
    else:
        table = "\n".join(
            "\t".join([*(f"{value:.6g}" for value in mu), one_line(text)])
            for mu, text in zip(posterior.mean.tolist(), texts, strict=True)
        )
        if not asked.out:
            show(table)
            return
        write_atomically(out, f"{table}\n".encode())
    say(f"{len(texts):,} codes of {posterior.mean.shape[1]} dimensions written to {asked.out}")
