"""Conversions, the scores of the tense lab, the probe, the classifier and the fitted mixture."""

import warnings

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

import uncollapse as uc
from uncollapse.data.corpus import Corpus
from uncollapse.data.reading import Texts
from uncollapse.data.vocabulary import build_vocabulary
from uncollapse.distributions.priors import Mixture, Source
from uncollapse.evaluation.mixture import fit_mixture
from uncollapse.evaluation.overlap import sentence_bleu
from uncollapse.evaluation.probe import linear_probe
from uncollapse.evaluation.style import NGramClassifier
from uncollapse.tasks.forms.conversions import Conversions, off_diagonal
from uncollapse.tasks.forms.lab import inventions
from uncollapse.tasks.forms.morphology import conjugate

WORDS = "abandon abandoned sends sent split splitting go went a an flare flared begs begging functioning helps heals be is put puts eat ate".split()


def test_bleu_is_that_of_nltk():
    from nltk.translate.bleu_score import SmoothingFunction
    from nltk.translate.bleu_score import sentence_bleu as nltk_bleu

    smooth = SmoothingFunction().method1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for reference in WORDS:
            weights = (0.33, 0.33, 0.33) if len(reference) == 3 else (0.25, 0.25, 0.25, 0.25)
            for written in [*WORDS, "xyz", reference[::-1], reference * 2]:
                expected = nltk_bleu([list(reference)], list(written), weights=weights, smoothing_function=smooth)
                assert sentence_bleu(reference, written) == pytest.approx(expected, abs=1e-12), (reference, written)
    assert sentence_bleu("walk", "") == 0.0 and sentence_bleu("walk", "walk") == 1.0


def test_copying_scores_what_the_lab_says():
    pairs = (
        "abandon abandoned abet abetting begin begins expend expends sent sends split splitting flared flare".split()
    )
    pairs += "functioning function functioning functioned healing heals".split()
    scores = [sentence_bleu(reference, word) for word, reference in zip(pairs[::2], pairs[1::2], strict=True)]
    assert np.mean(scores) == pytest.approx(0.607, abs=5e-4)


def test_conversions_count_what_they_say():
    forms = [[[1], [2]], [[3], [3]]]
    written = [[[[1], [1]], [[1], [2]]], [[[3], [3]], [[4], [3]]]]
    done = Conversions(forms, written)
    assert done.exact.tolist() == [[[True, False], [True, True]], [[True, True], [False, True]]]
    assert off_diagonal(done.exact).mean() == 0.5
    assert done.copied == 0.5  # of the first row alone: in the second both forms are the same
    right = Conversions(forms, [[[[1], [2]], [[1], [2]]], [[[3], [3]], [[3], [3]]]])
    assert right.copied == 0 and off_diagonal(right.exact).all()
    assert (
        Conversions(forms, [[[[1], [2]], [[1], [2]]], [[[3], [3]], [[3], [3]]]]).bleu4() < 1
    )  # one token has no 2-grams


def test_the_gaussian_score_counts_rows_distinct_verbs_and_new_words():
    training = {tuple(conjugate(base)) for base in ("walk", "sing", "stop")}
    hit, other, new = (tuple(conjugate(base)) for base in ("walk", "stop", "wug"))
    broken = ("walk", "stops", "walking", "walked")
    invented = [hit] * 50 + [other] * 10 + [new] * 20 + [broken] * 20
    result = inventions(invented * 2, training, "gaussian")
    assert result["gaussian_score"] == pytest.approx(0.6) and result["gaussian_distinct"] == 2
    assert result["gaussian_new"] == pytest.approx(0.2) and result["gaussian_score_se"] == 0
    assert result["gaussian_known"] == pytest.approx(0.8)  # each form of `broken` is a training word
    collapsed = inventions([hit] * 100, training, "gaussian")
    assert collapsed["gaussian_score"] == 1 and collapsed["gaussian_distinct"] == 1  # the trap


