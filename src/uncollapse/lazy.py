"""Public names of a package, imported when they are first used, so that `import uncollapse` is quick."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy(package: str, modules: Mapping[str, tuple[str, ...]]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` of a package.

    Args:
        package: its name.
        modules: the public names that each module has; the last part of its own name is the module itself.
    """
    homes = {name: module for module, names in modules.items() for name in names}

    def getattribute(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = import_module(homes[name])
        own = homes[name].rpartition(".")[2] == name
        # a function may have the name of its module: `evaluation.evaluate.evaluate`
        return getattr(module, name, module) if own else getattr(module, name)

    return getattribute, lambda: sorted({*homes, *vars(sys.modules[package])})
