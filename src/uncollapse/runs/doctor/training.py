"""Checks of the doctor: of the training and its text."""

from uncollapse.runs.doctor.chart import Chart, Finding


def unfinished_schedule(chart: Chart) -> Finding | None:
    """A schedule has not reached its end."""
    steps, settles = chart.trained[-1]["step"], chart.objective.settles
    if settles <= steps:
        return None
    epochs = max(1, round(chart.trained[-1]["epoch"] * settles / steps))
    return Finding(
        "a schedule was never completed",
        f"it settles at step {settles:.0f}, training ended at {steps} with weight {chart.trained[-1]['weight']:.2f}",
        "the best weights are chosen by a loss that was never trained at",
        "train longer, or shorten the schedule",
        chart.longer(epochs),
    )


def early_decay(chart: Chart) -> Finding | None:
    """The learning rate decayed first."""
    first = next((entry for entry in chart.trained if entry["advice"] == "decay"), None)
    if first is None or first["step"] >= chart.objective.settles:
        return None
    return Finding(
        "the learning rate decayed before the weight had risen",
        f"first decay after epoch {first['epoch']}, weight {first['weight']:.2f}",
        "while a schedule rises, the loss rises with it, and that is no sign of convergence",
        "decay later",
        chart.again("--optim.decay_after", str(chart.trained[-1]["epoch"])),
    )


def missed_target(chart: Chart) -> Finding | None:
    """The target was not reached."""
    target, rate = chart.objective.penalties[0].schedules[1].end, chart.metrics["rate"]
    if chart.origin.config.objective.divergence != "kl" or not target or abs(rate - target) <= max(0.5, 0.25 * target):
        return None
    return Finding(
        "the rate is far from its target",
        f"rate {rate:.2f}, target {target:g} nats",
        "training was too short for the weight to find it"
        if chart.held
        else "the penalty was too weak, or training too short",
        "train longer" if chart.held else "hold it by the weight",
        chart.longer(2 * chart.trained[-1]["epoch"])
        if chart.held
        else chart.again("--objective.target", f"{target:g}", remedies=("kl-controller",)),
    )


def first_epoch(chart: Chart) -> Finding | None:
    """The first epoch was the best."""
    if chart.best > 1 or chart.trained[-1]["epoch"] < 3 or overfitting(chart):
        return None
    return Finding(
        "the best weights are those of the first epoch",
        f"no later one of {chart.trained[-1]['epoch']} epochs was better on validation",
        "the learning rate is too high, or the schedules end at a loss that training moves away from",
        "a lower learning rate",
        chart.again("--optim.lr", f"{chart.origin.config.optim.lr / 4:g}"),
    )


def overfitting(chart: Chart) -> Finding | None:
    """Training goes on while validation falls back."""
    last, best = chart.trained[-1], next(e for e in chart.trained if e["epoch"] == chart.best)
    if chart.best > 0.7 * last["epoch"] or last["valid"]["nll_elbo"] <= 1.02 * best["valid"]["nll_elbo"]:
        return None
    if last["train"]["nll_elbo"] >= best["train"]["nll_elbo"] or unfinished_schedule(chart):
        return None
    return Finding(
        "the model learns its training text by heart",
        f"validation nll_elbo {best['valid']['nll_elbo']:.2f} after epoch {chart.best}, {last['valid']['nll_elbo']:.2f} last",
        "the network is large for the text, or training too long (the best weights are kept)",
        "dropout, a smaller network, or fewer epochs",
        chart.longer(chart.best),
    )


def still_improving(chart: Chart) -> Finding | None:
    """Training was short."""
    log = chart.trained
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
        chart.longer(2 * log[-1]["epoch"]),
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
