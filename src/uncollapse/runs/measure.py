"""Measure a run on a split, and write what was measured into its `metrics.json`."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

from uncollapse.data.splits import fingerprint
from uncollapse.errors import UserError, suggest
from uncollapse.evaluation.evaluate import Evaluation, evaluate
from uncollapse.evaluation.verdict import judge
from uncollapse.parallel import World, sharing
from uncollapse.runs.folder import RunFolder
from uncollapse.runs.protocols import PROTOCOLS, Subject
from uncollapse.runs.shipped import refuse_shipped


def measure(
    folder: RunFolder, subject: Subject, by_protocol: Mapping[str, Any] | None = None, **options: Any
) -> Evaluation:
    """Evaluate a run on a split already read; write `metrics.json`; return the numbers of every sentence too.

    The numbers of weights kept of an epoch stand under `SPLIT@EPOCH`. Numbers of protocols that were measured before, on the
    same sentences with the same weights, stay in the file; they are not returned. Reconstructions go to a file of their own.

    Args:
        folder: of the run.
        subject: the run on a split (`Run.subject`).
        by_protocol: numbers of protocols on the same split (`measure_protocol`), written too.
        options: of `evaluation.evaluate`.

    Raises:
        UserError: a run that comes with the package, which nobody may write to.
    """
    refuse_shipped(folder.path)
    world = World.current()
    done = evaluate(subject.model, subject.corpus, seed=subject.seed, world=world, **options)
    asked = {"asked_sentences": options.get("iw_sentences", 500)}
    how = done.metrics["protocol"] | asked | _provenance(folder, subject)
    metrics = done.metrics | {"protocol": how} | _floor(subject) | _training(folder)
    with sharing(world):
        for protocol in PROTOCOLS.values():
            if protocol.always and protocol.fits(subject):
                metrics |= protocol.run(subject)
    metrics["state"] = judge(metrics).state
    entry = f"{subject.split}@{folder.epoch}" if folder.epoch else subject.split
    before, measured = folder.metrics().get(entry, {}), dict(by_protocol or {})
    reconstructions = measured.pop("reconstructions", [])
    earlier = before.get("by_protocol", []) if still_holds(folder, before, subject) else []
    kept = {name: before[name] for name in earlier if name in before}
    names = {"by_protocol": sorted({*kept, *measured})} if kept or measured else {}
    metrics |= measured
    if not world.rank:
        folder.write_metrics(entry, kept | metrics | names)
        if reconstructions:
            folder.write_reconstructions(entry, reconstructions)
    return replace(done, metrics=metrics)


def still_holds(folder: RunFolder, metrics: Mapping[str, Any], subject: Subject) -> bool:
    """Return whether an evaluation is of the weights and of the sentences that there are now."""
    then = metrics.get("protocol", {})
    return (then.get("weights"), then.get("fingerprint")) == (folder.fingerprint(), _sentences(subject))


def measure_protocol(name: str, subject: Subject) -> dict[str, Any]:
    """Return the numbers of one of `protocols.PROTOCOLS`; see docs/protocol.md. Several processes share the work.

    Raises:
        UserError: an unknown name, or a run that the protocol is not for.
    """
    if name not in PROTOCOLS:
        raise UserError(f"unknown protocol {name!r}: {suggest(name, PROTOCOLS)}")
    if PROTOCOLS[name].of_words and not subject.text:
        raise UserError(f"protocol {name}: counts words, and this run is on pictures")
    with sharing(World.current()):
        return PROTOCOLS[name].run(subject)


def _sentences(subject: Subject) -> str:
    return fingerprint(subject.corpus, subject.fields)


def _provenance(folder: RunFolder, subject: Subject) -> dict[str, Any]:
    """Return the sentences and the weights that an evaluation is of."""
    return {
        "fingerprint": _sentences(subject),
        "given": list(subject.fields),
        "weights": folder.fingerprint(),
        "same_as_training": subject.split not in folder.changed(subject.splits),
    }


def _floor(subject: Subject) -> dict[str, float]:
    """Return the exact entropy of the data where it is known; it is that of p(x), not of p(x | labels)."""
    split, floor = subject.split, subject.splits.floor
    return {"nll_floor": floor[split]} if split in floor and not subject.fields else {}


def _training(folder: RunFolder) -> dict[str, Any]:
    """Return how long the weights were trained, and with how many inner steps of the encoder, as the log says."""
    if not (log := folder.log()[: folder.epoch or None]):
        return {}
    numbers = {
        "epochs": log[-1]["epoch"],
        "weight_final": log[-1]["weight"],
        "seconds": sum(entry["seconds"] for entry in log),
    }
    # the log has the inner steps of an epoch as a mean over its outer ones
    inner = [
        entry["aggressive"]["inner_steps"] * (entry["step"] - before["step"])
        for before, entry in pairwise([{"step": 0}, *log])
        if "aggressive" in entry
    ]
    return numbers | ({"inner_steps": round(sum(inner))} if inner else {})
