"""The rooms of the house: who may import whom."""

import ast
import re
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import pytest

import uncollapse as uc

ROOT = Path(uc.__file__).parent
LIBRARY = {
    "errors": set(),
    "files": set(),
    "torch_private": set(),
    "schedules": set(),
    "sections": set(),
    "config": {"files", "sections"},
    "latent": {"torch_private"},
    "data": {"sections", "files"},
    "divergences": {"latent"},
    "nn": {"torch_private", "latent", "data"},
    "model": {"latent", "divergences", "data", "nn"},
    "objectives": {"latent", "schedules", "data", "model", "nn"},
    "generation": {"latent", "data", "model", "nn"},
    "evaluation": {"latent", "data", "divergences", "nn", "model", "generation"},
}
EVERYTHING = {*LIBRARY, "run", "training", "tasks", "checks", "build", "plan", "launch", "protocols", "reporting", "api", "bench",
              "samples", "importers", "cli"}  # fmt: skip
BELOW_API = {*LIBRARY, "run", "training", "tasks", "checks", "build", "plan", "launch", "protocols"}
MAY_IMPORT = {
    **LIBRARY,
    "run": {"config", "files", "data", "latent"},
    "training": {"sections", "data", "schedules", "nn", "model", "objectives", "evaluation", "run"},
    "tasks": {"data", "schedules", "latent", "model", "generation", "evaluation", "training"},
    "checks": {"config", "data", "tasks"},
    "build": {*LIBRARY, "run", "training", "tasks", "checks"},
    "plan": {"checks", "sections", "config", "data", "model", "nn", "run", "training", "build"},
    "launch": {"config", "evaluation", "run", "training", "plan"},
    "protocols": {"data", "latent", "model", "evaluation", "tasks"},
    "api": BELOW_API - {"api"},
    "bench": {*BELOW_API, "api"},
    "samples": {*BELOW_API, "api"},
    "importers": {*BELOW_API, "api"},
    "reporting": {"files", "run", "protocols", "bench"},
    "cli": EVERYTHING,
}


def imports_of(path: Path) -> set[str]:
    """Return the rooms of ours that a file imports, wherever in the file it does so."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            names = [f"{node.module}.{a.name}" for a in node.names] if node.module == "uncollapse" else [node.module]
        rooms |= {name.split(".")[1] for name in names if name.startswith("uncollapse.")}
    return rooms


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_the_import_table_holds(room):
    files = sorted((ROOT / room).rglob("*.py")) or [ROOT / f"{room}.py"]
    allowed = MAY_IMPORT[room] | {room, "errors"}
    for path in files:
        assert imports_of(path) & EVERYTHING <= allowed, f"{path.name} imports {imports_of(path) - allowed}"


def test_the_table_names_every_room():
    rooms = {p.stem for p in ROOT.glob("*.py")} | {p.parent.name for p in ROOT.glob("*/__init__.py")}
    assert rooms - {"__init__", "__main__"} == set(MAY_IMPORT)


def test_config_and_help_do_without_torch():
    code = "import sys, uncollapse.config, uncollapse.schedules, uncollapse.cli; uncollapse.cli.main(['--help']); "
    code += "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_every_public_name_works_twice_in_any_order():
    names = [name for name in uc.__all__ if name != "__version__"]
    orders = list(permutations(names))[:: max(1, len(list(permutations(names))) // 8)]
    code = (
        "import uncollapse as uc\n"
        "for name in {order!r} * 2:\n"
        "    assert callable(getattr(uc, name)), name\n"
        "for _ in range(2):\n"
        "    for call in (lambda: uc.load('no such run'), lambda: uc.Run('no such run'), lambda: uc.train('no such recipe')):\n"
        "        try:\n            call()\n"
        "        except uc.UserError as error:\n            pass\n"
        "        else:\n            raise AssertionError\n"
    )
    for order in orders[1:2]:
        subprocess.run([sys.executable, "-c", code.format(order=list(order))], check=True)


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        uc.nothing  # noqa: B018
    assert set(uc.__all__) <= set(dir(uc))


@pytest.mark.parametrize(
    "room", ["training", "evaluation", "objectives.py", "divergences.py", "model.py", "generation"]
)
def test_loop_objectives_and_evaluation_know_nothing_of_pictures(room):
    path = ROOT / room
    for file in [path] if path.is_file() else path.rglob("*.py"):
        assert not re.search(r"pixel|picture|image", file.read_text(), re.IGNORECASE), file
