"""Records of the posterior-mean space of a scalar latent, as a run folder holds them."""

import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from uncollapse.errors import UserError
from uncollapse.files import expect, read_lines


@dataclass(frozen=True)
class MeanSpaceRecords:
    """Records of the posterior-mean space over training.

    Attributes:
        steps: when, `[R]`.
        model: mean of p(z | x) of each sentence, `[R, N]`.
        inference: mean of q(z | x), `[R, N]`.
        half: whether the encoder alone had moved since the record before, `[R]`.
    """

    steps: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    model: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    inference: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    half: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))

    def whole(self) -> "MeanSpaceRecords":
        """Return the records between steps alone."""
        return self._of(~self.half)

    def between(self, first: int, last: int) -> "MeanSpaceRecords":
        """Return the records from the end of one step to the end of another."""
        return self._of((self.steps > first) & (self.steps <= last) | (self.steps == first) & ~self.half)

    def _of(self, kept: np.ndarray) -> "MeanSpaceRecords":
        return MeanSpaceRecords(self.steps[kept], self.model[kept], self.inference[kept], self.half[kept])


def read_records(path: Path) -> MeanSpaceRecords:
    """Read records, one a line; empty where there is no file.

    Raises:
        UserError: a damaged file.
    """
    form = {"step": int, "model": [(int, float)], "inference": [(int, float)]}
    records = [expect(entry, form, str(path)) for entry in read_lines(path)]
    if not records:
        return MeanSpaceRecords()
    if len({len(entry[name]) for entry in records for name in ("model", "inference")}) > 1:
        raise UserError(f"{path}: expected as many points in every record; train again to record")
    model, inference = (np.array([entry[name] for entry in records], np.float32) for name in ("model", "inference"))
    half = np.array([entry.get("half") is True for entry in records])
    return MeanSpaceRecords(np.array([entry["step"] for entry in records]), model, inference, half)


def read_first_version(path: Path) -> MeanSpaceRecords:
    """Read the arrays of a run of version 1.

    Raises:
        UserError: a damaged file.
    """
    try:
        with np.load(path) as arrays:
            steps = arrays["steps"]
            return MeanSpaceRecords(steps, arrays["model"], arrays["inference"], np.zeros(len(steps), bool))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        raise UserError(f"{path}: truncated or damaged; train again to record") from None
