"""The programs in examples/: each runs as it stands on real sentences, the docstrings of Python's own library."""

import ast
import json
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SENTENCES = 500


def docstrings():
    """Return the first sentences of docstrings of the standard library."""
    result = {}
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8", errors="ignore"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and (text := ast.get_docstring(node)):
                sentence = re.split(r"(?<=[.!?])\s", " ".join(text.split("\n\n")[0].split()))[0]
                if 3 <= len(sentence.split()) <= 20:
                    result[sentence] = None
    return list(result)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with the files that the examples read."""
    path, lines = tmp_path_factory.mktemp("examples"), docstrings()
    assert len(lines) > 2 * SENTENCES
    (path / "my_sentences.txt").write_text("\n".join(lines[:SENTENCES]), encoding="utf-8")
    (path / "more_sentences.txt").write_text("\n".join(lines[SENTENCES : 2 * SENTENCES]), encoding="utf-8")
    records = "\n".join(json.dumps({"text": line, "length": len(line)}) for line in lines[:SENTENCES])
    (path / "records.jsonl").write_text(records, encoding="utf-8")
    return path


def run(name, folder):
    done = subprocess.run(
        [sys.executable, EXAMPLES / name], cwd=folder, capture_output=True, text=True, check=False, encoding="utf-8"
    )
    assert not done.returncode, done.stderr
    return done.stdout, done.stderr


def numbers(text, name):
    """Return the numbers that an evaluation prints behind a name."""
    return [float(value) for value in re.findall(rf"^{name} +(-?[\d.]+)", text, re.MULTILINE)]


def test_compose(folder):
    shown, progress = run("compose.py", folder)
    assert numbers(shown, "nll_elbo")[0] >= numbers(shown, "nll_iw")[0] > 0
    assert len(shown.splitlines()) >= 10 and "epoch   3" in progress
    assert len((folder / "out" / "log.jsonl").read_text().splitlines()) == 3
    assert (folder / "out" / "model.safetensors").exists() and (folder / "out" / "state" / "last.pt").exists()


@pytest.mark.slow
def test_own_objective_keeps_dimensions_active(folder):
    shown, _ = run("own_objective.py", folder)
    plain, spread = numbers(shown, "au")
    assert plain < 3 and spread == 16
    assert (folder / "spread.png").stat().st_size > 5000


@pytest.mark.slow
def test_own_posterior(folder):
    shown, _ = run("own_posterior.py", folder)
    assert "rate" in shown and numbers(shown, "nll_elbo")[0] > numbers(shown, "nll_iw")[0]


@pytest.mark.slow
def test_own_data(folder):
    shown, _ = run("own_data.py", folder)
    assert numbers(shown, "nll_elbo")[0] < 250


def test_continue_moves_the_decoder_alone(folder):
    shown, _ = run("continue.py", folder)
    before, after = numbers(shown, "nll_elbo")
    assert after < before
    au = re.findall(r"rate ([\d.]+)", shown)
    assert au[0] == au[1]  # the encoder, and so the rate, stayed as it was
    assert (folder / "second" / "model.safetensors").exists()


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_they_are_short(path):
    code = [
        line for line in path.read_text().splitlines() if line.strip() and not line.strip().startswith(("#", '"""'))
    ]
    assert len(code) <= 25


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_the_guide_shows_them(path):
    guide = EXAMPLES.parent / "docs" / "guides" / "library.md"
    assert f'\n```python\n--8<-- "examples/{path.name}"\n```\n' in guide.read_text()
