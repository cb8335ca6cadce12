"""Pictures: from files to intensities in three splits, each picture once."""

import hashlib
import io
import re
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from uncollapse.data.picture_arrays import CHARDATA, read_arrays, validate_count
from uncollapse.data.reading import existing
from uncollapse.data.splits import PARTS
from uncollapse.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

ARRAYS = (".npz", ".npy", ".mat", ".pt")
CHARDATA_VALID = 2000
PNG_BYTES = 2**24
"""The most bytes of a .png."""


@dataclass(frozen=True)
class Intensities:
    """Pictures before they are binarised.

    Attributes:
        ink: how much ink each pixel has, 0 to 1, `[N, side, side]`.
        labels: for each label field, the label of every picture.
        drawers: who drew each picture, or empty.
    """

    ink: np.ndarray
    labels: dict[str, list[str]] = field(default_factory=dict)
    drawers: tuple[str, ...] = ()

    def take(self, indices: np.ndarray) -> "Intensities":
        """Return the pictures at `indices`."""
        labels = {name: [values[i] for i in indices] for name, values in self.labels.items()}
        return Intensities(self.ink[indices], labels, tuple(self.drawers[i] for i in indices) if self.drawers else ())


def read_pictures(path: Path, side: int, held_out: float, *, seed: int) -> tuple[dict[str, Intensities], list[str]]:
    """Read the three splits of a set of pictures.

    Args:
        path: arrays (.npz, .npy, .mat, .pt), a .zip of PNGs, or a folder of PNGs or zips (or one that holds chardata.mat).
        side: to which pictures from PNGs are resized; arrays must have it.
        held_out: share split off for each missing part.
        seed: of the pictures split off.

    Returns:
        the splits by name, and messages for the user.

    Raises:
        UserError: nothing there, a damaged file, pictures of another shape, values that are no intensities.
    """
    if existing(path).is_dir() and (path / "chardata.mat").is_file():
        path /= "chardata.mat"
    files = sorted(path.iterdir()) if path.is_dir() else []
    inside = [file for file in files if file.suffix in ARRAYS and file.is_file()]
    path = inside[0] if len(inside) == 1 else path
    if path.suffix in ARRAYS:
        return _parts_of_arrays(read_arrays(path, side), path, held_out, seed)
    if path.suffix not in (".zip", ".png") and not path.is_dir():
        raise UserError(f"{path}: expected pictures ({', '.join(ARRAYS)}, .zip or a folder of .png), got {path.name}")
    intensities, messages = _read_png(path, side)
    return _split(intensities, held_out, seed, messages)


def pictures_in(path: Path, side: int) -> Intensities:
    """Read the pictures of one file or folder, all its parts together; errors as in `read_pictures`."""
    if existing(path).suffix in ARRAYS and path.is_file():
        return Intensities(np.concatenate(list(read_arrays(path, side).values())))
    return _read_png(path, side)[0]


def _parts_of_arrays(
    arrays: dict[str, np.ndarray], path: Path, held_out: float, seed: int
) -> tuple[dict[str, Intensities], list[str]]:
    if set(CHARDATA) <= set(arrays):
        return _chardata(path, arrays, seed)
    if "train" in arrays:
        parts = {part: Intensities(arrays[part]) for part in PARTS if part in arrays}
        messages: list[str] = []
        for part in ("test", "valid"):
            if part not in parts:
                parts["train"], parts[part] = _split_off(parts["train"], held_out, seed, part, messages)
        return parts, messages
    if len(arrays) != 1:
        raise UserError(f"{path}: expected one array, or train, valid and test, got {', '.join(arrays)}")
    return _split(Intensities(next(iter(arrays.values()))), held_out, seed, [])


def _chardata(path: Path, arrays: dict[str, np.ndarray], seed: int) -> tuple[dict[str, Intensities], list[str]]:
    """Return the split of Omniglot of Kim et al. 2018, which He et al. 2019 take: 22,345, 2,000 at random, and 8,070."""
    sizes = {key: len(arrays[key]) for key in CHARDATA if key in arrays}
    if sizes != CHARDATA:
        raise UserError(f"{path}: expected Omniglot's arrays {CHARDATA}, got {sizes or ', '.join(arrays)}")
    order, ink = np.random.default_rng(seed).permutation(len(arrays["data"])), Intensities(arrays["data"])
    train, valid = (ink.take(np.sort(part)) for part in (order[CHARDATA_VALID:], order[:CHARDATA_VALID]))
    said = f"the published split of Omniglot: {CHARDATA_VALID:,} training pictures (seed {seed}) are for validation"
    return {"train": train, "valid": valid, "test": Intensities(arrays["testdata"])}, [said]


