"""A web page about runs: one file that needs no network and no script."""

import base64
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import uncollapse
from uncollapse.errors import UserError
from uncollapse.evaluation.scores import Track, untracked
from uncollapse.evaluation.verdict import judge
from uncollapse.reporting.canvas import svg
from uncollapse.reporting.comparison import Cells, bounds_cells, paired_cells, protocol_cells
from uncollapse.reporting.curves import curves_figure
from uncollapse.reporting.grid import grid_png
from uncollapse.reporting.latent import plane_figure, rates_figure, robustness_figure
from uncollapse.reporting.protocols import COLUMNS
from uncollapse.reporting.views import STEPS, codes_view, map_view, plane_points, traversals
from uncollapse.runs.comparison import over_sentences
from uncollapse.runs.config import Config, differences
from uncollapse.runs.doctor import findings
from uncollapse.runs.doctor.chart import Chart, Finding, examine
from uncollapse.runs.run import Run

SAMPLES, RECONSTRUCTED = 8, 8
"""Sentences from the prior, and reconstructions."""


@dataclass(frozen=True)
class Drawn:
    """A figure on the page."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Section:
    """What the page says of one run."""

    name: str
    path: str
    state: str
    evidence: str
    findings: Sequence[Finding]
    figures: Sequence[Drawn]
    texts: Sequence[tuple[str, Cells]]
    settings: Cells
    protocol: Cells
    pictures: Sequence[tuple[str, str]] = field(default_factory=list)


def report(runs: Mapping[str, Run], split: str = "test", *, track: Track = untracked) -> str:
    """Return the page. What was not measured is measured, as by the doctor.

    Args:
        runs: by the name to show.
        split: which of their data.
        track: shows the progress.
    """
    from jinja2 import Environment, PackageLoader

    charts = {}
    for name, run in runs.items():
        for other in runs.values():
            run.share_splits(other)
        charts[name] = examine(run, split, track=track)
    evaluations = {name: chart.metrics for name, chart in charts.items()}
    protocols = protocol_cells(evaluations)
    page = Environment(loader=PackageLoader("uncollapse.reporting", "."), autoescape=True).get_template("report.html")
    return page.render(
        title=", ".join(runs) if len(runs) < 4 else f"{len(runs)} runs",
        version=uncollapse.__version__,
        split=split,
        runs=[_section(name, runs[name], chart, split) for name, chart in charts.items()],
        bounds=bounds_cells(evaluations),
        paired=_paired(runs, split),
        protocols=([*protocols[0], ""], [[*row, COLUMNS[row[0]][1]] for row in protocols[1]]),
        figures=_figures(charts),
        environment=(["", ""], _environment()),
    )


def _paired(runs: Mapping[str, Run], split: str) -> Cells:
    """Return the paired tests, or none where the runs have other sentences."""
    try:
        tests = over_sentences(runs, split) if len(runs) > 1 else []
    except UserError:
        tests = []
    return paired_cells(tests, next(iter(runs)))


def _figures(charts: Mapping[str, Chart]) -> list[Drawn]:
    """Return the figures of all runs together."""
    logs = {name: chart.log for name, chart in charts.items() if chart.log}
    drawn = [Drawn(svg(curves_figure(logs)), "Over training, on validation.")] if logs else []
    if len(charts) > 1:
        points = plane_points({name: chart.metrics for name, chart in charts.items()})
        drawn.append(Drawn(svg(plane_figure(points)), "The lower left is better; the grey line is the frontier."))
    rows = {name: chart.metrics["robustness"] for name, chart in charts.items() if "robustness" in chart.metrics}
    if rows:
        drawn.append(
            Drawn(svg(robustness_figure(rows)), "What the codes endure: greedy decoding of codes that are moved.")
        )
    return drawn


def _section(name: str, run: Run, chart: Chart, split: str) -> Section:
    verdict = judge(chart.metrics)
    figures = []
    if any(look["rates"] for look in chart.looks):
        figures.append(Drawn(svg(rates_figure(chart.looks)), "Where the rate went, by the monitor's sample."))
    if run.model.latent:
        mapped = map_view(run, split)
        figures.append(
            Drawn(
                svg(mapped.figure, {"map": mapped.texts} if run.vocabulary.of_text else {}),
                "Rest the pointer on a point to read its sentence." if run.vocabulary.of_text else "Posterior means.",
            )
        )
        if chart.metrics.get("rate_by_dimension"):  # the prior is N(0, I)
            figures.append(Drawn(svg(codes_view(run, split)), "One code of each sentence, and the prior."))
    text = run.vocabulary.of_text
    changed = differences(chart.origin.config, Config())
    measured = chart.metrics.get("protocol", {})
    return Section(
        name,
        str(run.path),
        verdict.state,
        verdict.evidence,
        findings(chart),
        figures,
        _texts(run, split, chart) if text else [],
        (["setting", "value", "default"], [[key, _plain(now), _plain(usual)] for key, (now, usual) in changed.items()]),
        (["", ""], [[key, _plain(value)] for key, value in measured.items()]),
        [] if text else _pictures(run, split),
    )


def _texts(run: Run, split: str, chart: Chart) -> list[tuple[str, Cells]]:
    """Return tables of samples, reconstructions, an interpolation and traversals."""
    tables: list[tuple[str, Cells]] = []
    z, drawn_labels = run.draw(SAMPLES)
    written = run.decode(z, "sample", labels=drawn_labels)
    tables.append(("Samples from the prior", (["", "sentence"], [[str(i), text] for i, text in enumerate(written, 1)])))
    if not run.model.latent:
        return tables
    corpus = run.subject(run.splits()[0], split).corpus
    few = corpus.first(RECONSTRUCTED)
    labels, texts = run.labels_of(few), few.texts()
    back = run.reconstruct(texts, labels=labels)
    tables.append(
        (
            "Reconstructions, greedy, from the posterior mean",
            (["sentence", "reconstruction"], list(map(list, zip(texts, back, strict=True)))),
        )
    )
    codes = run.encode(texts, labels)
    own = run.labels_of(few.subset(np.zeros(STEPS, dtype=np.int64)))  # those of the first, all the way
    way = run.decode(run.interpolation(codes[0], codes[-1], STEPS), labels=own)
    tables.append(
        (
            "From the first of them to the last",
            (["", "sentence"], [[f"{i / (STEPS - 1):.2f}", text] for i, text in enumerate(way)]),
        )
    )
    rates = chart.metrics.get("rate_by_dimension") or []
    for moved in traversals(run, few, rates):
        rows = list(map(list, zip(moved.ticks, moved.texts, strict=True)))
        tables.append((f"The first of them along {moved}", (["z", "sentence"], rows)))
    return tables


def _pictures(run: Run, split: str) -> list[tuple[str, str]]:
    """Return grids of samples and reconstructions, as base64 of PNG."""
    from uncollapse.data.pictures import arrays_of
    from uncollapse.reporting.grid import COLUMNS as MOST
    from uncollapse.reporting.grid import below

    z, labels = run.draw(4 * SAMPLES)
    samples = arrays_of(run.decode(z, "sample", labels=labels))
    grids = [("Samples from the prior", grid_png(samples, 2 * SAMPLES))]
    if run.model.latent:
        corpus = run.subject(run.splits()[0], split).corpus
        few = corpus.first(MOST)
        back = arrays_of(run.reconstruct(few.texts(), labels=run.labels_of(few)))
        pairs = below(arrays_of(few.texts()), back, MOST)
        grids.append(("Pictures, and below each its reconstruction", grid_png(pairs, MOST)))
    return [(title, base64.b64encode(png).decode()) for title, png in grids]


def _environment() -> list[list[str]]:
    import torch

    return [
        ["uncollapse", uncollapse.__version__],
        ["torch", torch.__version__],
        ["python", platform.python_version()],
        ["machine", f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads"],
    ]


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def default_path(runs: Mapping[str, Run]) -> Path:
    """Return where the page goes: into the folder of a single run, else beside the runs."""
    paths = [run.path.resolve() for run in runs.values()]
    return paths[0] / "report.html" if len(paths) == 1 else paths[0].parent / "report.html"
