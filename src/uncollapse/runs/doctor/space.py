"""Checks of the doctor: of the space, and of how it was evaluated."""

import shlex

from uncollapse.evaluation.health import LEAST_RATE, Health
from uncollapse.evaluation.verdict import judge
from uncollapse.runs.doctor.chart import Chart, Finding


def dead_rate(chart: Chart) -> Finding | None:
    """The rate carries no information."""
    m = chart.metrics
    if chart.state != "collapsed" or m["rate"] < LEAST_RATE:
        return None
    small = chart.origin.config.model.init == "lagging"
    if small:
        remedy, command = "larger first weights", chart.again("--model.init", "torch")
    elif chart.held:
        remedy, command = "train longer", chart.longer(2 * max(1, len(chart.trained)))
    else:
        remedy, command = "a remedy that holds the rate by the weight", chart.again(remedies=("kl-controller",))
    return Finding(
        "the rate carries no information",
        f"rate {m['rate']:.2f} nats, MI {m['mi']:.2f} +- {m['mi_se']:.2f} nats",
        "q(z | x) is the same for every sentence: narrow or shifted away from the prior, which costs nats and tells nothing"
        + ("; first weights from U(-0.01, 0.01) begin there" if small else ""),
        remedy,
        command,
    )


def collapse(chart: Chart) -> Finding | None:
    """Z says nothing."""
    if chart.state != "collapsed" or chart.metrics["rate"] >= LEAST_RATE:
        return None
    return Finding(
        "the posterior has collapsed",
        judge(chart.metrics).evidence.split(": ")[0],
        "the decoder does without z, and the penalty then takes q(z | x) to the prior",
        "a higher target" if chart.held else "hold the rate at a target, whatever weight that takes",
        chart.again("--objective.target", "10") if chart.held else chart.again(remedies=("kl-controller",)),
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