def _read_png(path: Path, side: int) -> tuple[Intensities, list[str]]:
    """Read PNGs of a folder or of zips; pictures that occur twice are taken once; more light than ink is turned round."""
    from PIL import Image

    seen: dict[bytes, tuple[np.ndarray, str, str]] = {}
    read = 0
    for name, content in _png_files(path):
        if len(content) > PNG_BYTES:
            raise UserError(f"{name}: expected a picture of at most {PNG_BYTES:,} bytes, got more; make it smaller")
        validate_count(len(seen), side, str(path))
        try:
            with warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning):
                picture = _grey(Image.open(io.BytesIO(content), formats=("PNG",)))
        except Exception as error:  # whatever a damaged file makes its reader raise
            raise UserError(f"{name}: cannot be read as a picture ({type(error).__name__})") from None
        light = np.asarray(picture.resize((side, side), Image.Resampling.BOX), dtype=np.float32) / 255
        read += 1
        drawer, above = re.search(r"\d{4}_(\d{2})\.png$", name), Path(name).parts[:-1]
        seen.setdefault(
            hashlib.sha256(content).digest(), (light, (above[-2:] or ("",))[0], drawer[1] if drawer else "")
        )
    if not seen:
        raise UserError(f"{path}: expected pictures (*.png), found none")
    ink = np.stack([light for light, _, _ in seen.values()])
    groups, drawers = [group for _, group, _ in seen.values()], [drawer for _, _, drawer in seen.values()]
    ink = 1 - ink if ink.mean() > 0.5 else ink
    labels = {"group": groups} if len(set(groups)) > 1 else {}
    messages = (
        [f"{read - len(seen):,} of {read:,} pictures occur twice and were taken once"] if read > len(seen) else []
    )
    return Intensities(ink, labels, tuple(drawers) if all(drawers) else ()), messages


def _grey(picture: "Image") -> "Image":
    """Return a picture in grey, what is transparent as paper (white)."""
    from PIL import Image

    if picture.mode.startswith("I"):  # 16 bits
        return Image.fromarray((np.asarray(picture, dtype=np.float64) / 257).clip(0, 255).astype(np.uint8))
    if "A" in picture.mode or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("L")


def _png_files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the content (at most a byte above `PNG_BYTES`) of every PNG in a zip, or in a folder and its zips."""
    files, base = ([path], path.parent) if path.is_file() else (sorted(filter(Path.is_file, path.rglob("*"))), path)
    for archive in files:
        if archive.suffix == ".zip":
            try:
                with zipfile.ZipFile(archive) as opened:
                    for name in sorted(opened.namelist()):
                        if name.endswith(".png"):
                            with opened.open(name) as file:
                                yield name, file.read(PNG_BYTES + 1)
            except Exception as error:
                raise UserError(f"{archive}: cannot be read as a zip ({type(error).__name__})") from None
    for picture in files:
        if picture.suffix == ".png":
            with picture.open("rb") as file:
                yield str(picture.relative_to(base)), file.read(PNG_BYTES + 1)


def _split(
    intensities: Intensities, held_out: float, seed: int, messages: list[str]
) -> tuple[dict[str, Intensities], list[str]]:
    """Split pictures by drawer where their names tell who drew them, else at random."""
    drawers = sorted(set(intensities.drawers))
    if 5 <= len(drawers) <= len(intensities.ink) // 2:
        held = max(1, len(drawers) // 10)
        of = {"test": drawers[-held:], "valid": drawers[-2 * held : -held], "train": drawers[: -2 * held]}
        parts = {part: intensities.take(np.flatnonzero(np.isin(intensities.drawers, list(of[part])))) for part in PARTS}
        said = f"split by drawer: {len(of['train'])} for training, {held} for validation, {held} for the test"
        return parts, [*messages, f"{said}; a reduced split, not a published one"]
    rest, test = _split_off(intensities, held_out, seed, "test", messages)
    train, valid = _split_off(rest, held_out, seed, "valid", messages)
    return {"train": train, "valid": valid, "test": test}, messages


def _split_off(
    intensities: Intensities, held_out: float, seed: int, part: str, messages: list[str]
) -> tuple[Intensities, Intensities]:
    if not held_out:
        raise UserError(f"data.held_out 0 is for text; pictures need a {part} part, or a share above 0")
    held = round(len(intensities.ink) * held_out)
    if not 0 < held < len(intensities.ink):
        raise UserError(
            f"{len(intensities.ink)} pictures are too few to split off a {part} part; give more of them, a larger "
            "data.held_out, or train, valid and test"
        )
    order = np.random.default_rng([seed, len(part)]).permutation(len(intensities.ink))
    messages.append(
        f"no {part} part: {held:,} pictures ({held_out:.0%}) were split off the training part (seed {seed})"
    )
    return intensities.take(np.sort(order[held:])), intensities.take(np.sort(order[:held]))
