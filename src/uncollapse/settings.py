"""How a setting is declared: its default, its help and its range, in the dataclass of its section."""

import math
from dataclasses import field
from typing import Any


def setting(default: Any, help: str, low: float = -math.inf, high: float = math.inf) -> Any:
    """Declare one setting: its default, its one-line help and the range it must lie in (both ends allowed)."""
    return field(default=default, metadata={"help": help, "low": low, "high": high})
