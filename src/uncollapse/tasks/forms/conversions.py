"""Conversion: encode a sentence under its own label, decode its code under another."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from uncollapse.data.corpus import Corpus
from uncollapse.evaluation.overlap import sentence_bleu
from uncollapse.evaluation.posterior import posteriors
from uncollapse.generation.decode import generate_ids
from uncollapse.model import VAE


@dataclass(frozen=True)
class Conversions:
    """Every form of some rows, written from the code of every form of its row.

    Attributes:
        forms: the true forms, `[R][C]`, as token ids.
        written: what was written for row r from form a under label b, `[R][C][C]`.
    """

    forms: Sequence[Sequence[Sequence[int]]]
    written: Sequence[Sequence[Sequence[Sequence[int]]]]

    @cached_property
    def exact(self) -> np.ndarray:
        """Return whether each was right, `[R, C, C]`."""
        return np.array(
            [
                [[list(forms[b]) == list(to) for b, to in enumerate(source)] for source in written]
                for forms, written in zip(self.forms, self.written, strict=True)
            ]
        )

    @property
    def copied(self) -> float:
        """Return the share of conversions whose source came back unchanged where another form was right."""
        cases = [
            list(source[b]) == list(forms[a])
            for forms, written in zip(self.forms, self.written, strict=True)
            for a, source in enumerate(written)
            for b in range(len(forms))
            if list(forms[a]) != list(forms[b])
        ]
        return float(np.mean(cases)) if cases else 0.0

    def bleu4(self) -> float:
        """Return the mean sentence BLEU-4 over all conversions from one form to another, tokens as its words."""
        scores = [
            sentence_bleu(forms[b], source[b])
            for forms, written in zip(self.forms, self.written, strict=True)
            for a, source in enumerate(written)
            for b in range(len(forms))
            if a != b
        ]
        return float(np.mean(scores)) if scores else 0.0


def off_diagonal(table: np.ndarray) -> np.ndarray:
    """Return the entries `[..., C (C - 1)]` of `[..., C, C]` whose source and target differ."""
    return table[..., ~np.eye(table.shape[-1], dtype=bool)]


def conversions(model: VAE, corpus: Corpus, length_limit: int, *, rows: int | None = None) -> Conversions:
    """Write every form of each complete row from z = mu of every form.

    Args:
        model: conditional on the field that tells the forms apart, in evaluation mode.
        corpus: with rows of parallel forms.
        length_limit: most tokens of a form.
        rows: how many rows, the first; all by default.
    """
    table, field = corpus.forms[:rows], corpus.form_field
    flat = table.reshape(-1)
    mu = posteriors(model, corpus.subset(flat)).mean
    columns = [
        generate_ids(model, mu, length_limit, labels=corpus.classes(flat, {field: b})) for b in range(table.shape[1])
    ]
    written = [
        [[column[r * table.shape[1] + a] for column in columns] for a in range(table.shape[1])]
        for r in range(len(table))
    ]
    return Conversions([[corpus.ids(int(i)).tolist() for i in row] for row in table], written)


def transfer_metrics(model: VAE, corpus: Corpus, length_limit: int, *, rows: int | None = None) -> dict[str, Any]:
    """Return how well forms are converted into each other: exact matches, mean BLEU-4, the share of copies.

    Returns:
        empty where the corpus has no complete row, or the form is no condition of the model.
    """
    if not len(corpus.forms) or model.condition is None or corpus.form_field not in model.condition.classes:
        return {}
    done = conversions(model, corpus, length_limit, rows=rows)
    return {
        "transfer_exact": float(off_diagonal(done.exact).mean()),
        "transfer_bleu4": done.bleu4(),
        "transfer_copied": done.copied,
    }
