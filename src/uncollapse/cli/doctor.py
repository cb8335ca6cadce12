"""`uncollapse doctor`."""

import json
from dataclasses import asdict

import uncollapse as uc
from uncollapse.cli.inputs import read_splits
from uncollapse.cli.output import show
from uncollapse.cli.parser import Parser
from uncollapse.cli.progress import Bars
from uncollapse.evaluation.verdict import judge
from uncollapse.runs.doctor import findings
from uncollapse.runs.doctor.chart import examine


def run(arguments: list[str]) -> None:
    """Print what is wrong with a run, the worst first."""
    parser = Parser("doctor", "Say what is wrong with a run, by which numbers, why, and what to type.")
    parser.add_run()
    parser.flag("--split", "NAME", "train, valid or test", default="test")
    parser.flag("--lm", "RUN", "a language model on the same data (--remedy lm): is z needed at all?")
    parser.switch("--json", "print JSON")
    parser.add_settings(["data.path", "data.valid", "data.test"])
    asked, settings = parser.parse(arguments)
    done = uc.load(asked.run)
    splits = read_splits(done, settings)
    with Bars() as bars:
        lm = uc.load(asked.lm) if asked.lm else None
        chart = examine(done, asked.split, splits=splits, lm=lm, track=bars.track)
    listed = findings(chart)
    if asked.json:
        show(json.dumps([asdict(finding) for finding in listed], indent=2))
        return
    verdict = judge(chart.metrics)
    show(f"{done.path} on {asked.split}: {verdict.state} ({verdict.evidence})")
    for number, finding in enumerate(listed, 1):
        show(f"\n{number}. {finding.title}")
        lines = {"evidence": finding.evidence, "why": finding.reason, "remedy": finding.remedy, "type": finding.command}
        for name, line in lines.items():
            if line:
                show(f"   {name + ':':<10}{line}")
    if not listed:
        show("\nnothing is wrong with it that the doctor knows of")
