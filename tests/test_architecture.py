"""The rooms of the house: who may import whom."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

import uncollapse as uc
from uncollapse import files

ROOT = Path(uc.__file__).parent
FLOOR = {"errors", "lazy", "messages", "settings"}
"""What every part may import."""
LIBRARY = {
    "errors": set(),
    "lazy": set(),
    "messages": set(),
    "settings": set(),
    "files": set(),
    "torch_private": set(),
    "parallel": set(),
    "schedules": set(),
    "data": {"files", "parallel"},
    "distributions": {"torch_private", "data"},
    "nn": {"torch_private", "parallel", "distributions", "data"},
    "model": {"distributions", "data", "nn"},
    "objectives": {"distributions", "schedules", "data", "model", "nn"},
    "extras": {"parallel", "distributions", "data", "model", "objectives"},
    "generation": {"parallel", "distributions", "data", "model", "nn"},
    "evaluation": {"parallel", "distributions", "data", "nn", "model", "generation"},
    "training": {
        "files",
        "parallel",
        "distributions",
        "data",
        "schedules",
        "nn",
        "model",
        "objectives",
        "generation",
        "evaluation",
    },
}
"""The lower storey: it knows no settings of a run, no run folder, no command line."""
APPLICATION = {
    "tasks": {*LIBRARY},
    "runs": {*LIBRARY, "tasks"},
    "interop": {*LIBRARY, "runs"},
    "reporting": {*LIBRARY, "runs"},
    "cli": {*LIBRARY, "tasks", "runs", "interop", "reporting"},
}
MAY_IMPORT = LIBRARY | APPLICATION
EVERYTHING = set(MAY_IMPORT)


def imports_of(text: str) -> set[str]:
    """Return the rooms of ours that a file imports, wherever in the file it does so."""
    rooms = set()
    for node in ast.walk(ast.parse(text)):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "write imports in full"
            names = [f"{node.module}.{a.name}" for a in node.names] if node.module == "uncollapse" else [node.module]
        rooms |= {name.split(".")[1] for name in names if name.startswith("uncollapse.")}
    return rooms


def wrong_imports(room, text=""):
    """Return the rooms that the files of a room import and may not; `text` is one more file of it."""
    files = sorted((ROOT / room).rglob("*.py")) or [ROOT / f"{room}.py"]
    rooms = set().union(*(imports_of(path.read_text()) for path in files), imports_of(text))
    return rooms & EVERYTHING - MAY_IMPORT[room] - FLOOR - {room}


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_the_import_table_holds(room):
    assert not wrong_imports(room)


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_a_planted_import_is_found(room):
    forbidden = EVERYTHING - MAY_IMPORT[room] - FLOOR - {room}
    for other in forbidden:
        assert wrong_imports(room, f"def f():\n    from uncollapse.{other} import x") == {other}
    assert room == "cli" or "cli" in forbidden


def test_there_are_no_circles():
    for room, below in MAY_IMPORT.items():
        assert all(room not in MAY_IMPORT[other] for other in below)


def test_the_table_names_every_room():
    rooms = {p.stem for p in ROOT.glob("*.py")} | {p.parent.name for p in ROOT.glob("*/__init__.py")}
    assert rooms - {"__init__", "__main__"} == set(MAY_IMPORT)


def test_config_and_help_do_without_torch():
    code = (
        "import sys, uncollapse.runs.compose, uncollapse.schedules, uncollapse.cli; uncollapse.cli.main(['--help']); "
    )
    code += "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_every_public_name_works_twice_in_any_order():
    names = [name for name in uc.__all__ if name != "__version__"]
    random = np.random.default_rng(0)
    code = (
        "import uncollapse as uc\n"
        "for name in {order!r} * 2:\n"
        "    assert getattr(uc, name) is getattr(uc, name), name\n"
        "for _ in range(2):\n"
        "    for call in (lambda: uc.load('no such run'), lambda: uc.Run('no such run'), lambda: uc.train('no such recipe')):\n"
        "        try:\n            call()\n"
        "        except uc.UserError as error:\n            pass\n"
        "        else:\n            raise AssertionError\n"
    )
    for order in (names[::-1], random.permutation(names).tolist()):
        subprocess.run([sys.executable, "-c", code.format(order=order)], check=True)


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        uc.nothing  # noqa: B018
    assert set(uc.__all__) <= set(dir(uc))


@pytest.mark.parametrize("room", ["training", "evaluation", "objectives.py", "distributions", "model.py", "generation"])
def test_loop_objectives_and_evaluation_know_nothing_of_pictures(room):
    path = ROOT / room
    for file in [path] if path.is_file() else path.rglob("*.py"):
        assert not re.search(r"pixel|picture|image", file.read_text(), re.IGNORECASE), file


def test_no_file_is_read_in_a_way_that_could_execute_it():
    unsafe = {
        r"torch\.load\((?!.*weights_only=True)": "a pickle",
        r"np\.load\(.*allow_pickle=True": "a pickle",
        r"\bimport pickle|\bpickle\.load|\bmarshal\b|\bshelve\b": "a pickle",
        r"yaml\.(full_load|unsafe_load)\(|yaml\.load\((?!.*, LOADER\))": "objects of YAML",
        r"\beval\(|\bexec\(|\bimport_module\((?!f\"uncollapse)": "code",
    }
    assert files.LOADER in (yaml.SafeLoader, getattr(yaml, "CSafeLoader", None))
    for file in ROOT.rglob("*.py"):
        for pattern, what in unsafe.items():
            for line in file.read_text().splitlines():
                if re.search(pattern, line) and "model.eval()" not in line and ".eval()" not in line:
                    assert file.name == "lazy.py", f"{file}: {what} may be executed: {line.strip()}"
