"""Everything that the doctor looks at: read, or measured where it is missing; and the form of a finding."""

import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from uncollapse.data.splits import Splits, fingerprint
from uncollapse.errors import UserError
from uncollapse.evaluation.scores import Track, untracked
from uncollapse.evaluation.verdict import judge
from uncollapse.objectives import Objective
from uncollapse.runs.builders.objective import build_objective
from uncollapse.runs.compose import available, compose
from uncollapse.runs.config import differences
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
    def trained(self) -> list[Mapping[str, Any]]:
        """Return the entries of the log after pretraining (older logs call it an advice), epochs and steps from its end."""
        before = [entry for entry in self.log if "pretraining" in entry or entry["advice"] == "pretrain"]
        begins = before[-1] if before else {"epoch": 0, "step": 0}
        return [
            {**entry, "epoch": entry["epoch"] - begins["epoch"], "step": entry["step"] - begins["step"]}
            for entry in self.log[len(before) :]
        ]

    @cached_property
    def objective(self) -> Objective:
        """Return the objective, whose schedules count in steps."""
        last = self.trained[-1]
        return build_objective(self.origin.config, max(1, round(last["step"] / last["epoch"])))

    @property
    def best(self) -> int:
        """Return the epoch of the best weights."""
        log = self.trained
        return next((e["epoch"] for e in reversed(log) if e["advice"] == "improved"), log[-1]["epoch"])

    @property
    def held(self) -> bool:
        """Return whether the weight is adapted until the rate is at its target."""
        return self.origin.config.objective.target_kind == "controller"

    @property
    def lag(self) -> Mapping[str, Any] | None:
        """Return the last look with a lag."""
        return next((look for look in reversed(self.looks) if look.get("lag") is not None), None)

    def longer(self, epochs: int) -> str:
        """Return the command that trains such a run for so many epochs after its pretraining."""
        return self.again("--train.epochs", str(epochs + self.origin.config.train.pretrain_epochs))

    def again(self, *more: str, remedies: Sequence[str] | None = None) -> str:
        """Return the command that trains such a run with some settings changed; empty where it would be the same training."""
        named = self.origin.remedies if remedies is None else tuple(dict.fromkeys(remedies))
        same = not more and set(named) == set(self.origin.remedies)
        return "" if same else train_command(self.origin, *more, remedies=named)


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
