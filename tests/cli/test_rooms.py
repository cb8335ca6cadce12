"""Who imports whom among the files of the command line, and who may print."""

import ast
from pathlib import Path

import pytest

import uncollapse.cli
from uncollapse.cli import COMMANDS, module_of

FOLDER = Path(uncollapse.cli.__file__).parent
MODULES = {module_of(command).__name__.split(".")[-1] for command in COMMANDS}


def imported(tree: ast.AST) -> set[str]:
    """Return the modules of the command line that a file imports."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return {name.split(".")[2] for name in names if name.startswith("uncollapse.cli.")}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_no_file_imports_a_command_and_only_one_prints(path):
    tree = ast.parse(path.read_text())
    assert not imported(tree) & MODULES
    calls = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert path.stem == "output" or "print" not in calls


def test_every_command_is_one_file():
    assert len(MODULES) == len(COMMANDS) and all((FOLDER / f"{name}.py").exists() for name in MODULES)
