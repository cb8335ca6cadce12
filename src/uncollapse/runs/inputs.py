"""What a user hands to a trained model, checked: sentences, labels and codes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from uncollapse.data.corpus import Corpus
from uncollapse.data.labels import UNLABELLED, Labels, LabelSpace, LabelSpec
from uncollapse.data.vocabulary import UNK, Vocabulary, tokenise
from uncollapse.errors import UserError


@dataclass(frozen=True)
class Inputs:
    """What a run takes.

    Attributes:
        name: of the run, for messages.
        vocabulary: its tokens.
        label_space: the labels of its condition; none where it is unconditional.
        latent: Z, the width of a code; 0 for a language model.
        side: of its pictures, in pixels.
    """

    name: str
    vocabulary: Vocabulary
    label_space: LabelSpace
    latent: int
    side: int

    def corpus(self, texts: Sequence[str], labels: LabelSpec | None) -> Corpus:
        """Return sentences as a corpus, with their classes.

        Raises:
            UserError: no list of sentences, pictures of another size, labels that are missing or unknown.
        """
        if isinstance(texts, str):
            raise UserError("expected a list of sentences, got one string; write [text]")
        if not len(texts):
            raise UserError("expected at least one sentence, got none")
        if strange := [text for text in texts if not isinstance(text, str)]:
            raise UserError(f"expected sentences as text, got {strange[0]!r}")
        corpus = Corpus.from_texts(texts, self.vocabulary)
        if not self.vocabulary.of_text and ((corpus.lengths != self.side**2 + 1).any() or corpus.unknown):
            raise UserError(
                f"expected pictures of {self.side} x {self.side} as rows of # and · (see `texts_of`), got other text"
            )
        classes = {field: values.numpy() for field, values in self.classes(labels, len(texts)).items()}
        return replace(corpus, labels=classes, label_names=dict(self.label_space.names))

    def classes(self, labels: LabelSpec | None, count: int) -> Labels:
        """Return the class of each of `count` sentences in every field of the condition.

        Raises:
            UserError: labels for an unconditional run; labels that are missing or unknown.
        """
        if not self.label_space.names:
            if labels:
                raise UserError(f"{self.name}: the run is unconditional and takes no labels, got {labels!r}")
            return UNLABELLED
        if labels is None:
            known = "; ".join(f"{field}: {', '.join(names)}" for field, names in self.label_space.names.items())
            raise UserError(
                f"{self.name}: the run is conditional, expected labels ({known}), got none; name one (--label)"
            )
        by_field = self.label_space.of_sentences(labels, count)
        return {field: torch.from_numpy(classes) for field, classes in by_field.items()}

    def codes(self, z: np.ndarray | Tensor, labels: LabelSpec | None) -> tuple[Tensor, Labels]:
        """Return codes `[N, Z]` on the CPU, and the classes they are decoded under.

        Raises:
            UserError: no finite numbers, another shape, labels that are missing or unknown.
        """
        codes = as_codes(z)
        if codes.ndim != 2 or codes.shape[1] != self.latent:
            raise UserError(f"decode: expected codes of shape [N, {self.latent}], got {list(codes.shape)}")
        return codes, self.classes(labels, len(codes))

    def code(self, z: np.ndarray | Tensor) -> Tensor:
        """Return one code `[Z]` on the CPU.

        Raises:
            UserError: no finite numbers, or another shape.
        """
        code = as_codes(z)
        if code.shape != (self.latent,):
            raise UserError(f"expected a sentence or a code of shape [{self.latent}], got {list(code.shape)}")
        return code

    def unknown_words(self, texts: Iterable[str]) -> int:
        """Count the tokens that are not in the vocabulary."""
        return sum(i == UNK for text in texts for i in self.vocabulary.encode(text))

    def need_letters(self, texts: Iterable[str]) -> None:
        """Raise UserError for letters that a run on characters does not know."""
        if self.vocabulary.level != "char":
            return
        for number, text in enumerate(texts, 1):
            if strange := set(tokenise(text, "char", self.vocabulary.lowercase)) - set(self.vocabulary.ids):
                letters = " ".join(map(repr, sorted(strange)))
                raise UserError(
                    f"sentence {number}, {text!r}: expected letters that the run was trained on, got {letters}"
                )

    def need_labels(self) -> None:
        """Raise UserError unless the run is conditional."""
        if not self.label_space.names:
            raise UserError(
                f"{self.name}: expected a conditional run, but this one was trained without --model.condition"
            )

    def need_latent(self) -> None:
        """Raise UserError for a language model."""
        if not self.latent:
            raise UserError(
                f"{self.name}: a language model (model.latent 0) has no latent space; use sample or evaluate"
            )


def as_codes(z: np.ndarray | Tensor) -> Tensor:
    """Return codes as a tensor on the CPU.

    Raises:
        UserError: what is no array of finite numbers.
    """
    try:
        codes = (z.detach().cpu() if isinstance(z, Tensor) else torch.as_tensor(np.asarray(z))).float()
    except (TypeError, ValueError):
        raise UserError(f"expected codes as an array of numbers, got {type(z).__name__}") from None
    if not bool(codes.isfinite().all()):
        raise UserError("expected codes of finite numbers, got nan or infinity")
    return codes
