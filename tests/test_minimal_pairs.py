"""Minimal pairs: what the generator writes, judged by a parser of its grammar; the protocol against brute force."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import uncollapse as uc
from tests.conftest import tiny_vae
from uncollapse.cli import main
from uncollapse.data.corpus import Corpus
from uncollapse.data.vocabulary import build_vocabulary
from uncollapse.tasks.syntax import pairs as module
from uncollapse.tasks.syntax.pairs import MinimalPair, generate_pairs, read_minimal_pairs
from uncollapse.tasks.syntax.protocol import minimal_pairs_protocol

LEXICON = yaml.safe_load((Path(module.__file__).parent / "lexicon.yaml").read_text())
PLURALS = {noun: LEXICON["plurals"].get(noun, noun + "s") for noun in LEXICON["nouns"].split()}
NUMBER = {**dict.fromkeys(PLURALS, "one"), **dict.fromkeys(PLURALS.values(), "many")}
BARE, TRANSITIVE = set(LEXICON["verbs"].split()), set(LEXICON["transitive"].split())
FORMS = {form: word for word in (*BARE, *TRANSITIVE) for form in (word, word + "s")}
FORMS |= {form: word for word, plural in PLURALS.items() for form in (word, plural)}
PAST, ADJECTIVES, BEHIND = (set(LEXICON[name].split()) for name in ("past", "adjectives", "prepositions"))


class Wrong(Exception):
    """The sentence breaks a rule."""


class Parser:
    """S -> NP VP. NP -> Det N (PP | REL). REL -> (that) VP/NP. It raises where number or polarity is wrong."""

    def __init__(self, sentence):
        self.words, self.at = sentence.split(), 0

    def peek(self):
        return self.words[self.at] if self.at < len(self.words) else ""

    def take(self, *allowed):
        word = self.peek()
        assert not allowed or word in allowed, (self.words, self.at, allowed)
        self.at += 1
        return word

    def noun_phrase(self):
        determiner = self.take("the", "no")
        number = NUMBER[self.take()]
        if self.peek() in BEHIND:
            self.take()
            self.noun_phrase()
        elif self.peek() in ("that", "the", "no"):
            self.relative(number)
        return determiner, number

    def relative(self, number):
        that = self.peek() == "that" and self.take()
        if that and self.peek() not in ("the", "no"):  # subject relative
            self.verb(TRANSITIVE, number)
            self.noun_phrase()
        else:
            _, other = self.noun_phrase()
            self.verb(TRANSITIVE, other)

    def verb(self, known, number):
        word = self.take()
        form = "many" if word in known else "one"
        assert word in known or (word.endswith("s") and word[:-1] in known), word
        if form != number:
            raise Wrong(word)

    def sentence(self):
        determiner, number = self.noun_phrase()
        if self.peek() == "said":
            self.take()
            self.sentence()
        elif self.peek() == "have":
            for word in ("have", "ever", "been"):
                self.take(word)
            self.take(*ADJECTIVES)
            if number != "many":
                raise Wrong("have")
            if determiner != "no":  # ever wants no before all else
                raise Wrong("ever")
        elif self.peek() in PAST:
            self.take()
            if self.take("himself", "themselves") != {"one": "himself", "many": "themselves"}[number]:
                raise Wrong("reflexive")
        else:
            self.verb(BARE | TRANSITIVE, number)
            if self.peek() == "the":  # V NP every day
                self.take()
                self.take(*ADJECTIVES)
                for word in (*NUMBER,), ("every",), ("day",):
                    self.take(*word)
            if self.peek() == "and":
                self.take()
                self.verb(BARE, number)
        return self


def parse(sentence):
    parser = Parser(sentence).sentence()
    assert parser.at == len(parser.words), sentence


PAIRS = generate_pairs(lambda _: True, count=2000)


@pytest.mark.parametrize("kind", list(module.TEMPLATES))
def test_the_right_sentence_parses_the_wrong_one_breaks_one_rule_in_one_place(kind):
    pairs = [pair for pair in PAIRS if pair.kind == kind]
    assert len(pairs) == 2000 and len({pair.right for pair in pairs}) == len(pairs)
    for pair in pairs:
        nouns_and_verbs = [FORMS[word] for word in pair.right.split() if word in FORMS]
        assert len(set(nouns_and_verbs)) == len(nouns_and_verbs)
        parse(pair.right)
        with pytest.raises(Wrong):
            parse(pair.wrong)
        places = [(a, b) for a, b in zip(pair.right.split(), pair.wrong.split(), strict=True) if a != b]
        assert len(places) == (2 if kind == "polarity, object relative" else 1)
        if "polarity" in kind:
            assert {frozenset(place) for place in places} == {frozenset(("no", "the"))}
        elif "reflexive" in kind:
            assert set(places[0]) == {"himself", "themselves"}
        else:
            assert {places[0][0].removesuffix("s"), places[0][1].removesuffix("s")} <= BARE | TRANSITIVE


@pytest.mark.parametrize("kind", [kind for kind in module.TEMPLATES if "polarity" not in kind])
def test_both_numbers_occur_with_both_numbers_of_the_other_noun(kind):
    pairs = [pair.right for pair in PAIRS if pair.kind == kind]
    combinations = {tuple(NUMBER[word] for word in pair.split() if word in NUMBER) for pair in pairs}
    spelled = {"singular": "one", "plural": "many"}
    for pair in (pair for pair in PAIRS if pair.kind == kind):
        assert [spelled[n] for n in pair.numbers.split()] == [NUMBER[w] for w in pair.right.split() if w in NUMBER]
    assert len(combinations) == 2 ** len(next(iter(combinations)))


def test_only_words_that_are_known_are_used():
    known = {"the", "that", "man", "men", "boy", "boys", "likes", "like", "works", "work", "wait"}
    pairs = generate_pairs(known.__contains__, count=50)
    assert {word for pair in pairs for side in (pair.right, pair.wrong) for word in side.split()} <= known - {"wait"}
    assert {pair.kind for pair in pairs} == {
        "agreement", "agreement, subject relative", "agreement, object relative", "agreement, object relative, no that",
        "agreement, within object relative", "agreement, within object relative, no that",
    }  # fmt: skip
    assert generate_pairs(known.__contains__, count=50) == pairs != generate_pairs(known.__contains__, count=50, seed=1)


@pytest.fixture
def words():
    return build_vocabulary(["the man works", "the men work", "the women wait", "the woman waits"])


def test_the_protocol_is_that_of_brute_force(words):
    model = tiny_vae(len(words), seed=3)
    pairs = generate_pairs(lambda word: word in words.ids, count=20)[:-1]
    row = minimal_pairs_protocol(model, words, pairs)["minimal_pairs"][0]

    def log_p(sentence, z):
        batch = Corpus.from_texts([sentence], words).batch([0])
        return -float(model.distortion(batch, z[None, None]))

    def code(sentence):
        return model.posterior(Corpus.from_texts([sentence], words).batch([0])).mean[0].detach()

    groups = [[p for p in pairs if p.numbers == numbers] for numbers in ("singular", "plural")]
    assert all(groups) and len(groups[0]) != len(groups[1])  # so that the mean of the groups is not that of the pairs
    with torch.no_grad():
        for side in ("right", "wrong"):
            own = [log_p(p.right, code(getattr(p, side))) > log_p(p.wrong, code(getattr(p, side))) for p in pairs]
            assert row[side] == pytest.approx(np.mean(own))
            means = [torch.stack([code(getattr(p, side)) for p in group]).mean(0) for group in groups]
            by_group = [
                np.mean([log_p(p.right, z) > log_p(p.wrong, z) for p in group])
                for group, z in zip(groups, means, strict=True)
            ]
            assert row[f"mean_{side}"] == pytest.approx(np.mean(by_group))
            by_number = [p * (1 - p) / len(group) for p, group in zip(by_group, groups, strict=True)]
            assert row[f"mean_{side}_se"] == pytest.approx(np.sqrt(sum(by_number)) / 2)
    share = row["right"]
    assert 0 < share < 1 and row["right_se"] == pytest.approx(np.sqrt(share * (1 - share) / len(pairs)))


def test_the_error_of_a_share_over_groups_is_that_of_their_mean():
    from uncollapse.tasks.syntax.protocol import _share

    preferred, group = torch.tensor([1.0, 0, 1, 1, 0, 0, 0, 1]), torch.tensor([0, 0, 1, 1, 1, 1, 1, 1])
    variances = [0.5 * 0.5 / 2, 0.5 * 0.5 / 6]  # shares of 1/2 and 3/6
    expected = {"right": 0.5, "right_se": pytest.approx(np.sqrt(sum(variances)) / 2)}
    assert _share("right", preferred, group) == expected


def test_a_model_whose_code_decides_is_turned_by_the_code_of_the_wrong_sentence(words, monkeypatch):
    """With log p(x | z) = z . mu(x) each sentence is likeliest from its own code: 1 under the right one, 0 under the wrong one."""
    from uncollapse.tasks.syntax import protocol

    model = tiny_vae(len(words))
    monkeypatch.setattr(
        protocol,
        "log_likelihoods",
        lambda model, corpus, z: -(protocol.posteriors(model, corpus).mean - z).square().sum(-1),
    )
    row, rest = minimal_pairs_protocol(model, words)["minimal_pairs"]
    assert (row["right"], row["wrong"]) == (1, 0)
    assert rest == {"class": "14 more without known words", "pairs": 0, "left_out": 0}


def test_a_language_model_has_one_column_and_unknown_words_are_left_out(words, recwarn):
    pairs = [
        MinimalPair("a", "the man works", "the man work"),
        MinimalPair("a", "the dog works", "the dog work"),
        MinimalPair("a", "the man dogs", "the man dog"),
        MinimalPair("b", "the cat works", "the cat work"),
    ]
    rows = minimal_pairs_protocol(tiny_vae(len(words), latent=0), words, pairs)["minimal_pairs"]
    assert [set(row) for row in rows] == [
        {"class", "pairs", "left_out", "right", "right_se"},
        {"class", "pairs", "left_out"},
    ]
    assert [(row["pairs"], row["left_out"]) for row in rows] == [(1, 2), (0, 1)]
    assert not recwarn.list or "zero-element" in str(recwarn.list[0].message)
    with pytest.raises(uc.UserError, match="no pair consists of words that the model knows"):
        minimal_pairs_protocol(tiny_vae(len(words)), words, pairs[3:])


def test_pairs_of_a_file_by_the_command_line(trained, tmp_path, capsys):
    texts = uc.load(trained.path).splits()[0].test.texts([0, 1, 2, 3])
    file = tmp_path / "pairs.tsv"
    rows = [f"order\t{text}\t{' '.join(reversed(text.split()))}" for text in texts]
    file.write_text("\n".join(rows) + "\n")
    run = str(trained.path)
    arguments = ["evaluate", run, "--iw-samples", "0", "--protocol", "minimal-pairs", "--pairs", str(file)]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "minimal_pairs_accuracy" in out and "order" in out and "mean_wrong" in out
    for content, said in (
        ("a\tb\n", "line 1: expected CLASS<tab>RIGHT<tab>WRONG"),
        ("k\tb\tc\nk\tb\tb\n", "line 2: expected two different sentences"),
        ("", "expected at least one pair, got none"),
    ):
        file.write_text(content)
        with pytest.raises(uc.UserError, match=said):
            read_minimal_pairs(file)
    assert main(["evaluate", run, "--pairs", str(file)]) == 2
    assert "--pairs: is for --protocol minimal-pairs" in capsys.readouterr().err


def test_a_conditional_model_is_refused(words):
    model = tiny_vae(len(words))
    model.condition = torch.nn.Identity()
    with pytest.raises(uc.UserError, match="expected an unconditional model"):
        minimal_pairs_protocol(model, replace(words))
