"""Labels: the classes of every field, and how a user names them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from torch import Tensor

from uncollapse.errors import UserError, suggest

Labels = Mapping[str, Tensor]
"""For each label field, the class of every sentence, `[B]`."""
UNLABELLED: Labels = MappingProxyType({})

LabelSpec = str | Mapping[str, str | Sequence[str]]
"""Labels as a user gives them: `past`, `tense=past`, or `{"tense": "past"}` with one label for all sentences or one for each."""


@dataclass(frozen=True)
class LabelSpace:
    """What labels there are.

    Attributes:
        names: for each field, the names of its classes.
    """

    names: Mapping[str, tuple[str, ...]]

    @property
    def sizes(self) -> dict[str, int]:
        """Return the number of classes of every field."""
        return {field: len(names) for field, names in self.names.items()}

    def only(self, fields: Sequence[str]) -> "LabelSpace":
        """Return the space of some fields.

        Raises:
            UserError: a field that there is not.
        """
        for field in fields:
            if field not in self.names:
                raise UserError(
                    f"model.condition: the data have no label field {field!r}; they have {', '.join(self.names) or 'none'}"
                )
        return LabelSpace({field: self.names[field] for field in fields})

    def ids(self, field: str, labels: Sequence[str]) -> np.ndarray:
        """Return the class of each label, `[N]`.

        Raises:
            UserError: a label that the field does not have.
        """
        known = {name: i for i, name in enumerate(self.names[field])}
        for label in labels:
            if label not in known:
                raise UserError(f"unknown label {label!r} of {field}: {suggest(label, known)}")
        return np.array([known[label] for label in labels], dtype=np.int64)

    def read(self, asked: LabelSpec) -> dict[str, str | Sequence[str]]:
        """Return what was asked for, by field: `past`, `tense=past` or `tense=past,number=one` as text.

        Raises:
            UserError: an unknown field, a label without its field where there are several, or something else than labels.
        """
        if not isinstance(asked, str | Mapping):
            raise UserError(f"labels: expected text, or names and values, got {asked!r}")
        only = next(iter(self.names)) if len(self.names) == 1 else ""
        if isinstance(asked, str) and only and (asked.strip() in self.names[only] or not set("=,") & set(asked)):
            return {only: asked.strip()}
        if isinstance(asked, str):
            parts = [part.partition("=") for part in asked.split(",")]
            if any(not equals for _, equals, _ in parts):
                raise UserError(
                    f"label {asked!r}: expected field=label, of the fields {', '.join(self.names) or 'none'}"
                )
            twice = [field for field, count in Counter(field.strip() for field, _, _ in parts).items() if count > 1]
            if twice:
                raise UserError(f"label {asked!r}: expected one label a field, got several of {', '.join(twice)}")
            asked = {field.strip(): label.strip() for field, _, label in parts}
        for field in asked:
            if field not in self.names:
                raise UserError(f"unknown label field {field!r}: {suggest(field, self.names)}")
            several = asked[field] if isinstance(asked[field], Iterable) else [asked[field]]
            if not all(isinstance(label, str) for label in several):
                raise UserError(f"labels of {field}: expected text, got {asked[field]!r}")
        return dict(asked)

    def of_sentences(self, asked: LabelSpec, count: int) -> dict[str, np.ndarray]:
        """Return the class of every sentence in every field of this space, `[count]` each.

        Raises:
            UserError: an unknown label or field, a field without a label, or not one label a sentence.
        """
        given = self.read(asked)
        if missing := [field for field in self.names if field not in given]:
            raise UserError(f"expected a label for {', '.join(missing)}, got {', '.join(given) or 'none'}")
        classes = {}
        for field, labels in given.items():
            each = [labels] * count if isinstance(labels, str) else list(labels)
            if len(each) != count:
                raise UserError(f"labels of {field}: expected one a sentence ({count}), got {len(each)}")
            classes[field] = self.ids(field, each)
        return classes


UNLABELLED_DATA = LabelSpace({})
