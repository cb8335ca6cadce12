"""`uncollapse train`."""

import shlex

import numpy as np

import uncollapse as uc
from uncollapse.cli.output import say, show
from uncollapse.cli.parser import Parser
from uncollapse.cli.progress import Bars
from uncollapse.data.corpus import Corpus
from uncollapse.evaluation.use import use_protocol
from uncollapse.evaluation.verdict import judge
from uncollapse.parallel import World
from uncollapse.runs.compose import compose
from uncollapse.runs.config import catalogue
from uncollapse.runs.launch import preview
from uncollapse.runs.plan import MOST_EPOCHS
from uncollapse.runs.run import Run
from uncollapse.training.callbacks import Progress

SHOWN_SAMPLES, SHOWN_RECONSTRUCTIONS, SHOWN_STEPS, SHOWN_NEIGHBOURS = 5, 3, 5, 2
JUDGED = 100
"""Validation sentences that are reconstructed for the verdict."""
FEW = 10_000
"""Training sentences with which a space should come alive."""
ENOUGH = 10
"""Epochs after which a living space needs no more time."""
SEARCHED = 1000
"""Validation sentences that neighbours are looked for among."""
OF_ONE_RUN = ("--remedy", "--out", "--seed", "--train.seed", "--init-from", "--freeze", "--stop-when", "--log")
"""Flags that a bench, or another remedy, does not take over."""
COLLAPSED = 3
"""Exit status of a training that the monitor ended."""
CURE, CURE_SAYS = "kl-controller", "holds the rate at a target, whatever weight that takes"


def run(arguments: list[str]) -> int:
    """Train, then show what was learned, the verdict and what to type next."""
    parser = Parser("train", "Train a model. Later wins: defaults below, recipe, remedies, flags.")
    parser.flag("--recipe", "NAME", "see `uncollapse recipes`, or a YAML file", default="default")
    remedy = "see `uncollapse remedies`, or a YAML file; may be repeated"
    parser.add_argument("--remedy", action="append", default=[], metavar="NAME", help=remedy)
    parser.flag("--seed", "N", "short for --train.seed", default=int, least=0)
    parser.flag("--init-from", "RUN", "short for --train.init_from: begin with the weights of a run")
    parser.flag("--freeze", "PARTS", "short for --train.freeze: encoder, decoder, prior")
    parser.flag(
        "--stop-when",
        "STATE",
        "short for --monitor.stop_when: collapsed ends a training that stays collapsed (status 3)",
    )
    parser.flag("--log", "NAMES", "short for --monitor.log: tensorboard, wandb")
    parser.flag("--out", "DIR", "the run folder (default: runs/DATA-SEED, or runs/RECIPE-REMEDIES-SEED)")
    parser.switch(
        "--resume", "go on with a run of the same settings, to more --train.minutes or --train.epochs if asked"
    )
    parser.switch("--overwrite", "begin anew where a run already is")
    parser.switch("--dry-run", "say what would be chosen and how long it would take, and stop")
    parser.add_settings(catalogue())
    asked, settings = parser.parse(arguments)
    short = {"seed": asked.seed, "init_from": asked.init_from or None, "freeze": asked.freeze or None}
    named = {name: value for name, value in short.items() if value is not None}
    settings = {**settings, "train": {**settings.get("train", {}), **named}}
    watched = {"stop_when": asked.stop_when or None, "log": asked.log or None}
    watched = {name: value for name, value in watched.items() if value is not None}
    settings = {**settings, "monitor": {**settings.get("monitor", {}), **watched}}
    try:
        with Bars() as bars:
            if asked.dry_run:
                preview(asked.recipe, asked.remedy, settings)
                return 0
            done = uc.train(
                asked.recipe,
                asked.remedy,
                None,
                out=asked.out,
                resume=asked.resume,
                overwrite=asked.overwrite,
                callbacks=[Progress(bars)],
                **settings,
            )
    except uc.Interrupted:
        say(f"stopped; the state is saved. Go on with: {_again(arguments)}")
        return 130
    if World.current().rank:  # the first process says it
        return 0
    timed = not compose(asked.recipe, asked.remedy, settings).train.epochs
    close(done, arguments, timed)
    return COLLAPSED if ended_by_monitor(done) else 0


def ended_by_monitor(done: Run) -> bool:
    """Return whether the monitor ended the training of a run."""
    return bool(done.log[-1].get("monitor", {}).get("ended"))


def _again(arguments: list[str], *more: str) -> str:
    """Return the command that goes on with this training; a flag given anew takes the place of the one before."""
    return shlex.join(["uncollapse", "train", *_without(arguments, *more[:1]), *more, "--resume"])


