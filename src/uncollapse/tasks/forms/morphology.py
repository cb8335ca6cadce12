"""English verbs: from the base form to the third person, the progressive and the past.

Regular verbs follow the rules of spelling; a list says which verbs of several syllables double their last consonant (those
stressed on the last), another which are irregular. American spelling.
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from uncollapse.data.reading import Texts
from uncollapse.data.splits import PARTS

VOWELS = "aeiou"


def _read(name: str) -> list[str]:
    """Return the words of a list that comes with the package."""
    return (Path(__file__).parent / "english" / f"{name}.txt").read_text(encoding="utf-8").split()


class Verb(NamedTuple):
    """The four forms of a verb: `sp` simple present, `tp` third person, `pg` present progressive, `p` simple past."""

    sp: str
    tp: str
    pg: str
    p: str


TENSES = Verb._fields

STRESSED_LAST = frozenset(_read("doubled"))
"""Verbs of several syllables whose last consonant is doubled."""

KEEP_E = frozenset({"singe", "tinge", "swinge"})
"""Verbs that keep their e before -ing."""

PAST = dict(pair.split(":") for pair in _read("irregular"))
"""Base and past of the verbs whose past alone is irregular."""

WHOLE = {
    "be": Verb("be", "is", "being", "was"),
    "have": Verb("have", "has", "having", "had"),
    "do": Verb("do", "does", "doing", "did"),
    "go": Verb("go", "goes", "going", "went"),
    "undergo": Verb("undergo", "undergoes", "undergoing", "underwent"),
    "forgo": Verb("forgo", "forgoes", "forgoing", "forwent"),
    "undo": Verb("undo", "undoes", "undoing", "undid"),
    "redo": Verb("redo", "redoes", "redoing", "redid"),
    "outdo": Verb("outdo", "outdoes", "outdoing", "outdid"),
    "overdo": Verb("overdo", "overdoes", "overdoing", "overdid"),
    "bias": Verb("bias", "biases", "biasing", "biased"),
    "focus": Verb("focus", "focuses", "focusing", "focused"),
    "bus": Verb("bus", "buses", "busing", "bused"),
    "ski": Verb("ski", "skis", "skiing", "skied"),
    "taxi": Verb("taxi", "taxis", "taxiing", "taxied"),
    "stomach": Verb("stomach", "stomachs", "stomaching", "stomached"),
    "forego": Verb("forego", "foregoes", "foregoing", "forewent"),
    "foredo": Verb("foredo", "foredoes", "foredoing", "foredid"),
}
"""The verbs of which more than the past is irregular."""


def ends_with_consonant_and(word: str, letter: str) -> bool:
    """Return whether a word ends with a consonant and this letter."""
    return word.endswith(letter) and len(word) > 1 and word[-2] not in VOWELS


def doubles(base: str) -> bool:
    """Return whether the last consonant is doubled before -ing and -ed: one vowel, one consonant, stress on the last syllable."""
    if len(base) < 2 or base[-1] in VOWELS + "wxyh" or base[-2] not in VOWELS + "y":
        return False
    if len(base) > 2 and base[-3] in VOWELS and not (base[-3] == "u" and base[-4:-3] == "q"):
        return False  # two vowels before it: need, not plan
    return base in STRESSED_LAST or syllables(base) == 1


def syllables(word: str) -> int:
    """Count groups of vowels; the u of qu is none."""
    inside = [c in VOWELS + "y" for c in word.replace("qu", "q")]
    return sum(now and not before for before, now in zip([False, *inside], inside, strict=False))


def regular(base: str) -> Verb:
    """Return the four forms by the rules of spelling alone."""
    stem = base + base[-1] if doubles(base) else base + "k" if re.search("[aeiou]c$", base) else base
    if ends_with_consonant_and(base, "y") or base.endswith("quy"):
        third, past = base[:-1] + "ies", base[:-1] + "ied"
    elif base.endswith(("s", "z")) and doubles(base):
        third, past = stem + "es", stem + "ed"
    elif base.endswith(("s", "x", "z", "ch", "sh")) or ends_with_consonant_and(base, "o"):
        third, past = base + "es", stem + "ed"
    else:
        third, past = base + "s", base + "d" if base.endswith("e") else stem + "ed"
    if base.endswith("ie"):
        progressive = base[:-2] + "ying"
    elif base.endswith("e") and not base.endswith(("ee", "oe", "ye")) and base not in KEEP_E:
        progressive = base[:-1] + "ing"
    else:
        progressive = stem + "ing"
    return Verb(base, third, progressive, past)


def conjugate(base: str) -> Verb:
    """Return the four forms of a verb, known or invented."""
    if base in WHOLE:
        return WHOLE[base]
    return regular(base)._replace(p=PAST[base]) if base in PAST else regular(base)


def is_regular(forms: tuple[str, ...]) -> bool:
    """Return whether four forms are those that the rules of spelling give."""
    return tuple(forms) == tuple(regular(forms[0]))


def base_verbs() -> list[str]:
    """Return the base forms of the embedded corpus `verbs`."""
    return _read("verbs")


def verbs(seed: int, sentences: int) -> dict[str, Texts]:
    """Return rows of four forms; a twentieth of the verbs is held out for validation and as many for the test."""
    order = np.random.default_rng([seed, 0]).permutation(base_verbs()).tolist()
    held = len(order) // 20
    train = order[2 * held :]
    parts = (train[: max(1, sentences // len(TENSES))] if sentences else train, order[:held], order[held : 2 * held])
    rows = (Texts.of_rows([list(conjugate(base)) for base in part], "tense", TENSES) for part in parts)
    return dict(zip(PARTS, rows, strict=True))
