"""Every command of docs/coming-from.md and of the guides parses, and every setting in it composes."""

import re
import shlex
from pathlib import Path

import pytest

from uncollapse import cli
from uncollapse.cli.parser import Parser
from uncollapse.runs.checks import validate
from uncollapse.runs.compose import compose

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "coming-from.md").read_text()
COMMANDS = re.findall(r"`(uncollapse [^`]+)`", PAGE)
GUIDES = sorted((Path(__file__).resolve().parents[1] / "docs" / "guides").glob("*.md"))
TAUGHT = [
    line.split("  #")[0]
    for guide in GUIDES
    for block in re.findall(r"```bash\n(.*?)```", guide.read_text(), re.DOTALL)
    for line in block.splitlines()
    if line.startswith("uncollapse ")
]


class Parsed(Exception):
    """Stops a command as soon as its arguments are read."""


@pytest.mark.parametrize("command", [*COMMANDS, *TAUGHT])
def test_it_parses(command, monkeypatch):
    original = Parser.parse

    def stop(self, arguments):
        raise Parsed(*original(self, arguments))

    monkeypatch.setattr(Parser, "parse", stop)
    _, name, *arguments = shlex.split(command)
    assert name in cli.COMMANDS
    with pytest.raises(Parsed) as stopped:
        cli.module_of(name).run(arguments)
    asked, settings = stopped.value.args
    if name == "train":
        validate(compose(asked.recipe, asked.remedy, settings))


def test_every_source_is_there_and_what_is_missing_is_marked():
    for name in ("vae-lagging-encoder", "TWR-VAE", "KL_Text_VAE", "The alpha and gamma variant", "The tense labs"):
        assert f"## {name}" in PAGE
    rows = [line.split("|")[2] for line in PAGE.splitlines() if line.startswith("| `")]
    assert all("uncollapse" in cell or "*later*" in cell or "refused" in cell for cell in rows)
    assert len(COMMANDS) > 20 and len(TAUGHT) > 10
