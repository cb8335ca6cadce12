"""`uncollapse train`."""

import shlex
from collections.abc import Sequence

import numpy as np

import uncollapse as uc
from uncollapse.api import Run
from uncollapse.cli.parser import Parser
from uncollapse.cli.progress import Bars, say
from uncollapse.config import catalogue
from uncollapse.evaluation.evaluate import evaluate
from uncollapse.evaluation.verdict import judge

SHOWN_SAMPLES, SHOWN_RECONSTRUCTIONS = 5, 3


def run(arguments: Sequence[str]) -> int:
    """Train, then show samples, reconstructions, the verdict and what to type next."""
    parser = Parser("train", "Train a model. Settings: defaults, then the recipe, the remedies, these flags.")
    parser.add(
        "--recipe",
        default="default",
        metavar="NAME",
        help="see `uncollapse recipes`, or a YAML file (default: default)",
    )
    parser.add(
        "--remedy",
        action="append",
        default=[],
        metavar="NAME",
        help="see `uncollapse remedies`, or a YAML file; may be repeated",
    )
    parser.add_seed(default=None)
    parser.add("--out", default=None, metavar="DIR", help="the run folder (default: runs/RECIPE-REMEDIES-SEED)")
    parser.add("--resume", action="store_true", help="go on with an interrupted run of the same settings")
    parser.add("--overwrite", action="store_true", help="begin anew where a run already is")
    parser.add_settings(catalogue())
    asked, settings = parser.parse(arguments)
    try:
        with Bars() as bars:
            done = uc.train(
                asked.recipe,
                asked.remedy,
                asked.seed,
                asked.out,
                asked.resume,
                asked.overwrite,
                listener=bars,
                **settings,
            )
    except uc.Interrupted:
        command = shlex.join(
            [
                "uncollapse",
                "train",
                *(a for a in arguments if a not in ("--resume", "--overwrite")),
                "--resume",
            ]
        )
        say(f"stopped; the state is saved. Go on with: {command}")
        return 130
    show(done)
    return 0


def show(done: Run) -> None:
    """Print samples, reconstructions, the verdict and the next three commands."""
    splits, _ = done.splits()
    pictures = done.vocabulary.level == "pixel"
    if not pictures:
        print("\nsamples from the prior")
        for sentence in done.sample(SHOWN_SAMPLES):
            print(f"  {sentence}")
    if done.model.latent and not pictures:
        few = splits.valid.subset(np.arange(min(SHOWN_RECONSTRUCTIONS, len(splits.valid))))
        originals = few.texts()
        print("\nreconstructions of validation sentences")
        for original, back in zip(originals, done.reconstruct(originals, labels=done.labels_of(few)), strict=True):
            print(f"  {original}\n    -> {back}")
    metrics = evaluate(done.model, splits.valid, iw_samples=0).metrics
    verdict = judge(metrics)
    print(
        f"\nvalidation: nll_elbo {metrics['nll_elbo']:.2f} nats per sentence, perplexity {metrics['ppl_elbo']:.1f} (EOS counted)"
    )
    print(f"verdict: {verdict.state} ({verdict.evidence})")
    here = shlex.quote(str(done.path))
    print("\nnext:")
    print(f"  uncollapse evaluate {here}")
    print(f"  uncollapse sample {here} -n 20{'' if pictures else ' --decode greedy'}")
    if verdict.state == "collapsed":
        where = f" --data.path {shlex.quote(done.config.data.path)}" if done.config.data.path else ""
        print(f"  uncollapse bench --recipe {done.recipe}{where}    # which remedy works on these data?")
    elif done.told.names:
        field, names = next(iter(done.told.names.items()))
        first, last = (shlex.quote(f"{field}={name}") for name in (names[0], names[-1]))
        print(f"  uncollapse sample {here} --label {last}")
        print(f"  uncollapse transfer {here} FILE --from {first} --to {last}")
    elif pictures:
        print(f"  uncollapse reconstruct {here} --decode sample" if done.model.latent else "  uncollapse remedies")
    elif done.model.latent:
        sentence = min(splits.valid.texts(range(min(50, len(splits.valid)))), key=len)
        print(f"  echo {shlex.quote(sentence)} | uncollapse reconstruct {here} -")
    else:
        print("  uncollapse remedies")
