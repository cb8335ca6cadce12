"""`uncollapse encode`."""

import io
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

import uncollapse as uc
from uncollapse.cli.parser import Parser
from uncollapse.cli.progress import say
from uncollapse.cli.reconstruct import add_label, add_sentences, labels_given, read_sentences, say_unknown
from uncollapse.errors import UserError
from uncollapse.files import write_atomically


def read_codes(path: Path) -> np.ndarray:
    """Read codes `[N, Z]` from a .npy, or the means from a .npz that `encode` wrote.

    Raises:
        UserError: a file that holds no codes.
    """
    try:
        found = np.load(path, allow_pickle=False)
        codes = found["mu"] if isinstance(found, np.lib.npyio.NpzFile) else found
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise UserError(f"{path}: expected codes, a .npy [N, Z] or a .npz of encode ({error})") from None
    if codes.ndim != 2 or codes.dtype.kind not in "fi":
        raise UserError(f"{path}: expected codes of shape [N, Z], got {list(codes.shape)} of {codes.dtype}")
    return codes


def run(arguments: Sequence[str]) -> None:
    """Write mu and logvar of every sentence to a file, or mu as TSV to stdout."""
    parser = Parser("encode", "Write the codes of sentences: their posterior means.")
    add_sentences(parser)
    add_label(parser, "without it FILE must hold labels, as the training file did")
    parser.add(
        "--out",
        default="",
        metavar="FILE",
        help=".npz (arrays mu, logvar [N, Z] and texts) or .tsv (mu, then the text); default: TSV to stdout",
    )
    asked, _ = parser.parse(arguments)
    if asked.out and Path(asked.out).suffix not in (".npz", ".tsv"):
        raise UserError(f"--out: expected a file named *.npz or *.tsv, got {asked.out!r}")
    done = uc.load(asked.run)
    found = read_sentences(asked.file, done, asked.label)
    say_unknown(found.texts, done)
    texts = found.texts
    posterior = done.posterior(texts, labels_given(asked.label, found, done))
    if asked.out.endswith(".npz"):
        content = io.BytesIO()
        np.savez_compressed(content, mu=posterior.mu.numpy(), logvar=posterior.logvar.numpy(), texts=np.array(texts))
        write_atomically(Path(asked.out), content.getvalue())
    else:
        rows = (
            "\t".join([*(f"{value:.6g}" for value in mu), text.replace("\t", " ").replace("\n", "/")])
            for mu, text in zip(posterior.mu.tolist(), texts, strict=True)
        )
        table = "\n".join(rows) + "\n"
        if not asked.out:
            print(table, end="")
            return
        write_atomically(Path(asked.out), table.encode())
    say(f"{len(texts):,} codes of {posterior.mu.shape[1]} dimensions written to {asked.out}")
