import itertools
import random

import pytest
from nltk.translate.bleu_score import SmoothingFunction
from nltk.translate.bleu_score import sentence_bleu as nltk_bleu
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU

from uncollapse.data.splits import EMBEDDED
from uncollapse.evaluation.overlap import corpus_bleu, distinct, rouge, self_bleu, token_accuracy

REAL = EMBEDDED["grammar"](seed=3, sentences=60)["train"].texts


def made(count, words="abcde", seed=0):
    draw = random.Random(seed)
    return [" ".join(draw.choices(words, k=draw.randint(1, 9))) for _ in range(count)]


@pytest.mark.parametrize(
    ("originals", "written", "share"),
    [
        ([[1, 2, 3]], [[1, 2, 3]], 1),
        ([[1, 2, 3, 4]], [[1, 9, 3]], 0.5),
        ([[1, 2]], [[1, 2, 3, 4]], 1),
        ([[1], [2, 3, 4]], [[1], []], 0.25),
        ([[]], [[5]], 0),
    ],
)
def test_the_share_of_tokens_in_their_places(originals, written, share):
    assert token_accuracy(originals, written) == share


class Words:
    """How rouge-score is told to cut sentences as we do."""

    def tokenize(self, text):
        return text.split()


@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("pairs", [list(zip(made(50), made(50, seed=1), strict=True)), list(itertools.pairwise(REAL))], ids=["made", "real"])  # fmt: skip
def test_rouge_is_that_of_rouge_score(order, pairs):
    scorer = RougeScorer([f"rouge{order}"], tokenizer=Words())
    for reference, written in pairs:
        expected = scorer.score(reference, written)[f"rouge{order}"].fmeasure
        assert rouge(reference.split(), written.split(), order) == pytest.approx(expected)


@pytest.mark.parametrize("orders", [2, 4])
def test_corpus_bleu_is_that_of_sacrebleu_and_shows_its_signature(orders):
    written = [*REAL[1:], REAL[0]]
    expected = BLEU(max_ngram_order=orders, tokenize="none").corpus_score(written, [REAL])
    score, signature = corpus_bleu(REAL, written, orders)
    assert score == pytest.approx(expected.score) and 0 < score < 100
    assert "tok:none" in signature and "smooth:exp" in signature
    assert corpus_bleu(REAL, REAL, orders)[0] == pytest.approx(100)
    text = ["It's a test, isn't it?", "Yes."]
    assert corpus_bleu(text, text[::-1], orders, tokenise="13a")[1].split("|tok:")[1].startswith("13a")


@pytest.mark.parametrize("sentences", [made(25), made(12, "ab", 4), REAL[:20]], ids=["made", "alike", "real"])
def test_self_bleu_is_the_mean_bleu_with_all_others_as_references(sentences):
    cut = [text.split() for text in sentences]
    smooth = SmoothingFunction().method1
    expected = [
        nltk_bleu([other for j, other in enumerate(cut) if j != i], one, smoothing_function=smooth)
        for i, one in enumerate(cut)
    ]
    assert self_bleu(cut) == pytest.approx(sum(expected) / len(cut))


def test_self_bleu_of_copies_is_one_and_of_strangers_zero():
    assert self_bleu([list("abcde")] * 3) == pytest.approx(1)
    assert self_bleu([list("abcde"), list("fghij")]) == 0
    assert self_bleu([list("abcde")]) == 0


def test_distinct_counts_different_runs_among_all():
    assert distinct([[1, 2, 1, 2]], 1) == 0.5
    assert distinct([[1, 2, 1, 2], [1, 2]], 2) == 0.5  # 1-2, 2-1 among 1-2, 2-1, 1-2, 1-2
    assert distinct([[1]], 2) == 0
