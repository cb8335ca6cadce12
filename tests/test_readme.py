"""What the README shows, runs."""

import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from uncollapse.cli import main

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
SHORT = {"train": ["--train.epochs", "1", "--monitor.every", "10"], "samples": ["-n", "200", "--epochs", "1"]}


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_every_command_of_the_readme_runs(sentences_file, monkeypatch, capsys):
    """Training is cut short; all else runs as it stands."""
    monkeypatch.chdir(sentences_file.parent)
    commands = [line for block in blocks("bash") for line in block.splitlines() if line.strip()]
    assert len(commands) >= 10
    for command in commands:
        program, *arguments = shlex.split(command, comments=True)
        assert program == "uncollapse"
        few = ["--data.sentences", "1000"] if arguments[:3] == ["train", "--recipe", "grammar"] else []
        assert main([*arguments, *SHORT.get(arguments[0], []), *few]) == 0, command
    assert Path("codes.npz").exists()


@pytest.mark.slow
def test_the_python_of_the_readme_runs(tmp_path):
    code = "\n".join(blocks("python"))
    assert '"epochs": 2}' in code
    code = code.replace('"epochs": 2}', '"epochs": 2}, data={"sentences": 1000}')
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)


def test_the_readme_shows_the_first_example_as_it_is():
    assert blocks("py") == [(ROOT / "examples" / "compose.py").read_text()]
    assert all(path.name in README for path in (ROOT / "examples").glob("*.py"))


def test_every_link_of_the_documents_leads_somewhere():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_make_target_of_the_readme_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)", README)) <= targets
    assert "make test" in (ROOT / ".ci" / "run").read_text() and os.access(ROOT / ".ci" / "run", os.X_OK)


def test_the_import_table_of_the_design_page_is_the_tested_one():
    from tests.test_architecture import EVERYTHING, LIBRARY, MAY_IMPORT

    table = (ROOT / "docs" / "design.md").read_text().split("## Who may import whom")[1].split("`tests/")[0]
    seen = set()
    for names, allowed in re.findall(r"^\| ([a-z_, ]+) \| (.+) \|$", table, re.MULTILINE)[1:]:
        for name in names.split(", "):
            seen.add(name)
            if allowed.startswith("nothing"):
                expected = set()
            elif allowed == "everything":
                expected = EVERYTHING - {name}
            else:
                below = set(allowed.split(", "))
                expected = below - {"the library"} | (set(LIBRARY) if "the library" in below else set())
            assert MAY_IMPORT[name] == expected, name
    assert seen == {*MAY_IMPORT} - {"errors"}


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.ipynb")), ids=lambda path: path.stem)
def test_the_notebooks_run(tmp_path, path):
    import nbclient
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, resources={"metadata": {"path": str(tmp_path)}}, kernel_name="python3").execute()


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.ipynb")), ids=lambda path: path.stem)
def test_the_notebooks_keep_what_they_show_and_stay_small(path):
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    shown = [output for cell in cells for output in cell["outputs"]]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert any(output["output_type"] != "stream" for output in shown) and path.stat().st_size < 300_000
    assert not any(output["output_type"] == "error" for output in shown)


def test_the_story_of_the_collapse_is_what_its_notebook_shows():
    cells = json.loads((ROOT / "examples" / "collapse.ipynb").read_text())["cells"]
    shown = "".join("".join(output.get("text", "")) for cell in cells for output in cell.get("outputs", ()))
    states = dict(re.findall(r"^(plain|alive): .*: (.+)$", shown, re.MULTILINE))
    assert states["plain"] == "collapsed" and states["alive"] in ("alive", "partly alive")


def test_every_name_of_the_notation_page_exists():
    """`module.name.attribute` in the table from papers to code."""
    table = (ROOT / "docs" / "notation.md").read_text().split("## Paper to code")[1]
    places = [row.rsplit("|", 2)[1] for row in table.splitlines() if row.startswith("|")]
    names = {name for place in places for name in re.findall(r"`([a-z_]+(?:\.[A-Za-z_]+)*)`", place)}
    assert len(names) > 30
    for name in names:
        parts, found = name.split("."), None
        for end in range(len(parts), 0, -1):
            try:
                found = importlib.import_module(".".join(["uncollapse", *parts[:end]]))
            except ModuleNotFoundError:
                continue
            for part in parts[end:]:
                found = getattr(found, part)
            break
        assert found is not None, name
