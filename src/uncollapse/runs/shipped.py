"""Small trained runs that come with the package: `model:NAME` stands for the folder of one wherever a run is named."""

from pathlib import Path

from uncollapse.errors import UserError, suggest

FOLDER = Path(__file__).parent / "models"
PREFIX = "model:"


def shipped() -> list[str]:
    """Return the names of the runs that come with the package."""
    return sorted(path.parent.name for path in FOLDER.glob("*/config.yaml"))


def run_path(name: str | Path) -> Path:
    """Return the folder of a run: a path, or `model:NAME`.

    Raises:
        UserError: no such run comes with the package.
    """
    text = str(name)
    if not text.startswith(PREFIX):
        return Path(name)
    if (wanted := text.removeprefix(PREFIX)) not in shipped():
        raise UserError(f"unknown model {wanted!r}: {suggest(wanted, shipped())}")
    return FOLDER / wanted


def is_shipped(path: Path) -> bool:
    """Return whether a folder is that of a run that comes with the package."""
    return path.resolve().parent == FOLDER.resolve()


def refuse_shipped(path: Path) -> None:
    """Refuse to write into a run that comes with the package.

    Raises:
        UserError: it is one.
    """
    if is_shipped(path):
        raise UserError(
            f"{PREFIX}{path.name} comes with the package and stays as it is; copy it first: "
            f"uncollapse models {path.name} --out DIR"
        )
