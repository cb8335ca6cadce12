"""Minimal pairs by class: thousands of them from templates and a lexicon, or those of a file.

A template is a row of slots. `N` and `M` are nouns, each singular or plural (`N+`: plural); `V` an intransitive verb and `L` a
transitive one, in the form of the noun after the colon; `H` a past form; `R` the reflexive of the noun; `A` an adjective; `P` a
preposition; every other word is itself. The slot with `!` is right in one sentence of a pair and wrong in the other: a verb or
reflexive of the other number, or `no` and `the` exchanged.

The classes are those of Marvin & Linzen 2018 (Targeted Syntactic Evaluation of Language Models), table 1, which Prokhorov et al.
2019 use (of those of polarity, the sentences with `have ever been`); templates and lexicon are ours.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uncollapse.data.reading import lines_of
from uncollapse.errors import UserError
from uncollapse.files import read_yaml

TEMPLATES = {
    "agreement": "the N V:N!",
    "agreement, complement": "the M said the N V:N!",
    "agreement, coordination": "the N V:N and V:N!",
    "agreement, long coordination": "the N L:N the A M every day and V:N!",
    "agreement, prepositional phrase": "the N P the M V:N!",
    "agreement, subject relative": "the N that L:N the M V:N!",
    "agreement, object relative": "the N that the M L:M V:N!",
    "agreement, object relative, no that": "the N the M L:M V:N!",
    "agreement, within object relative": "the N that the M L:M! V:N",
    "agreement, within object relative, no that": "the N the M L:M! V:N",
    "reflexive": "the N H R:N!",
    "reflexive, complement": "the M said the N H R:N!",
    "reflexive, object relative": "the N that the M L:M H R:N!",
    "polarity": "no! N+ have ever been A",
    "polarity, object relative": "no! N+ that the! M+ L:M have ever been A",
}
"""The classes."""
REFLEXIVES = ("himself", "themselves")
PLAIN = {"H": "past", "A": "adjectives", "P": "prepositions"}
"""Slots of words without a number."""


@dataclass(frozen=True)
class MinimalPair:
    """A right sentence and a wrong one.

    Attributes:
        kind: the class.
        right: the sentence that is right.
        wrong: the sentence that is wrong.
        numbers: of its nouns, such as `singular plural`; empty for pairs of a file. The pairs of a class with the same numbers
            share a mean code.
    """

    kind: str
    right: str
    wrong: str
    numbers: str = ""


@dataclass(frozen=True)
class Lexicon:
    """Words by slot, each as its forms: singular and plural, or the one that there is twice."""

    slots: dict[str, list[tuple[str, str]]]

    @staticmethod
    def known(knows: Callable[[str], bool]) -> "Lexicon":
        """Return the words of which all forms are known, such as to a vocabulary."""
        words = read_yaml(Path(__file__).parent / "lexicon.yaml")
        plurals = words.pop("plurals")
        of = {name: text.split() for name, text in words.items()}
        forms = {
            "N": [(noun, plurals.get(noun, noun + "s")) for noun in of["nouns"]],
            "V": [(verb + "s", verb) for verb in of["verbs"]],
            "L": [(verb + "s", verb) for verb in of["transitive"]],
            "R": [REFLEXIVES],
            **{slot: [(word, word) for word in of[name]] for slot, name in PLAIN.items()},
        }
        return Lexicon({slot: [pair for pair in pairs if all(map(knows, pair))] for slot, pairs in forms.items()})

    def serves(self, kind: str, knows: Callable[[str], bool]) -> bool:
        """Return whether there are words for every slot of a class, and its own words are known."""
        return all(
            self.slots[slot] if (slot := _slot(part)) in self.slots else knows(slot) for part in TEMPLATES[kind].split()
        )

    def draw(self, kind: str, random: np.random.Generator) -> MinimalPair | None:
        """Draw a pair of a class, no word of the lexicon twice in it; None where a slot has no word left."""
        number = {noun: int(random.integers(2)) for noun in "NM"}
        right, wrong, numbers, used = [], [], list[str](), set[str]()
        for part in TEMPLATES[kind].split():
            slot, contested = _slot(part), part.endswith("!")
            if slot not in self.slots:
                one, other = slot, {"no": "the", "the": "no"}.get(slot, slot)
            else:
                noun = part.rstrip("!").partition(":")[2] or part[0]  # the noun whose number it has
                number[noun] = 1 if "+" in part else number.get(noun, 0)
                fresh = [forms for forms in self.slots[slot] if not used & {*forms}]
                if not fresh:
                    return None
                forms = fresh[int(random.integers(len(fresh)))]
                used |= {*forms}
                one, other = forms[number[noun]], forms[1 - number[noun]]
                numbers += [("singular", "plural")[number[noun]]] if slot == "N" else []
            right.append(one)
            wrong.append(other if contested else one)
        return MinimalPair(kind, " ".join(right), " ".join(wrong), " ".join(numbers))


def _slot(part: str) -> str:
    """Return the slot of a part of a template, such as V of `V:N!`; a noun is N."""
    slot = part.rstrip("!").partition(":")[0].rstrip("+")
    return "N" if slot == "M" else slot


def generate_pairs(knows: Callable[[str], bool], count: int = 1000, seed: int = 0) -> list[MinimalPair]:
    """Return up to `count` different pairs of every class whose words are known; fewer where the lexicon has no more.

    Args:
        knows: whether a word is known.
        count: of each class.
        seed: of the draws.
    """
    lexicon, pairs = Lexicon.known(knows), list[MinimalPair]()
    for number, kind in enumerate(TEMPLATES):
        if not lexicon.serves(kind, knows):
            continue
        random, found = np.random.default_rng([seed, number]), dict[str, MinimalPair]()
        for _ in range(20 * count):
            if pair := lexicon.draw(kind, random):
                found.setdefault(pair.right, pair)
            if len(found) == count:
                break
        pairs += found.values()
    return pairs


def read_minimal_pairs(path: Path) -> list[MinimalPair]:
    """Read a pair a line: class, right sentence and wrong sentence, separated by tabs.

    Raises:
        UserError: no such file, another number of columns, or a pair of two equal sentences.
    """
    pairs = []
    for number, line in lines_of(path):
        parts = [part.strip() for part in line.split("\t")]
        if len(parts) != 3 or not all(parts):
            raise UserError(f"{path}, line {number}: expected CLASS<tab>RIGHT<tab>WRONG, got {line[:60]!r}")
        if parts[1] == parts[2]:
            raise UserError(f"{path}, line {number}: expected two different sentences, got {parts[1][:60]!r} twice")
        pairs.append(MinimalPair(*parts))
    if not pairs:
        raise UserError(f"{path}: expected at least one pair, got none")
    return pairs
