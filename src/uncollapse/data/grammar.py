"""The embedded corpus `grammar`: English-like sentences from known factors, with their exact probability.

A *derivation* is one setting of all factors (topic, number, tense, mood, …). It has a probability and a row of slots;
each slot is a distribution over words, drawn independently. So, exactly,

    p(x) = sum_d p(d) prod_i p(x_i | slot i of d),
    H(x) = H(d) + sum_d p(d) sum_i H(slot i of d) - H(d | x),

and the last term is zero where no sentence has two derivations. Every NLL on this corpus can be read as its distance from
the best that any model can reach.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

Slot = dict[str, float]
Factors = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Derivation:
    """One setting of the factors: its values, its probability and the words that each slot allows."""

    factors: dict[str, str]
    probability: float
    slots: tuple[Slot, ...]


@dataclass(frozen=True)
class Grammar:
    """Independent factors, and a layout that turns their values into slots.

    Attributes:
        factors: for each factor, the probability of each value.
        layout: from the value of every factor to the slots of the sentence.
    """

    factors: Factors
    layout: Callable[[dict[str, str]], Sequence[Slot]]

    @cached_property
    def derivations(self) -> list[Derivation]:
        """Return every derivation."""
        every = []
        for values in itertools.product(*self.factors.values()):
            setting = dict(zip(self.factors, values, strict=True))
            probability = math.prod(self.factors[name][value] for name, value in setting.items())
            every.append(Derivation(setting, probability, tuple(self.layout(setting))))
        return every

    @cached_property
    def _by_length(self) -> dict[int, list[Derivation]]:
        groups: dict[int, list[Derivation]] = {}
        for derivation in self.derivations:
            groups.setdefault(len(derivation.slots), []).append(derivation)
        return groups

    def log_prob(self, sentence: str) -> float:
        """Return log p(x) in nats, -inf for a sentence that the grammar does not make."""
        words = sentence.split()
        total = 0.0
        for derivation in self._by_length.get(len(words), ()):
            probability = derivation.probability
            for word, slot in zip(words, derivation.slots, strict=True):
                probability *= slot.get(word, 0.0)
                if not probability:
                    break
            total += probability
        return math.log(total) if total else -math.inf

    def nll(self, sentences: Iterable[str]) -> float:
        """Return the mean of -log p(x) over sentences: the lowest NLL that a model can honestly reach on them, in nats."""
        values = [-self.log_prob(sentence) for sentence in sentences]
        return sum(values) / len(values)

    def entropy(self) -> float:
        """Return H(x) in nats per sentence.

        Raises:
            ValueError: two derivations can make the same sentence, so that the formula would only be a bound.
        """
        if pair := self.ambiguity():
            raise ValueError(f"two derivations can make one sentence: {pair[0].factors} and {pair[1].factors}")
        return sum(
            d.probability * (-math.log(d.probability) + sum(_entropy(slot) for slot in d.slots))
            for d in self.derivations
        )

    def ambiguity(self) -> tuple[Derivation, Derivation] | None:
        """Return two derivations that could make one sentence, or None if some slot tells every two apart."""
        for group in self._by_length.values():
            for one, other in itertools.combinations(group, 2):
                if not any(a.keys().isdisjoint(b) for a, b in zip(one.slots, other.slots, strict=True)):
                    return one, other
        return None

    def sample(self, count: int, random: np.random.Generator) -> tuple[list[str], dict[str, list[str]]]:
        """Draw sentences and the factors that made them."""
        probabilities = np.array([d.probability for d in self.derivations])
        chosen = random.choice(len(probabilities), size=count, p=probabilities / probabilities.sum())
        sentences = [""] * count
        for number in np.unique(chosen):
            where = np.flatnonzero(chosen == number)
            slots = self.derivations[number].slots
            columns = [_draw(slot, len(where), random) for slot in slots]
            for i, words in zip(where, zip(*columns, strict=True), strict=True):
                sentences[i] = " ".join(words)
        factors = {name: [self.derivations[n].factors[name] for n in chosen] for name in self.factors}
        return sentences, factors


def _draw(slot: Slot, count: int, random: np.random.Generator) -> list[str]:
    """Draw words of a slot by the inverse of its distribution function, as `Generator.choice` does, without its checks."""
    total = np.cumsum(list(slot.values()))
    words = list(slot)
    return [words[i] for i in (total / total[-1]).searchsorted(random.random(count), side="right")]


def _entropy(slot: Slot) -> float:
    return -sum(p * math.log(p) for p in slot.values())


def ranked(words: str) -> Slot:
    """Return a slot that takes words with probability proportional to 1 / (rank + 1): some are common, some are rare."""
    names = words.split()
    weights = [1 / (rank + 2) for rank in range(len(names))]
    return {name: weight / sum(weights) for name, weight in zip(names, weights, strict=True)}


def only(word: str) -> Slot:
    """Return a slot with one word."""
    return {word: 1.0}


@dataclass(frozen=True)
class Topic:
    """The words of one topic; verbs are written base/third/past, subjects singular/plural."""

    probability: float
    subjects: str
    verbs: str
    objects: str
    places: str
    qualities: str

    def form(self, words: str, which: int) -> Slot:
        """Return the slot of one form of words written with their forms as form/form."""
        return ranked(" ".join(word.split("/")[which] for word in words.split()))


TOPICS = {
    "market": Topic(
        0.2,
        "trader/traders broker/brokers banker/bankers investor/investors analyst/analysts clerk/clerks",
        "sell/sells/sold buy/buys/bought price/prices/priced trade/trades/traded value/values/valued",
        "shares bonds stocks gold dollars futures funds options",
        "exchange bank market office",
        "nervous rich careful greedy clever",
    ),
    "kitchen": Topic(
        0.17,
        "cook/cooks baker/bakers chef/chefs waiter/waiters grandmother/grandmothers guest/guests",
        "cook/cooks/cooked taste/tastes/tasted serve/serves/served eat/eats/ate fry/fries/fried",
        "bread soup rice potatoes cheese noodles pancakes onions",
        "kitchen restaurant bakery table",
        "hungry tired cheerful patient busy",
    ),
    "school": Topic(
        0.15,
        "teacher/teachers student/students pupil/pupils professor/professors tutor/tutors librarian/librarians",
        "teach/teaches/taught study/studies/studied explain/explains/explained learn/learns/learned write/writes/wrote",
        "history grammar algebra poems essays lessons chemistry verbs",
        "school library classroom university",
        "young strict curious diligent bored",
    ),
    "sport": Topic(
        0.13,
        "player/players goalkeeper/goalkeepers coach/coaches runner/runners champion/champions referee/referees",
        "win/wins/won lose/loses/lost watch/watches/watched play/plays/played train/trains/trained",
        "matches races games finals rounds sprints",
        "stadium gym track field",
        "fast injured proud lucky famous",
    ),
    "farm": Topic(
        0.11,
        "farmer/farmers shepherd/shepherds gardener/gardeners neighbour/neighbours worker/workers",
        "plant/plants/planted harvest/harvests/harvested feed/feeds/fed grow/grows/grew collect/collects/collected",
        "wheat apples cows chickens corn sheep pumpkins",
        "farm barn orchard meadow",
        "old strong quiet muddy stubborn",
    ),
    "hospital": Topic(
        0.1,
        "doctor/doctors nurse/nurses surgeon/surgeons dentist/dentists patient/patients",
        "treat/treats/treated examine/examines/examined heal/heals/healed describe/describes/described fear/fears/feared",
        "wounds fevers burns teeth headaches infections",
        "hospital clinic ward laboratory",
        "gentle worried experienced pale calm",
    ),
    "music": Topic(
        0.08,
        "singer/singers pianist/pianists drummer/drummers composer/composers violinist/violinists",
        "sing/sings/sang record/records/recorded practise/practises/practised compose/composes/composed hear/hears/heard",
        "songs operas melodies waltzes hymns ballads",
        "theatre studio church opera",
        "talented loud shy elegant gifted",
    ),
    "sea": Topic(
        0.06,
        "sailor/sailors captain/captains fisherman/fishermen diver/divers pirate/pirates",
        "catch/catches/caught sink/sinks/sank find/finds/found steal/steals/stole follow/follows/followed",
        "ships boats whales pearls treasures crabs",
        "harbour beach island lighthouse",
        "brave drunk wet lonely wild",
    ),
}

DETERMINERS = {"singular": ranked("the this every each"), "plural": ranked("the some these many")}
TIMES = {"past": "last", "present": "this", "future": "next"}
AUXILIARY = {
    ("past", "singular"): "did",
    ("past", "plural"): "did",
    ("present", "singular"): "does",
    ("present", "plural"): "do",
    ("future", "singular"): "will",
    ("future", "plural"): "will",
}


def _layout(factors: dict[str, str]) -> list[Slot]:
    """Lay out a sentence: [aux] determiner [quality] subject [aux not] verb the object [at the place] [time] mark."""
    topic, number, tense, mood = (TOPICS[factors["topic"]], factors["number"], factors["tense"], factors["mood"])
    auxiliary = only(AUXILIARY[tense, number])
    subject = topic.form(topic.subjects, number == "plural")
    slots = [auxiliary] if mood == "question" else []
    slots += [DETERMINERS[number]]
    slots += [ranked(topic.qualities)] if factors["quality"] == "yes" else []
    slots += [subject]
    if mood == "negation":
        slots += [auxiliary, only("not")]
    elif mood == "statement" and tense == "future":
        slots += [auxiliary]
    bare = mood != "statement" or tense == "future"
    form = 0 if bare or (tense == "present" and number == "plural") else 1 if tense == "present" else 2
    slots += [topic.form(topic.verbs, form), ranked("the their no his"), ranked(topic.objects)]
    slots += [ranked("at near"), only("the"), ranked(topic.places)] if factors["place"] == "yes" else []
    slots += [only(TIMES[tense]), ranked("week year month summer")] if factors["time"] == "yes" else []
    return [*slots, only("?" if mood == "question" else ".")]


@lru_cache
def english() -> Grammar:
    """Return the grammar of the embedded corpus: 1,152 derivations, sentences of 6 to 14 words."""
    return Grammar(
        {
            "topic": {name: topic.probability for name, topic in TOPICS.items()},
            "number": {"singular": 0.6, "plural": 0.4},
            "tense": {"past": 0.5, "present": 0.3, "future": 0.2},
            "mood": {"statement": 0.6, "question": 0.2, "negation": 0.2},
            "quality": {"yes": 0.4, "no": 0.6},
            "place": {"yes": 0.5, "no": 0.5},
            "time": {"yes": 0.4, "no": 0.6},
        },
        _layout,
    )
