"""The doctor: what is wrong with a run, by which evidence, why, and what to type."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from uncollapse.data.splits import Splits, fingerprint
from uncollapse.errors import UserError
from uncollapse.evaluation.bounds import Track, untracked
from uncollapse.evaluation.health import LEAST_RATE, Health
from uncollapse.evaluation.verdict import judge
from uncollapse.objectives import Objective
from uncollapse.runs.build import build_objective
from uncollapse.runs.config import available, compose, differences
from uncollapse.runs.folder import Origin
from uncollapse.runs.measure import measure, measure_protocol, still_holds
from uncollapse.runs.protocols import PROTOCOLS
from uncollapse.runs.run import Run
from uncollapse.runs.shipped import is_shipped

PROTOCOLS_NEEDED = ("aggregate", "robustness")
SAMPLES, SENTENCES = 50, 200
"""Of the importance-weighted bound, where the run was not evaluated."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a run.

    Attributes:
        title: the fault in one line.
        evidence: the numbers that show it.
        reason: why it happens or why it matters.
        remedy: the change that helps.
        command: the command to type; empty where there is none.
    """

    title: str
    evidence: str
    reason: str
    remedy: str
    command: str = ""


@dataclass(frozen=True)
class Chart:
    """Everything that the doctor looks at.

    Attributes:
        path: of the run, for commands.
        origin: its settings.
        log: an entry an epoch.
        looks: of the monitor; none where it was off.
        corpus: what the splits held.
        split: which of them was evaluated.
        metrics: of that split, with the protocols aggregate and robustness where they fit.
        lm: the evaluation of a language model on the same split, or empty.
    """

    path: str
    origin: Origin
    log: Sequence[Mapping[str, Any]]
    looks: Sequence[Mapping[str, Any]]
    corpus: Mapping[str, Any]
    split: str
    metrics: Mapping[str, Any]
    lm: Mapping[str, Any]

    @cached_property
    def state(self) -> str:
        """Return the verdict."""
        return judge(self.metrics).state

    @cached_property
    def objective(self) -> Objective:
        """Return the objective, whose schedules count in steps."""
        last = self.log[-1]
        return build_objective(self.origin.config, max(1, round(last["step"] / last["epoch"])))

    @property
    def best(self) -> int:
        """Return the epoch of the best weights."""
        return next((e["epoch"] for e in reversed(self.log) if e["advice"] == "improved"), self.log[-1]["epoch"])

    @property
    def lag(self) -> Mapping[str, Any] | None:
        """Return the last look with a lag."""
        return next((look for look in reversed(self.looks) if look.get("lag") is not None), None)

    def again(self, *more: str, remedies: Sequence[str] | None = None) -> str:
        """Return the command that trains such a run with some settings changed."""
        return train_command(self.origin, *more, remedies=remedies)


def train_command(origin: Origin, *more: str, remedies: Sequence[str] | None = None) -> str:
    """Return the command of a training with an origin's settings; empty where its recipe or remedies are not of this package.

    Args:
        origin: recipe, remedies and settings.
        more: further flags; they take the place of settings of the same name.
        remedies: in place of its own. Where its own are not among them, the settings of the objective are dropped too.
    """
    if origin.recipe not in available("recipes") or not set(origin.remedies) <= set(available("remedies")):
        return ""
    changed = differences(origin.config, compose(origin.recipe, origin.remedies))
    replaced = remedies is not None and not set(origin.remedies) <= set(remedies)
    named_anew = {"train.seed", *(flag.removeprefix("--") for flag in more[::2])}
    sections = ("monitor.", "objective.") if replaced else ("monitor.",)
    kept = {
        key: value
        for key, (value, _) in changed.items()
        if value is not None and key not in named_anew and not key.startswith(sections)
    }
    settings = [part for key, value in kept.items() for part in (f"--{key}", _spelled(value))]
    named = [part for name in (origin.remedies if remedies is None else remedies) for part in ("--remedy", name)]
    recipe = [] if origin.recipe == "default" else ["--recipe", origin.recipe]
    return shlex.join(["uncollapse", "train", *recipe, *settings, *named, *more])


def _spelled(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def examine(
    run: Run, split: str = "test", *, splits: Splits | None = None, lm: Run | None = None, track: Track = untracked
) -> Chart:
    """Measure what is missing of a run, and return its chart. Numbers are written into its metrics.json.

    Args:
        run: a run.
        split: which of its data is evaluated.
        splits: its data, where they have been read.
        lm: a language model on the same data, to compare with.
        track: shows the progress.

    Raises:
        UserError: a language model on other sentences; and all that `Run.splits` raises.
    """
    splits = splits or run.splits()[0]
    chart = _measured(run, split, splits, track)
    if lm is None:
        return chart
    theirs = lm.splits()[0]
    if lm.model.latent or fingerprint(theirs[split]) != fingerprint(splits[split]):
        raise UserError(f"{lm.path}: expected a language model on the same {split} sentences, in the same tokens")
    return replace(chart, lm=_measured(lm, split, theirs, track).metrics)


def _measured(run: Run, split: str, splits: Splits, track: Track) -> Chart:
    subject = run.subject(splits, split)
    metrics = run.metrics.get(split, {})
    if "protocol" in metrics and not is_shipped(run.path) and not still_holds(run.folder, metrics, subject):
        metrics = {}  # of other weights, or other sentences
    numbers: dict[str, Any] = {}
    for name in PROTOCOLS_NEEDED:
        protocol = PROTOCOLS[name]
        if protocol.fits(subject) and not any(number in metrics for number in (*protocol.columns, *protocol.rows)):
            with suppress(UserError):  # too few sentences, say
                numbers |= measure_protocol(name, subject)
    if is_shipped(run.path):
        metrics = {**metrics, **numbers}
    elif "nll_iw" not in metrics:
        metrics = measure(run.folder, subject, numbers, track=track, iw_samples=SAMPLES, iw_sentences=SENTENCES).metrics
    elif numbers:
        names = {"by_protocol": sorted({*metrics.get("by_protocol", ()), *numbers})}
        metrics = {**metrics, **numbers, **names}
        run.folder.write_metrics(split, metrics)
    origin = run.folder.origin()
    return Chart(str(run.path), origin, run.log, run.folder.looks(), run.folder.corpus(), split, metrics, {})


def findings(chart: Chart) -> list[Finding]:
    """Return what is wrong with a run, the worst first. An imported run has no log: what needs one is not looked for."""
    checks = CHECKS if chart.log else tuple(check for check in CHECKS if check not in OF_THE_LOG)
    return [finding for check in checks for finding in [check(chart)] if finding is not None]


Check = Callable[[Chart], Finding | None]


def dead_rate(chart: Chart) -> Finding | None:
    """The rate carries no information."""
    m = chart.metrics
    if chart.state != "collapsed" or m["rate"] < LEAST_RATE:
        return None
    small = chart.origin.config.model.init == "lagging"
    return Finding(
        "the rate carries no information",
        f"rate {m['rate']:.2f} nats, MI {m['mi']:.2f} +- {m['mi_se']:.2f} nats",
        "q(z | x) is the same for every sentence: narrow or shifted away from the prior, which costs nats and tells nothing"
        + ("; first weights from U(-0.01, 0.01) begin there" if small else ""),
        "larger first weights" if small else "another remedy: one that holds the rate by the weight",
        chart.again("--model.init", "torch") if small else chart.again(remedies=("kl-controller",)),
    )


def collapse(chart: Chart) -> Finding | None:
    """Z says nothing."""
    if chart.state != "collapsed" or chart.metrics["rate"] >= LEAST_RATE:
        return None
    own = chart.origin.remedies == ("kl-controller",)
    return Finding(
        "the posterior has collapsed",
        judge(chart.metrics).evidence.split(": ")[0],
        "the decoder does without z, and the penalty then takes q(z | x) to the prior",
        "a higher target" if own else "hold the rate at a target, whatever weight that takes",
        chart.again("--objective.target", "10") if own else chart.again(remedies=("kl-controller",)),
    )


def unread_code(chart: Chart) -> Finding | None:
    """The decoder makes little of a code that knows much."""
    m = chart.metrics
    use = m.get("z_use")
    if use is None or chart.state in ("collapsed", "no latent") or use >= min(1.0, m["mi"] / 2):
        return None
    return Finding(
        "the decoder hardly reads z",
        f"MI {m['mi']:.2f} nats, but the code of another sentence costs only {use:.2f} nats",
        "the decoder predicts the next token from the tokens before it",
        "weaken the decoder: drop words of its input",
        chart.again(remedies=(*chart.origin.remedies, "word-dropout"))
        if hasattr(chart.origin.config.decoder, "word_dropout")
        else "",
    )


def no_gain(chart: Chart) -> Finding | None:
    """A language model is as good."""
    m, lm = chart.metrics, chart.lm
    if not lm or not m["latent"] or "nll_iw" not in m or m["nll_iw"] - lm["nll_elbo"] <= 2 * m["iw_gap_se"]:
        return None
    return Finding(
        "a language model gives the data a higher probability",
        f"nll_iw {m['nll_iw']:.2f}, language model {lm['nll_elbo']:.2f} (+- {m['iw_gap_se']:.2f} by the draws)",
        "z is not needed to predict the text: what the code tells costs more than it saves, or the bound is loose",
        "the tighter bound first, then a lower target or more training",
        f"uncollapse evaluate {shlex.quote(chart.path)} --split {chart.split} --adaptive --iw-samples 500",
    )


def coarse(chart: Chart) -> Finding | None:
    """The evaluation is too coarse."""
    m, lm = chart.metrics, chart.lm
    if "iw_gap_se" not in m or not m["latent"]:
        return None
    claimed = abs(m["nll_iw"] - lm["nll_elbo"]) if lm else None
    if not (m["iw_gap_se"] > 0.5 or (claimed is not None and claimed < 2 * m["iw_gap_se"])):
        return None
    evidence = f"standard error of the gap between the bounds {m['iw_gap_se']:.2f} nats"
    return Finding(
        "the evaluation is too coarse",
        evidence + (f", difference from the language model {claimed:.2f}" if claimed is not None else ""),
        "few draws on few sentences: differences below two errors say nothing",
        "more sentences, and draws where they are needed",
        f"uncollapse evaluate {shlex.quote(chart.path)} --split {chart.split} --adaptive --iw-samples 500 --iw-sentences all",
    )


def unfinished_schedule(chart: Chart) -> Finding | None:
    """A schedule has not reached its end."""
    steps, settles = chart.log[-1]["step"], chart.objective.settles
    if settles <= steps:
        return None
    epochs = max(1, round(chart.log[-1]["epoch"] * settles / steps))
    return Finding(
        "a schedule was never completed",
        f"it settles at step {settles:.0f}, training ended at {steps} with weight {chart.log[-1]['weight']:.2f}",
        "the best weights are chosen by a loss that was never trained at",
        "train longer, or shorten the schedule",
        chart.again("--train.epochs", str(epochs)),
    )


def early_decay(chart: Chart) -> Finding | None:
    """The learning rate decayed first."""
    first = next((entry for entry in chart.log if entry["advice"] == "decay"), None)
    if first is None or first["step"] >= chart.objective.settles:
        return None
    return Finding(
        "the learning rate decayed before the weight had risen",
        f"first decay after epoch {first['epoch']}, weight {first['weight']:.2f}",
        "while a schedule rises, the loss rises with it, and that is no sign of convergence",
        "decay later",
        chart.again("--optim.decay_after", str(chart.log[-1]["epoch"])),
    )


def lagging(chart: Chart) -> Finding | None:
    """The encoder lags."""
    look = chart.lag
    if look is None or chart.state in ("collapsed", "no latent") or look["lag"] < max(1.0, Health.of(look).carried):
        return None
    return Finding(
        "the encoder lags behind the true posterior",
        f"KL(q, p(z | x)) {look['lag']:.2f} nats, MI {look['mi']:.2f} (step {look['step']})",
        "the bound is loose by that much, and the decoder learns from codes that are not right",
        "train the encoder more",
        chart.again(remedies=(*chart.origin.remedies, "aggressive-adaptive")),
    )


def wrong_width(chart: Chart) -> Finding | None:
    """Q is too narrow or too wide."""
    look = chart.lag
    if look is None or chart.state in ("collapsed", "no latent") or abs(look["log_width"]) < 0.35:
        return None
    narrow = look["log_width"] < 0
    return Finding(
        f"the posterior is too {'narrow' if narrow else 'wide'}",
        f"mean log of its width over that of the fitted true posterior {look['log_width']:+.2f}",
        "a rate held from below is paid by narrow posteriors"
        if narrow
        else "q covers codes that do not give the sentence",
        "a lower target, or the controller in place of the penalty" if narrow else "a higher target, or more training",
        chart.again(remedies=("kl-controller",)) if narrow else "",
    )


def one_dimension(chart: Chart) -> Finding | None:
    """One dimension carries everything."""
    rates, m = chart.metrics.get("rate_by_dimension") or (), chart.metrics
    if len(rates) < 4 or m["rate"] < 1 or max(rates) < 0.9 * sum(rates):
        return None
    return Finding(
        "one dimension carries the whole rate",
        f"dimension {rates.index(max(rates))}: {max(rates):.2f} of {sum(rates):.2f} nats",
        "the space is a line: interpolation and arithmetic of codes have nowhere to go",
        "a floor for each dimension, or normalised means",
        chart.again(remedies=("bn",)),
    )


def holes(chart: Chart) -> Finding | None:
    """The aggregate posterior is far from the prior."""
    m = chart.metrics
    mismatch = m.get("aggregate_mismatch")
    if mismatch is not None:  # less the bias of the moments of so many sentences
        mismatch -= m["latent"] * (m["latent"] + 3) / (4 * min(m["sentences"], 10_000))
    if mismatch is None or chart.state == "collapsed" or mismatch < max(1.0, 0.2 * m["rate"]):
        return None
    return Finding(
        "the codes do not fill the prior: samples will be poor",
        f"mean and covariance of the codes alone lie {mismatch:.2f} nats from N(0, I), of a rate of {m['rate']:.2f}",
        "draws from the prior fall where the decoder has seen no code",
        "draw from a mixture that is fitted to the codes, or pull them together (remedy mmd)",
        chart.again("--train.fit_prior", "10"),
    )


def dead_region(chart: Chart) -> Finding | None:
    """Prior draws decode to one sentence."""
    m = chart.metrics
    if chart.state in ("collapsed", "no latent") or m.get("dead_region", 0.0) < 0.2:
        return None
    return Finding(
        "much of the prior decodes to one and the same sentence",
        f"{m['dead_region']:.0%} of 500 draws; {m['prior_distinct']:.0%} of the sentences differ",
        "the decoder ignores codes that are unlike those of the training sentences",
        "draw the tokens, not the most probable ones, or draw codes from a fitted mixture",
        f"uncollapse sample {shlex.quote(chart.path)} -n 20 --decode nucleus",
    )


def fragile(chart: Chart) -> Finding | None:
    """Codes do not endure noise."""
    m = chart.metrics
    sigma = m.get("robust_sigma")
    if sigma is None or chart.state in ("collapsed", "no latent") or sigma >= 0.5:
        return None
    return Finding(
        "the codes do not endure noise",
        f"noise of sigma {sigma:.2f} (the prior has 1) costs half of what a code tells",
        "codes of different sentences lie close to each other: the space is used as a table, not as a map",
        "a lower rate: wider posteriors",
        chart.again("--objective.target", f"{m['rate'] / 2:.2g}", remedies=("kl-controller",)),
    )


def capped(chart: Chart) -> Finding | None:
    """MI cannot be measured."""
    m = chart.metrics
    if not m["latent"] or m["mi"] < m["mi_cap"] - 0.5:
        return None
    return Finding(
        "the mutual information is at its cap",
        f"MI {m['mi']:.2f}, at most {m['mi_cap']:.2f} = log of the {m['sentences']:,} sentences",
        "every code tells its sentence from all others: how much more it knows cannot be seen on so few",
        "a larger split; compare rate and z_use instead",
    )


def missed_target(chart: Chart) -> Finding | None:
    """The target was not reached."""
    target, rate = chart.objective.penalties[0].schedules[1].end, chart.metrics["rate"]
    if chart.origin.config.objective.divergence != "kl" or not target or abs(rate - target) <= max(0.5, 0.25 * target):
        return None
    held = chart.origin.config.objective.target_kind == "controller"
    return Finding(
        "the rate is far from its target",
        f"rate {rate:.2f}, target {target:g} nats",
        "training was too short for the weight to find it"
        if held
        else "the penalty was too weak, or training too short",
        "train longer" if held else "hold it by the weight",
        chart.again("--train.epochs", str(2 * chart.log[-1]["epoch"]))
        if held
        else chart.again("--objective.target", f"{target:g}", remedies=("kl-controller",)),
    )


def overfitting(chart: Chart) -> Finding | None:
    """Training goes on while validation falls back."""
    last, best = chart.log[-1], next(e for e in chart.log if e["epoch"] == chart.best)
    if chart.best > 0.7 * last["epoch"] or last["valid"]["nll_elbo"] <= 1.02 * best["valid"]["nll_elbo"]:
        return None
    if last["train"]["nll_elbo"] >= best["train"]["nll_elbo"] or unfinished_schedule(chart):
        return None
    return Finding(
        "the model learns its training text by heart",
        f"validation nll_elbo {best['valid']['nll_elbo']:.2f} after epoch {chart.best}, {last['valid']['nll_elbo']:.2f} last",
        "the network is large for the text, or training too long (the best weights are kept)",
        "dropout, a smaller network, or fewer epochs",
        chart.again("--train.epochs", str(chart.best)),
    )


def first_epoch(chart: Chart) -> Finding | None:
    """The first epoch was the best."""
    if chart.best > 1 or chart.log[-1]["epoch"] < 3 or overfitting(chart):
        return None
    return Finding(
        "the best weights are those of the first epoch",
        f"no later one of {chart.log[-1]['epoch']} epochs was better on validation",
        "the learning rate is too high, or the schedules end at a loss that training moves away from",
        "a lower learning rate",
        chart.again("--optim.lr", f"{chart.origin.config.optim.lr / 4:g}"),
    )


def still_improving(chart: Chart) -> Finding | None:
    """Training was short."""
    log = chart.log
    if chart.origin.config.train.select != "loss" or len(log) < 3 or chart.best < log[-1]["epoch"]:
        return None
    before, now = log[-2]["selection"], log[-1]["selection"]
    if before - now < 0.01 * abs(now) or unfinished_schedule(chart):
        return None
    return Finding(
        "training ended while it still helped",
        f"the last epoch improved validation by {before - now:.2f} nats",
        "a comparison at this length says which remedy learns faster, not which is better",
        "train longer",
        chart.again("--train.epochs", str(2 * log[-1]["epoch"])),
    )


def unknown_words(chart: Chart) -> Finding | None:
    """Much of the text is unknown."""
    part = chart.corpus["train"]
    share = part.get("unknown", 0) / max(1, part.get("tokens", 1))
    if share < 0.05:
        return None
    return Finding(
        "much of the vocabulary is unknown",
        f"{share:.1%} of the training tokens are <unk>",
        "the model learns to write <unk>, and its probability is that of a coarser text",
        "subwords",
        chart.again("--data.level", "bpe"),
    )


def left_out(chart: Chart) -> Finding | None:
    """Sentences are missing."""
    part = chart.corpus["train"]
    share = part.get("left_out", 0) / max(1, part.get("left_out", 0) + part.get("sentences", 1))
    if share < 0.02:
        return None
    return Finding(
        "sentences were left out",
        f"{share:.1%} of the training sentences are longer than data.max_length {chart.origin.config.data.max_length}",
        "the numbers are those of the shorter sentences alone",
        "a higher limit, or split the text into sentences",
        chart.again("--data.max_length", str(2 * chart.origin.config.data.max_length)),
    )


CHECKS: tuple[Check, ...] = (
    dead_rate,
    collapse,
    unread_code,
    lagging,
    unfinished_schedule,
    early_decay,
    missed_target,
    one_dimension,
    holes,
    dead_region,
    fragile,
    wrong_width,
    first_epoch,
    overfitting,
    no_gain,
    capped,
    coarse,
    unknown_words,
    left_out,
    still_improving,
)
"""What is looked for, the worst first."""
OF_THE_LOG = (unfinished_schedule, early_decay, missed_target, first_epoch, overfitting, still_improving)
"""What needs the log of the training."""
