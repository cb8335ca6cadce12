"""What should `uncollapse train --data.path FILE` do? Candidates, each trained for the same minutes on the same corpora.

    python benchmarks/default.py --minutes 8 --seeds 1 --out runs/default captions=captions.txt reviews=reviews.txt

Each is `train` with the recipe `default` and the changes of `CANDIDATES`. A finished run is not trained again. The table goes to
stdout, in Markdown; everything with some sentences to OUT/CORPUS-CANDIDATE-MINUTES-SEED.json.
"""

import argparse
import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

import uncollapse as uc
from uncollapse.evaluation.overlap import corpus_bleu
from uncollapse.evaluation.scores import score
from uncollapse.evaluation.use import use_protocol
from uncollapse.runs.folder import RunFolder

ANNEALED = {"objective": {"weight": "linear(0.1, 1, 20%)"}}
BATCH_FLOOR = {"floor": 8.0, "floor_kind": "batch"}
CANDIDATES: dict[str, dict[str, Any]] = {
    "default": {},
    "lm": {"remedy": "lm"},
    "before": {  # the default until now: words, annealed, SGD's sizes, no warm-up
        "remedy": "vanilla",
        "data": {"level": "word", "max_vocab": 20_000},
        "encoder": {"emb": 256, "hidden": 256},
        "decoder": {"emb": 256, "hidden": 256, "dropout_in": 0.5, "dropout_out": 0.5},
        "objective": {"weight": "linear(0.1, 1, 50%)"},
        "optim": {"lr": 0.001, "lr_factor": "1"},
    },
    "words": {"data": {"level": "word"}},
    "characters": {"data": {"level": "char"}},
    "target 5": {"remedy": "kl-controller", "objective": {"target": 5.0}},
    "target 8": {"remedy": "kl-controller", "objective": {"target": 8.0}},
    "bn": {"remedy": "bn", **ANNEALED},
    "free bits": {"remedy": "vanilla", "objective": {**BATCH_FLOOR, **ANNEALED["objective"]}},
    "fbp": {
        "remedy": "vanilla",
        "objective": {**BATCH_FLOOR, "weight": "linear(0, 1, 20%)"},
        "train": {"pretrain_epochs": 1},
    },
    "hidden 512": {"encoder": {"emb": 256, "hidden": 512}, "decoder": {"emb": 256, "hidden": 512}},
    "hidden 128": {"encoder": {"emb": 64, "hidden": 128}, "decoder": {"emb": 64, "hidden": 128}},
    "dropout 0.5": {"decoder": {"dropout_in": 0.5, "dropout_out": 0.5}},
    "lr 0.001": {"optim": {"lr": 0.001}},
}
JUDGED = 100
"""Validation sentences that are reconstructed."""
SAMPLES = 500
STRATEGIES = {
    "sample": uc.Decoding("sample"),
    "0.8": uc.Decoding("sample", temperature=0.8),
    "nucleus": uc.Decoding("nucleus", top_p=0.9),
}
SHOWN = ("nll", "se", "byte", "rate", "mi", "mi_se", "au", "distinct", "bleu", "exact", "epochs")


def trained(path: Path, data: Path, candidate: str, minutes: float, seed: int, threads: int) -> uc.Run:
    """Train, or load what is trained already."""
    changes = dict(CANDIDATES[candidate])
    remedy = changes.pop("remedy", ())
    train = {"minutes": minutes, "threads": threads, **changes.pop("train", {})}
    settings = {**changes, "data": {"path": str(data), **changes.get("data", {})}, "train": train}
    return uc.train("default", remedy, seed, out=path, resume=RunFolder(path).config_file.exists(), **settings)


def measured(run: uc.Run, iw_sentences: int, judge: uc.Run | None) -> dict[str, Any]:
    """Return the numbers of a run, by their names in the table."""
    splits, _ = run.splits()
    metrics = run.evaluate("test", iw_samples=50, iw_sentences=iw_sentences, adaptive=bool(run.model.latent))
    size = np.mean([len(text.encode()) for text in splits.test.texts()])
    result = {"nll": metrics["nll_iw"], "se": metrics["nll_iw_se"], "byte": metrics["nll_iw"] / size}
    result |= {name: metrics[name] for name in ("rate", "mi", "mi_se", "au")} | {"epochs": len(run.log)}
    result["verdict"] = metrics["state"]
    if run.model.latent:
        few = splits.valid.subset(np.arange(min(JUDGED, len(splits.valid))))
        originals = few.texts()
        back = run.reconstruct(originals, labels=run.labels_of(few))
        result["distinct"] = len(set(back)) / len(set(originals))
        result["bleu"] = corpus_bleu(originals, back, 4, tokenise="13a")[0]
        result["exact"] = float(np.mean([one == other for one, other in zip(originals, back, strict=True)]))
        result["z_use"] = use_protocol(run.model, splits, "valid", sentences=JUDGED)["z_use"]
        result["reconstructions"] = list(zip(originals, back, strict=True))[:10]
    result["samples"] = run.sample(10)
    if judge is not None:
        result["forward"] = {name: nats_per_byte(judge, run.sample(SAMPLES, how)) for name, how in STRATEGIES.items()}
    return result


def nats_per_byte(judge: uc.Run, texts: list[str]) -> float:
    """Return the nats of a byte of some texts under a language model."""
    from uncollapse.data.corpus import Corpus

    written = [text for text in texts if text.strip()]
    scores = score(judge.model, Corpus.from_texts(written, judge.vocabulary))
    return float(scores.distortion.sum()) / sum(len(text.encode()) for text in written)


def row(corpus: str, minutes: float, candidate: str, seed: int, result: dict[str, Any]) -> str:
    """Return a row of the table."""
    forward = ", ".join(f"{how} {value:.2f}" for how, value in result.get("forward", {}).items())
    cells = [f"{result[name]:.2f}" if name in result else "" for name in SHOWN]
    return "| " + " | ".join((corpus, f"{minutes:g}", candidate, str(seed), *cells, forward, result["verdict"])) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", nargs="+", metavar="NAME=PATH")
    parser.add_argument("--candidates", default="lm,before,default", help=", ".join(CANDIDATES))
    parser.add_argument("--minutes", type=float, nargs="+", default=[8.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--iw-sentences", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("runs/default-benchmark"))
    asked = parser.parse_args()
    columns = ("corpus", "minutes", "candidate", "seed", *SHOWN, "forward", "verdict")
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns), flush=True)
    judges: dict[tuple[str, float, int], uc.Run] = {}
    cases = product(asked.corpora, asked.minutes, asked.seeds, asked.candidates.split(","))
    for named, minutes, seed, candidate in cases:
        corpus, _, data = named.partition("=")
        name = f"{corpus}-{candidate.replace(' ', '_')}-{minutes:g}-{seed}"
        run = trained(asked.out / name, Path(data), candidate, minutes, seed, asked.threads)
        if candidate == "lm":
            judges[corpus, minutes, seed] = run
        result = asked.out / f"{name}.json"
        if not result.exists():
            outcome = measured(run, asked.iw_sentences, judges.get((corpus, minutes, seed)))
            result.write_text(json.dumps(outcome, indent=1, ensure_ascii=False))
        print(row(corpus, minutes, candidate, seed, json.loads(result.read_text())), flush=True)


if __name__ == "__main__":
    main()
