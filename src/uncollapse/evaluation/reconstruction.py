"""How well sentences come back from their codes, by length."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from uncollapse.data.splits import Splits
from uncollapse.data.vocabulary import Vocabulary
from uncollapse.errors import UserError
from uncollapse.evaluation.bounds import subsample_indices
from uncollapse.evaluation.overlap import corpus_bleu, rouge, token_accuracy
from uncollapse.evaluation.posterior import posteriors
from uncollapse.evaluation.scores import seeded
from uncollapse.generation.decode import generate_ids
from uncollapse.model import VAE

BUCKETS = {"<= 10": (0, 10), "11-20": (11, 20), "21-30": (21, 30)}
"""Tokens of the sentence, EOS not counted (Prokhorov et al. 2019, section 4)."""


def reconstruction_protocol(
    model: VAE, splits: Splits, split: str, *, seed: int = 0, sentences: int | None = None
) -> dict[str, Any]:
    """Return how much of each sentence greedy decoding brings back, from z = mu and from one draw z ~ q(z | x).

    Args:
        model: in evaluation mode.
        splits: the run's data.
        split: which of them.
        seed: of the choice of sentences and of the draw.
        sentences: how many at most; by default all.

    Returns:
        reconstruction: a row for every source of z and bucket of lengths, with `sentences, token_accuracy, exact, bleu2, bleu4,
        bleu2_unsmoothed, bleu4_unsmoothed, rouge2, rouge4`; the last six of `mu` and all lengths, as `overlap_bleu2` …;
        bleu_signature: sacreBLEU's, of BLEU-4; reconstructions: of every sentence its `text`, and what was written from `mu` and
        from the `sample`.

    Raises:
        UserError: a language model.
    """
    if not model.latent:
        raise UserError("protocol reconstruction: a language model (model.latent 0) has no codes to reconstruct from")
    count = len(splits[split])
    few = splits[split].subset(subsample_indices(count, sentences or count, seed))
    posterior = posteriors(model, few)
    draw = posterior.transform(posterior.noise(len(few), 1, seeded(seed)))[:, 0]
    originals = [few.ids(i).tolist() for i in range(len(few))]
    rows, signature = [], ""
    sentences_of = {"text": originals}
    labels = few.classes(np.arange(len(few)))
    for source, z in {"mu": posterior.mean, "sample": draw}.items():
        written = sentences_of[source] = generate_ids(model, z, splits.longest_sentence, labels=labels)
        for bucket, (low, high) in {**BUCKETS, "all": (0, few.lengths.max())}.items():
            inside = [i for i, ids in enumerate(originals) if low <= len(ids) <= high]
            if inside:
                pairs = [originals[i] for i in inside], [written[i] for i in inside]
                scores, signature = _scores(few.vocabulary, *pairs)
                rows.append({"z": source, "length": bucket, "sentences": len(inside), **scores})
    whole = next(row for row in rows if (row["z"], row["length"]) == ("mu", "all"))
    overlap = {f"overlap_{name}": whole[name] for name in whole if name.startswith(("bleu", "rouge"))}
    texts = [[few.vocabulary.decode(ids) for ids in part] for part in sentences_of.values()]
    beside = [dict(zip(sentences_of, of_one, strict=True)) for of_one in zip(*texts, strict=True)]
    return {"reconstruction": rows, **overlap, "bleu_signature": signature, "reconstructions": beside}


def _scores(
    vocabulary: Vocabulary, originals: list[list[int]], written: list[list[int]]
) -> tuple[dict[str, float], str]:
    tokenise = "13a" if vocabulary.level == "bpe" else "none"
    references, hypotheses = ([spaced(vocabulary, ids) for ids in part] for part in (originals, written))
    bleu2, _ = corpus_bleu(references, hypotheses, 2, tokenise=tokenise)
    bleu4, signature = corpus_bleu(references, hypotheses, 4, tokenise=tokenise)
    plain2, plain4 = (corpus_bleu(references, hypotheses, n, tokenise=tokenise, smooth="none")[0] for n in (2, 4))
    words = [(surface(vocabulary, a), surface(vocabulary, b)) for a, b in zip(originals, written, strict=True)]
    return {
        "token_accuracy": token_accuracy(originals, written),
        "exact": float(np.mean([a == b for a, b in zip(originals, written, strict=True)])),
        "bleu2": bleu2,
        "bleu4": bleu4,
        "bleu2_unsmoothed": plain2,
        "bleu4_unsmoothed": plain4,
        "rouge2": 100 * float(np.mean([rouge(a, b, 2) for a, b in words])),
        "rouge4": 100 * float(np.mean([rouge(a, b, 4) for a, b in words])),
    }, signature


def spaced(vocabulary: Vocabulary, ids: Sequence[int]) -> str:
    """Return a sentence for sacreBLEU: words or characters with blanks between them (a blank as ▁); subwords as plain text."""
    text = vocabulary.decode(ids)
    return " ".join(text.replace(" ", "▁")) if vocabulary.level == "char" else text


def surface(vocabulary: Vocabulary, ids: Sequence[int]) -> list[str]:
    """Return the words of a sentence, or its characters: what overlap is counted in. Subwords are put together first."""
    text = vocabulary.decode(ids)
    if vocabulary.level == "bpe":
        from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

        text = Tokenizer13a()(text)
    return list(text) if vocabulary.level == "char" else text.split()
