"""A corpus drawn from a model, and what it is worth: judged by language models of our own, without any download.

Two language models of one size, one vocabulary and one budget are trained, one on real sentences and one on as many drawn from
the model. Each scores real and drawn sentences that neither has seen:

    forward perplexity   real LM on drawn sentences     are they likely sentences? (a model that repeats one good one is praised)
    reverse perplexity   LM of drawn on real sentences  do they cover the language? (a model that misses half of it scores badly)

Compare both with the real LM on real sentences.

Source: Zhao et al. 2018 (ARAE), section 5 (reverse perplexity); Prokhorov et al. 2019, section 6 (generated corpora).
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from uncollapse.data.corpus import Corpus
from uncollapse.data.splits import Splits
from uncollapse.errors import UserError
from uncollapse.evaluation.bounds import standard_error, subsample_indices
from uncollapse.evaluation.diversity import SAMPLE, diversity, draw, sentences_of
from uncollapse.evaluation.evaluate import perplexity
from uncollapse.evaluation.scores import score
from uncollapse.files import write_atomically, write_json
from uncollapse.generation.decoding import Decoding
from uncollapse.runs.api import train
from uncollapse.runs.folder import RunFolder
from uncollapse.runs.run import Run
from uncollapse.training.callbacks import Callback

HELD, FEWEST = 0.1, 100
PERPLEXITIES = {
    "ppl_forward": ("real", "drawn"),
    "ppl_reverse": ("drawn", "real"),
    "ppl_real": ("real", "real"),
    "ppl_drawn": ("drawn", "drawn"),
}
"""Name -> what the judge was trained on, and what it scores."""


def judge_samples(
    run: Run,
    splits: Splits,
    out: Path,
    *,
    count: int = 10_000,
    epochs: int = 5,
    seed: int = 0,
    how: Decoding = SAMPLE,
    real: Path | None = None,
    callbacks: Callable[[str], Sequence[Callback]] = lambda name: (),
    overwrite: bool = False,
) -> dict[str, Any]:
    """Draw a corpus from a run's prior, write it, and judge it.

    `out` holds `drawn/` and `real/` (a text for each part), the language models `lm-drawn/` and `lm-real/`, and `samples.json`. A
    finished language model is not trained again and an interrupted one goes on. All is counted on the text: what is read again.

    Args:
        run: the model.
        splits: its data.
        out: where all goes.
        count: sentences that each language model is trained on; at most those of the training split. A tenth as many are drawn
            to choose its best weights by, and a tenth to be scored.
        epochs: of each language model.
        seed: of all draws, and of the language models.
        how: sentences are decoded.
        real: where `real/` and `lm-real/` go instead, so that several corpora of a run share them.
        callbacks: from the name of a language model to what watches its training.
        overwrite: whether another corpus and its judges in `out` are replaced.

    Returns:
        ppl_forward, ppl_reverse, ppl_real (the real LM on real sentences), ppl_drawn (the LM of drawn ones on drawn ones), per
        predicted token, each with its standard error `_se`; `samples`, as of the protocol `samples`.

    Raises:
        UserError: fewer than 100 sentences, no epoch, or an `out` that holds another corpus or judges of another budget.
    """
    if not run.vocabulary.of_text:
        raise UserError(
            "samples: judges sentences by language models, and this run is on pictures; see uncollapse sample"
        )
    count = min(count, len(splits.train))
    if count < FEWEST or epochs < 1:
        raise UserError(
            f"samples: expected at least {FEWEST} sentences and 1 epoch to train a judge, got {count} and {epochs}"
        )
    if how.n_best > 1:
        raise UserError(f"samples: one sentence is drawn a code, got n_best {how.n_best}")
    held = max(10, int(HELD * count))
    drawn = draw(run.model, splits, count + 2 * held, seed=seed, how=how)
    texts = {
        "drawn": _parts([run.vocabulary.decode(ids) for ids in drawn], count, held),
        "real": {part: _some(splits[part], n, seed) for part, n in (("train", count), ("valid", held), ("test", held))},
    }
    folders = {"drawn": out, "real": real or out}
    for kind, parts in texts.items():
        _write(folders[kind] / kind, parts, overwrite)
    judges = {
        kind: _language_model(run, folder, kind, epochs, seed, callbacks, overwrite) for kind, folder in folders.items()
    }
    unseen = {kind: Corpus.from_texts(filter(None, parts["test"]), run.vocabulary) for kind, parts in texts.items()}
    judged: dict[str, Any] = {}
    for name, (judge, on) in PERPLEXITIES.items():
        judged[name], judged[f"{name}_se"] = _perplexity(judges[judge], unseen[on])
    training, few = sentences_of(splits.train), min(count, len(splits.test))
    of_test = [splits.test.ids(int(i)).tolist() for i in subsample_indices(len(splits.test), few, seed)]
    judged["samples"] = [
        {"of": "model", **diversity(drawn[:few], training)},
        {"of": "real", **diversity(of_test, training)},
    ]
    judged["protocol"] = {"sentences": count, "scored": held, "epochs": epochs, "decoding": vars(how), "seed": seed}
    write_json(out / "samples.json", judged)
    return judged


def _parts(texts: Sequence[str], count: int, held: int) -> dict[str, list[str]]:
    """Split drawn texts; line breaks become blanks."""
    lines = [" ".join(text.split("\n")).strip() for text in texts]
    return {"train": lines[:count], "valid": lines[count : count + held], "test": lines[count + held :]}


def _some(corpus: Corpus, count: int, seed: int) -> list[str]:
    return corpus.texts(subsample_indices(len(corpus), count, seed).tolist())


def _write(folder: Path, parts: Mapping[str, Sequence[str]], overwrite: bool) -> None:
    """Write a text for each part, a sentence a line; another corpus is not overwritten unasked."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, lines in parts.items():
        path, content = folder / f"{part}.txt", "".join(f"{line}\n" for line in lines).encode()
        if path.exists() and path.read_bytes() != content and not overwrite:
            raise UserError(
                f"{path}: expected the sentences of this run and seed, got others; add --overwrite, or choose another --out"
            )
        write_atomically(path, content)