def _without(arguments: list[str], *flags: str) -> list[str]:
    """Return the arguments without some flags and their values, and without those that say what becomes of an older run."""
    parts = [part for a in arguments for part in (a.split("=", 1) if a.startswith("--") else [a])]
    dropped = {i + after for i, part in enumerate(parts) if part in flags for after in (0, 1)}
    return [part for i, part in enumerate(parts) if i not in dropped and part not in ("--resume", "--overwrite")]


def close(done: Run, arguments: list[str], timed: bool) -> None:
    """Print what was learned, the verdict and the next commands; whether more time would help, where time was the limit."""
    splits, _ = done.splits()
    text = done.vocabulary.of_text
    if text:
        _show("samples from the prior", done.sample(SHOWN_SAMPLES))
    if text and done.model.latent:
        _tour(done, splits.valid)
    entry = next(entry for entry in reversed(done.log) if entry["advice"] == "improved")
    metrics = {**entry["valid"], "latent": done.model.latent}
    if done.model.latent:
        metrics |= use_protocol(done.model, splits, "valid", sentences=JUDGED)
    verdict = judge(metrics)
    show(
        f"\nvalidation: nll_elbo {metrics['nll_elbo']:.2f} nats per sentence, perplexity {metrics['ppl_elbo']:.1f} (EOS counted)"
    )
    show(f"verdict: {verdict.state} ({verdict.evidence})")
    if watched := done.log[-1].get("monitor"):
        show(f"monitor: {watched['state']} at the end; its looks took {watched['share']:.1%} of the time")
    if CURE in done.remedies and verdict.state != "alive" and len(splits.train) < FEW:
        show(f"what is missing: more text ({len(splits.train):,} training sentences; {FEW:,} are enough as a rule)")
    timed &= done.config.train.epochs < MOST_EPOCHS
    short = verdict.state != "alive" or len(done.log) < ENOUGH
    if timed and short and entry["epoch"] == len(done.log):  # it was still getting better
        minutes = done.config.train.minutes
        show(
            f"trained for {len(done.log)} epochs, and the last was the best: about {minutes:g} minutes more would help:"
        )
        show(f"  {_again(arguments, '--train.minutes', f'{2 * minutes:g}')}")
    show("\nnext:")
    for command in _next(done, verdict.state, splits.valid, arguments):
        show(f"  {command}")


def _show(title: str, lines: list[str]) -> None:
    show("\n".join((f"\n{title}", *(f"  {line}" for line in lines))))


def _tour(done: Run, valid: Corpus) -> None:
    """Show reconstructions, a way between two sentences, and neighbours."""
    few = valid.first(SHOWN_RECONSTRUCTIONS)
    originals, labels = few.texts(), done.labels_of(few)
    back = done.reconstruct(originals, labels=labels)
    pairs = [f"{original}\n    -> {written}" for original, written in zip(originals, back, strict=True)]
    _show("reconstructions of validation sentences", pairs)
    codes = done.encode(originals, labels)
    way = done.interpolation(codes[0], codes[-1], SHOWN_STEPS)
    own = done.labels_of(few.subset(np.zeros(SHOWN_STEPS, dtype=np.int64)))  # those of the first, all the way
    _show("from the first of them to the last", done.decode(way, labels=own))
    among = valid.subset(np.arange(len(few), min(SEARCHED, len(valid))))
    if len(among):
        texts = among.texts()
        nearest_texts = done.neighbours(codes[0], texts, SHOWN_NEIGHBOURS, among_labels=done.labels_of(among))
        _show("validation sentences nearest to the first of them", [other for _, other in nearest_texts])


def _next(done: Run, state: str, valid: Corpus, arguments: list[str]) -> list[str]:
    """Return the three commands to type next."""
    here, text = shlex.quote(str(done.path)), done.vocabulary.of_text
    evaluate = f"uncollapse evaluate {here}"
    sample = f"uncollapse sample {here} -n 20{' --decode nucleus' if text else ''}"
    if state == "collapsed":
        again = shlex.join(_without(arguments, *OF_ONE_RUN))
        cure = f"uncollapse train {again} --remedy {CURE}    # {CURE_SAYS}"
        bench = f"uncollapse bench {again}    # which remedy works on these data?"
        return [evaluate, sample if CURE in done.remedies else cure, bench]
    if done.label_space.names:
        field, names = next(iter(done.label_space.names.items()))
        first, last = (shlex.quote(f"{field}={name}") for name in (names[0], names[-1]))
        transfer = f"uncollapse transfer {here} FILE --from {first} --to {last}"
        return [evaluate, f"uncollapse sample {here} --label {last}", transfer]
    if not done.model.latent:
        return [evaluate, sample, "uncollapse remedies"]
    if not text:
        return [evaluate, sample, f"uncollapse reconstruct {here} --decode sample"]
    sentence = min(valid.texts(range(min(50, len(valid)))), key=len)
    return [evaluate, sample, f"echo {shlex.quote(sentence)} | uncollapse reconstruct {here} -"]
