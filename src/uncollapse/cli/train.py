"""`uncollapse train`."""

import shlex

import numpy as np

import uncollapse as uc
from uncollapse.api import Run
from uncollapse.cli.output import say, show
from uncollapse.cli.parser import Parser
from uncollapse.cli.progress import Bars
from uncollapse.config import catalogue
from uncollapse.evaluation.verdict import judge

SHOWN_SAMPLES, SHOWN_RECONSTRUCTIONS = 5, 3


def run(arguments: list[str]) -> int:
    """Train, then show samples, reconstructions, the verdict and what to type next."""
    parser = Parser("train", "Train a model. Settings: defaults, then the recipe, the remedies, these flags.")
    parser.flag("--recipe", "NAME", "see `uncollapse recipes`, or a YAML file", default="default")
    remedy = "see `uncollapse remedies`, or a YAML file; may be repeated"
    parser.add_argument("--remedy", action="append", default=[], metavar="NAME", help=remedy)
    parser.flag("--seed", "N", "short for --train.seed", default=int, least=0)
    parser.flag("--out", "DIR", "the run folder (default: runs/RECIPE-REMEDIES-SEED)")
    parser.switch("--resume", "go on with an interrupted run of the same settings")
    parser.switch("--overwrite", "begin anew where a run already is")
    parser.add_settings(catalogue())
    asked, settings = parser.parse(arguments)
    try:
        with Bars() as bars:
            done = uc.train(
                asked.recipe, asked.remedy, asked.seed, asked.out, asked.resume, asked.overwrite, bars, **settings
            )
    except uc.Interrupted:
        again = [a for a in arguments if a not in ("--resume", "--overwrite")]
        command = shlex.join(["uncollapse", "train", *again, "--resume"])
        say(f"stopped; the state is saved. Go on with: {command}")
        return 130
    close(done)
    return 0


def close(done: Run) -> None:
    """Print samples, reconstructions, the verdict and the next three commands."""
    splits, _ = done.splits()
    pictures = done.vocabulary.level == "pixel"
    if not pictures:
        show("\nsamples from the prior")
        for sentence in done.sample(SHOWN_SAMPLES):
            show(f"  {sentence}")
    if done.model.latent and not pictures:
        few = splits.valid.subset(np.arange(min(SHOWN_RECONSTRUCTIONS, len(splits.valid))))
        originals = few.texts()
        show("\nreconstructions of validation sentences")
        for original, back in zip(originals, done.reconstruct(originals, labels=done.labels_of(few)), strict=True):
            show(f"  {original}\n    -> {back}")
    metrics = next(entry["valid"] for entry in reversed(done.log) if entry["advice"] in ("improved", "pretrain"))
    verdict = judge({**metrics, "latent": done.model.latent})
    show(
        f"\nvalidation: nll_elbo {metrics['nll_elbo']:.2f} nats per sentence, perplexity {metrics['ppl_elbo']:.1f} (EOS counted)"
    )
    show(f"verdict: {verdict.state} ({verdict.evidence})")
    here = shlex.quote(str(done.path))
    show("\nnext:")
    show(f"  uncollapse evaluate {here}")
    show(f"  uncollapse sample {here} -n 20{'' if pictures else ' --decode greedy'}")
    if verdict.state == "collapsed":
        where = f" --data.path {shlex.quote(done.config.data.path)}" if done.config.data.path else ""
        show(f"  uncollapse bench --recipe {done.recipe}{where}    # which remedy works on these data?")
    elif done.told.names:
        field, names = next(iter(done.told.names.items()))
        first, last = (shlex.quote(f"{field}={name}") for name in (names[0], names[-1]))
        show(f"  uncollapse sample {here} --label {last}")
        show(f"  uncollapse transfer {here} FILE --from {first} --to {last}")
    elif pictures:
        show(f"  uncollapse reconstruct {here} --decode sample" if done.model.latent else "  uncollapse remedies")
    elif done.model.latent:
        sentence = min(splits.valid.texts(range(min(50, len(splits.valid)))), key=len)
        show(f"  echo {shlex.quote(sentence)} | uncollapse reconstruct {here} -")
    else:
        show("  uncollapse remedies")
