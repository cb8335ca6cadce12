"""The morphology engine: known verbs, the rules, and the rows of the tense lab."""

import pytest

from tests.conftest import needs_shared
from uncollapse.tasks.forms.morphology import (
    TENSES,
    Verb,
    base_verbs,
    conjugate,
    doubles,
    is_regular,
    regular,
    syllables,
)

RULES = {
    "walk": "walks walking walked",
    "bake": "bakes baking baked",
    "stop": "stops stopping stopped",
    "need": "needs needing needed",
    "quip": "quips quipping quipped",
    "play": "plays playing played",
    "carry": "carries carrying carried",
    "buzz": "buzzes buzzing buzzed",
    "fix": "fixes fixing fixed",
    "wash": "washes washing washed",
    "veto": "vetoes vetoing vetoed",
    "radio": "radios radioing radioed",
    "panic": "panics panicking panicked",
    "tie": "ties tying tied",
    "dye": "dyes dyeing dyed",
    "agree": "agrees agreeing agreed",
    "hoe": "hoes hoeing hoed",
    "singe": "singes singeing singed",
    "admit": "admits admitting admitted",
    "visit": "visits visiting visited",
    "sew": "sews sewing sewed",
    "beg": "begs begging begged",
    "quiz": "quizzes quizzing quizzed",
    "arc": "arcs arcing arced",
    "soliloquy": "soliloquies soliloquying soliloquied",
    "eavesdrop": "eavesdrops eavesdropping eavesdropped",
}
IRREGULAR = {
    "go": "goes going went",
    "be": "is being was",
    "have": "has having had",
    "begin": "begins beginning began",
    "put": "puts putting put",
    "lie": "lies lying lay",
    "understand": "understands understanding understood",
}


@pytest.mark.parametrize(("base", "rest"), [*RULES.items(), *IRREGULAR.items()])
def test_the_four_forms(base, rest):
    assert conjugate(base) == Verb(base, *rest.split())
    assert is_regular(conjugate(base)) == (base in RULES)


def test_an_invented_verb_follows_the_rules():
    assert regular("wug") == ("wug", "wugs", "wugging", "wugged") and regular("florp").pg == "florping"


def test_doubling_wants_one_vowel_one_consonant_and_the_stress_on_the_last_syllable():
    assert [doubles(word) for word in ("hop", "hope", "heap", "help", "bow", "refer", "offer", "quit")] == [
        True, False, False, False, False, True, False, True,
    ]  # fmt: skip
    assert [syllables(word) for word in ("quit", "offer", "eye", "radio")] == [1, 2, 1, 2]


def test_the_embedded_verbs_are_many_distinct_and_lower_case():
    bases = base_verbs()
    assert len(bases) >= 1500 and len(set(bases)) == len(bases)
    assert all(base.isascii() and base.isalpha() and base.islower() for base in bases)
    assert all(form.isalpha() for base in bases for form in conjugate(base)) and len(TENSES) == 4


# every row of the lab's file that the engine disagrees with, and why
DISAGREEMENTS = {
    "another past is in use": "blend broadcast crow dive heave kneel wet cleave chide",
    "British doubling": "counsel label level quarrel signal total travel",
    "an error of the file": "drip focus glue curse toss beat radio bite freeze",
}


def test_the_engine_agrees_with_the_rows_of_the_tense_lab():
    lines = needs_shared("tense/train.txt").read_text().splitlines()
    rows = dict.fromkeys(tuple(line.split()) for line in lines if line.strip())
    assert len(rows) == 1217
    known = {base for bases in DISAGREEMENTS.values() for base in bases.split()}
    assert {row[0] for row in rows if tuple(conjugate(row[0])) != row} == known
