import itertools
import math

import numpy as np
import pytest

from uncollapse.data.grammar import Grammar, english, only, ranked


def small_layout(factors):
    slots = [ranked("one two three") if factors["number"] == "plural" else only("a"), ranked("cat dog")]
    slots += [only("sleeps" if factors["tense"] == "present" else "slept")]
    return slots + ([only("here")] if factors["place"] == "yes" else [])


SMALL = Grammar(
    {
        "number": {"plural": 0.3, "singular": 0.7},
        "tense": {"present": 0.4, "past": 0.6},
        "place": {"yes": 0.2, "no": 0.8},
    },
    small_layout,
)


def all_sentences(grammar):
    return {" ".join(w) for d in grammar.derivations for w in itertools.product(*d.slots)}


def test_the_likelihood_of_an_enumerable_grammar_sums_to_one_and_gives_its_entropy():
    probabilities = [math.exp(SMALL.log_prob(sentence)) for sentence in all_sentences(SMALL)]
    assert sum(probabilities) == pytest.approx(1)
    assert SMALL.entropy() == pytest.approx(-sum(p * math.log(p) for p in probabilities))


def test_ambiguous_grammars_still_have_a_likelihood_but_refuse_an_entropy():
    ambiguous = Grammar(
        {"coin": {"a": 0.5, "b": 0.5}}, lambda f: [ranked("x y") if f["coin"] == "a" else ranked("y z")]
    )
    assert sum(math.exp(ambiguous.log_prob(s)) for s in all_sentences(ambiguous)) == pytest.approx(1)
    with pytest.raises(ValueError, match="two derivations"):
        ambiguous.entropy()


def test_the_embedded_grammar_is_unambiguous_and_of_the_promised_size():
    grammar = english()
    assert grammar.ambiguity() is None
    assert sum(d.probability for d in grammar.derivations) == pytest.approx(1)
    assert {len(d.slots) for d in grammar.derivations} == set(range(6, 15))
    words = {word for d in grammar.derivations for slot in d.slots for word in slot}
    assert 200 <= len(words) <= 600
    assert all(sum(slot.values()) == pytest.approx(1) for d in grammar.derivations for slot in d.slots)


def test_the_mean_of_minus_log_p_over_samples_is_the_entropy():
    sentences, _ = english().sample(4000, np.random.default_rng(0))
    values = np.array([-english().log_prob(s) for s in sentences])
    assert abs(values.mean() - english().entropy()) < 4 * values.std() / len(values) ** 0.5
    assert english().nll(sentences) == pytest.approx(values.mean())


def test_samples_have_the_frequencies_of_their_probability():
    sentences, factors = SMALL.sample(40_000, np.random.default_rng(1))
    for sentence in all_sentences(SMALL):
        p = math.exp(SMALL.log_prob(sentence))
        assert abs(sentences.count(sentence) / 40_000 - p) < 5 * (p * (1 - p) / 40_000) ** 0.5
    assert abs(factors["place"].count("yes") / 40_000 - 0.2) < 0.01


def test_what_the_grammar_does_not_make_is_impossible():
    assert english().log_prob("the trader sold the shares .") > -math.inf
    for wrong in (
        "the trader sell the shares .",
        "the traders sells the shares .",
        "the trader sold the wheat .",
        "",
        "x",
    ):
        assert english().log_prob(wrong) == -math.inf
