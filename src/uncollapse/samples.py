"""A corpus drawn from a model, and what it is worth: judged by language models of our own, without any download.

Two language models of one size, one vocabulary and one budget are trained, one on real sentences and one on as many drawn from
the model. Each scores real and drawn sentences that neither has seen:

    forward perplexity   real LM on drawn sentences     are they likely sentences? (a model that repeats one good one is praised)
    reverse perplexity   LM of drawn on real sentences  do they cover the language? (a model that misses half of it is found out)

The real LM on real sentences is what both are to be held against.

Source: Zhao et al. 2018 (ARAE), section 5 (reverse perplexity); Prokhorov et al. 2019, section 6 (generated corpora).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from uncollapse.api import Run, train
from uncollapse.data.corpus import Corpus
from uncollapse.data.splits import Splits
from uncollapse.errors import UserError
from uncollapse.evaluation.bounds import chosen, score
from uncollapse.evaluation.diversity import SAMPLE, diversity, draw, sentences_of
from uncollapse.evaluation.evaluate import perplexity
from uncollapse.generation.choose import Decoding
from uncollapse.run import RunFolder, write_atomically, write_json
from uncollapse.training.progress import Listener

HELD = 0.1
"""Share of the sentences, of either kind, that is written besides and trained on by nobody."""


def judge_samples(
    run: Run,
    splits: Splits,
    out: Path,
    count: int = 10_000,
    epochs: int = 5,
    seed: int = 0,
    how: Decoding = SAMPLE,
    listener: Callable[[str], Listener | None] = lambda name: None,
) -> dict[str, Any]:
    """Draw a corpus from a run's prior, write it, and judge it.

    `out` holds `drawn/` and `real/` (train.txt and test.txt each), the language models `lm-drawn/` and `lm-real/`, and
    `samples.json`. A finished language model is not trained again and an interrupted one goes on.

    Args:
        run: the model.
        splits: its data.
        out: where all goes.
        count: sentences that each language model is trained on; at most those of the training split.
        epochs: of each language model; the best on 5 % of its own sentences is kept.
        seed: of all draws.
        how: sentences are decoded.
        listener: from the name of a language model to what is told of its training.

    Returns:
        ppl_forward, ppl_reverse, ppl_real (the real LM on real sentences), ppl_drawn (the LM of drawn ones on drawn ones), per
        predicted token; `samples`, as of the protocol `samples`, over drawn sentences and as many of the test split.

    Raises:
        UserError: fewer than 100 sentences, or an `out` that holds another corpus.
    """
    count = min(count, len(splits.train))
    if count < 100:
        raise UserError(f"samples: expected at least 100 sentences to train a language model on, got {count}")
    held = max(1, int(HELD * count))
    drawn = draw(run.model, splits, count + held, seed, how)
    real = [*_some(splits.train, count, seed), *_some(splits.test, held, seed)]
    texts = {"drawn": drawn, "real": real}
    for kind, sentences in texts.items():
        _write(out / kind, [run.vocabulary.decode(ids) for ids in sentences], count)
    judges = {kind: _language_model(run, out, kind, epochs, seed, listener) for kind in texts}
    unseen = {kind: Corpus.from_ids(sentences[count:], run.vocabulary) for kind, sentences in texts.items()}
    ppl = {(judge, on): _perplexity(judges[judge], corpus) for judge in judges for on, corpus in unseen.items()}
    training, few = sentences_of(splits.train), min(count, len(splits.test))
    found = {
        "ppl_forward": ppl["real", "drawn"],
        "ppl_reverse": ppl["drawn", "real"],
        "ppl_real": ppl["real", "real"],
        "ppl_drawn": ppl["drawn", "drawn"],
        "samples": [
            {"of": "model", **diversity(drawn[:few], training)},
            {"of": "real", **diversity(_some(splits.test, few, seed), training)},
        ],
        "protocol": {"sentences": count, "held": held, "epochs": epochs, "decoding": vars(how), "seed": seed},
    }
    write_json(out / "samples.json", found)
    return found


def _some(corpus: Corpus, count: int, seed: int) -> list[list[int]]:
    return [corpus.ids(int(i)).tolist() for i in chosen(len(corpus), count, seed)]


def _write(folder: Path, texts: Sequence[str], count: int) -> None:
    """Write the sentences to train on and those to score, one a line; another corpus is not overwritten."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in {"train.txt": texts[:count], "test.txt": texts[count:]}.items():
        content = "".join(f"{text}\n" for text in part).encode()
        if (folder / name).exists() and (folder / name).read_bytes() != content:
            raise UserError(
                f"{folder / name}: expected the sentences of this run and seed, found others; choose another --out"
            )
        write_atomically(folder / name, content)


def _language_model(
    run: Run, out: Path, kind: str, epochs: int, seed: int, listener: Callable[[str], Listener | None]
) -> Run:
    """Train a language model of the run's size and vocabulary on the sentences of one kind."""
    path, data, model = out / f"lm-{kind}", run.config.data, run.config.model
    return train(
        "default",
        "lm",
        max(1, seed),
        path,
        resume=RunFolder(path).config_file.exists(),
        listener=listener(path.name),
        data={
            "path": str(out / kind / "train.txt"),
            "level": data.level,
            "lowercase": data.lowercase,
            "max_length": data.max_length,
            "vocab_from": str(run.path),
        },
        model={"emb": model.emb, "hidden": model.hidden, "decoder": model.decoder, "context": model.context},
        train={"epochs": epochs},
    )


def _perplexity(judge: Run, corpus: Corpus) -> float:
    nll = score(judge.model, corpus).nll_elbo.double()
    return perplexity(float(np.mean(nll.numpy())), corpus)