def _language_model(
    run: Run,
    out: Path,
    kind: str,
    epochs: int,
    seed: int,
    callbacks: Callable[[str], Sequence[Callback]],
    overwrite: bool,
) -> Run:
    """Train a language model of the run's size and vocabulary on the sentences of one kind."""
    path, data, decoder = out / f"lm-{kind}", run.config.data, run.config.settings()["decoder"]
    resume = RunFolder(path).config_file.exists() and not overwrite
    try:
        if resume and (before := RunFolder(path).origin().config.train.epochs) != epochs:
            raise UserError(f"{path}: train.epochs was {before}, now {epochs}")
        return train(
            "default",
            "lm",
            seed + 1,
            out=path,
            resume=resume,
            overwrite=overwrite,
            callbacks=callbacks(path.name),
            data={
                "path": str(out / kind),
                "level": data.level,
                "lowercase": data.lowercase,
                "max_length": max(data.max_length, run.longest_sentence),
                "vocab_from": str(run.path),
            },
            decoder={name: value for name, value in decoder.items() if name in ("kind", "emb", "hidden", "context")},
            train={"epochs": epochs, "batch_size": 32},
        )
    except UserError as error:
        raise UserError(
            f"{error} (a judge of samples; add --overwrite to begin anew, or choose another --out)"
        ) from None


def _perplexity(judge: Run, corpus: Corpus) -> tuple[float, float]:
    """Return the perplexity per predicted token and its standard error over sentences."""
    nll = score(judge.model, corpus).nll_elbo.double()
    ppl = perplexity(float(nll.mean()), corpus)
    return ppl, ppl * standard_error(nll) * len(corpus) / corpus.predicted