def test_the_probe_reads_what_is_there_and_nothing_else():
    generator = torch.Generator().manual_seed(0)
    classes = torch.randint(3, (900,), generator=generator)
    noise = torch.randn(900, 5, generator=generator)
    noise[:, 0] += 6 * classes
    there = linear_probe(noise[:600], classes[:600], noise[600:], other_classes=classes[600:])
    nothing = linear_probe(noise[:600, 1:], classes[:600], noise[600:, 1:], other_classes=classes[600:])
    assert there.accuracy > 0.97 and abs(nothing.accuracy - 1 / 3) < 0.1 and 0.25 < there.majority < 0.42


def test_the_classifier_learns_words_and_pairs():
    random = np.random.default_rng(0)
    good = [" ".join(random.choice(["good", "food", "place"], 4)) + " not bad" for _ in range(200)]
    bad = [" ".join(random.choice(["good", "food", "place"], 4)) + " bad not" for _ in range(200)]
    texts = Texts(good + bad, {"label": ["1"] * 200 + ["0"] * 200})
    vocabulary = build_vocabulary(texts.texts)
    made = Corpus.from_texts(texts.texts, vocabulary)
    corpus = Corpus(made.flat, made.offsets, vocabulary, {"label": np.repeat([1, 0], 200)}, {"label": ("0", "1")})
    model = NGramClassifier(corpus, "label")
    ids = [vocabulary.encode(text) for text in ("good place not bad", "good place bad not")]
    assert model.predict(ids).tolist() == [1, 0]
    with pytest.raises(uc.UserError, match="several classes of label, got one"):
        NGramClassifier(corpus.first(3), "label")


# -- the fitted mixture -------------------------------------------------------------------------------------------------


def test_one_component_is_mean_and_covariance():
    z = torch.randn(4000, 3, generator=torch.Generator().manual_seed(1)) @ torch.tensor(
        [[1.0, 0, 0], [1, 1, 0], [0, 0.5, 2]]
    )
    mixture = fit_mixture(z + 3, 1)
    torch.testing.assert_close(mixture.means[0], z.mean(0) + 3, atol=1e-4, rtol=1e-4)
    factor = mixture.factors[0]
    torch.testing.assert_close(factor @ factor.T, torch.cov(z.T, correction=0), atol=1e-3, rtol=1e-3)
    expected = multivariate_normal(mixture.means[0].double(), (factor @ factor.T).double()).logpdf(z[:5].double())
    torch.testing.assert_close(density(mixture).log_prob(z[:5]).double(), torch.tensor(expected), atol=1e-3, rtol=1e-4)


def density(mixture):
    from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

    components = MultivariateNormal(mixture.means, scale_tril=mixture.factors)
    return MixtureSameFamily(Categorical(mixture.weights), components)


def test_a_mixture_is_found_again_and_its_draws_follow_it():
    truth = Mixture(
        torch.tensor([0.3, 0.7]),
        torch.tensor([[4.0, 0.0], [-4.0, 1.0]]),
        torch.stack([torch.eye(2), 0.5 * torch.eye(2)]),
    )
    z = truth.sample(4000, Source(0))
    result = fit_mixture(z, 2)
    order = result.means[:, 0].argsort(descending=True)
    torch.testing.assert_close(result.weights[order], truth.weights, atol=0.03, rtol=0)
    torch.testing.assert_close(result.means[order], truth.means, atol=0.1, rtol=0)
    torch.testing.assert_close(result.factors[order], truth.factors, atol=0.08, rtol=0)
    assert float(density(result).log_prob(z).mean()) >= float(density(truth).log_prob(z).mean()) - 1e-3
    assert float(density(fit_mixture(z, 1)).log_prob(z).mean()) < float(density(result).log_prob(z).mean()) - 0.5
    torch.testing.assert_close(truth.sample(3, Source(5)), truth.sample(10, Source(5))[:3])


def test_few_or_equal_codes_are_fitted_too():
    assert len(fit_mixture(torch.zeros(5, 2), 16).weights) == 5
    assert torch.isfinite(fit_mixture(torch.ones(100, 4), 3).factors).all()
