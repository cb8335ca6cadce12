"""What comes back, what is drawn and what codes know of labels: on models whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.conftest import SENTENCES, tiny_vae
from uncollapse.data.corpus import Corpus
from uncollapse.data.splits import Splits
from uncollapse.data.vocabulary import EOS, UNK, build_vocabulary
from uncollapse.distributions.posteriors import Gaussian
from uncollapse.distributions.priors import StandardNormal
from uncollapse.errors import UserError
from uncollapse.evaluation import groups, reconstruction
from uncollapse.evaluation.diversity import diversity, diversity_protocol, draw
from uncollapse.evaluation.groups import probe_protocol
from uncollapse.evaluation.overlap import corpus_bleu, rouge
from uncollapse.evaluation.reconstruction import reconstruction_protocol, spaced, surface
from uncollapse.model import VAE
from uncollapse.nn.interfaces import Decoder, Encoder, EncoderOutput
from uncollapse.runs.protocols import PROTOCOLS

VOCABULARY = build_vocabulary(SENTENCES)


class Memory(Encoder):
    """An encoder that puts the number of the sentence into z, exactly: row i of the corpus, [i, 0]."""

    def forward(self, batch):
        mu = torch.stack([torch.from_numpy(batch.index).float(), torch.zeros(len(batch))], 1)
        return EncoderOutput(Gaussian(mu, torch.full_like(mu, -30.0)))


class Recall(Decoder):
    """A decoder that writes the sentence whose number z says, with probability 1 - 2e-9 or so; it errs on some, on purpose."""

    def __init__(self, corpus, wrong=()):
        super().__init__()
        self.texts = [[*corpus.ids(i).tolist(), EOS] for i in range(len(corpus))]
        for i in wrong:
            self.texts[i] = [5, *self.texts[i][1:]]
        self.anchor = torch.nn.Parameter(torch.zeros(1))

    def _next(self, z, position):
        rows = z[:, 0].round().long().clamp(0, len(self.texts) - 1).tolist()
        return torch.tensor([(self.texts[i] + [EOS] * 99)[p] for i, p in zip(rows, position, strict=True)])

    def start(self, z):
        return (z, torch.zeros(len(z), dtype=torch.long))

    def step(self, token, state):
        z, position = state
        logits = 20.0 * torch.nn.functional.one_hot(self._next(z, position.tolist()), len(VOCABULARY))
        return logits.float(), (z, position + 1)

    def forward(self, batch, z, inputs=None):
        result = torch.zeros(z.shape[:2])
        for k in range(z.shape[1]):
            state = self.start(z[:, k])
            for t in range(batch.targets.shape[1]):
                logits, state = self.step(batch.inputs[:, t], state)
                nll = -logits.log_softmax(-1).gather(1, batch.targets[:, t : t + 1])[:, 0]
                result[:, k] += nll * batch.mask[:, t]
        return result


def remembering(count=40, wrong=(), labels=None):
    texts = [SENTENCES[i % 8] for i in range(count)]
    corpus = Corpus.from_texts(texts, VOCABULARY)
    if labels is not None:
        corpus = replace(corpus, labels={"kind": np.array(labels)}, label_names={"kind": ("a", "b")})
    return VAE(Memory(), Recall(corpus, wrong), StandardNormal(2)).eval(), Splits(corpus, corpus, corpus, {})


def test_a_model_that_remembers_gets_full_marks_in_every_bucket():
    model, splits = remembering()
    result = reconstruction_protocol(model, splits, "test")
    assert {row["length"] for row in result["reconstruction"]} == {"<= 10", "all"}
    for row in result["reconstruction"]:
        assert (row["token_accuracy"], row["exact"]) == (1, 1) and row["bleu2"] == pytest.approx(100)
    assert "tok:none" in result["bleu_signature"]


def test_scores_are_those_of_what_was_written():
    model, splits = remembering(wrong=[0, 1, 2])
    row = next(r for r in reconstruction_protocol(model, splits, "test")["reconstruction"] if r["length"] == "all")
    originals = [splits.test.text(i) for i in range(40)]
    written = [VOCABULARY.decode(text) for text in model.decoder.texts]
    wrong = sum(a != b for a, b in zip(originals, written, strict=True))
    assert wrong >= 2 and row["exact"] == pytest.approx(1 - wrong / 40)
    assert row["bleu4"] == pytest.approx(corpus_bleu(originals, written, 4)[0])
    beside = reconstruction_protocol(model, splits, "test")["reconstructions"]
    assert [(one["text"], one["mu"]) for one in beside] == list(zip(originals, written, strict=True))
    pairs = [(a.split(), b.split()) for a, b in zip(originals, written, strict=True)]
    assert row["rouge2"] == pytest.approx(100 * np.mean([rouge(a, b, 2) for a, b in pairs]))


def test_the_overlap_of_all_sentences_from_their_means_stands_alone_too(monkeypatch):
    """Not that of draws, nor of one bucket."""
    monkeypatch.setattr(reconstruction, "BUCKETS", {"<= 2": (0, 2), "3-6": (3, 6)})
    model, splits = remembering()
    monkeypatch.setattr(reconstruction, "generate_ids", lambda _, z, *a, **k: [[4 + i % 3] for i in range(len(z))])
    result = reconstruction_protocol(model, splits, "test")
    draws = iter([[splits.test.ids(i).tolist() for i in range(40)], [[4]] * 40])  # from mu, then from draws
    monkeypatch.setattr(reconstruction, "generate_ids", lambda *_, **__: next(draws))
    other = reconstruction_protocol(model, splits, "test")
    assert other["overlap_bleu4"] == pytest.approx(100) != result["overlap_bleu4"]
    (whole,) = (r for r in result["reconstruction"] if (r["z"], r["length"]) == ("mu", "all"))
    named = {f"overlap_{name}": value for name, value in whole.items() if name[:4] in ("bleu", "roug")}
    assert len(named) == 6 and named.items() <= result.items()
    taken = {
        column for protocol in PROTOCOLS.values() for column in protocol.columns
    }  # `reconstruction_bleu4` is another's
    assert not taken & named.keys()


def test_buckets_part_the_sentences_by_their_tokens(monkeypatch):
    monkeypatch.setattr(reconstruction, "BUCKETS", {"<= 2": (0, 2), "3-6": (3, 6)})
    model, splits = remembering()
    rows = {
        (r["z"], r["length"]): r["sentences"] for r in reconstruction_protocol(model, splits, "test")["reconstruction"]
    }
    lengths = np.array([len(text.split()) for text in SENTENCES]).repeat(5)
    assert rows["mu", "<= 2"] == (lengths <= 2).sum() and rows["sample", "3-6"] == ((lengths > 2) & (lengths < 7)).sum()
    assert rows["mu", "all"] == 40


def test_characters_and_subwords_are_counted_as_people_do():
    chars = build_vocabulary(["a b"], "char")
    assert spaced(chars, chars.encode("a b")) == "a ▁ b" and surface(chars, chars.encode("a b")) == ["a", " ", "b"]
    bpe = build_vocabulary(["It's fine, isn't it?"] * 9, "bpe", max_size=400)
    ids = bpe.encode("It's fine.")
    assert spaced(bpe, ids) == "It's fine." and surface(bpe, ids) == ["It's", "fine", "."]


def test_codes_that_know_a_label_are_told_from_those_that_do_not(monkeypatch):
    monkeypatch.setattr(groups, "WRITTEN", 20)
    knows = [int(i >= 20) for i in range(40)]  # the number of the sentence, which z holds, tells the label
    model, splits = remembering(labels=knows)
    row = probe_protocol(model, splits, "test")["probes"][0]
    assert row["probe"] == 1 and row["majority"] == 0.5 and row["classes"] == 2
    blind, splits = remembering(labels=[i % 2 for i in range(40)])
    row = probe_protocol(blind, splits, "test")["probes"][0]
    assert row["probe"] < 0.7


def test_the_mean_code_of_a_group_favours_its_form(monkeypatch):
    """z is 0 or 1, and the decoder writes one of two sentences by it: scoring and decoding are perfect."""
    monkeypatch.setattr(groups, "WRITTEN", 20)
    texts = ["the cat sat", "a bird"] * 20
    corpus = Corpus.from_texts(texts, VOCABULARY)
    corpus = replace(corpus, labels={"kind": np.array([0, 1] * 20)}, label_names={"kind": ("cat", "bird")})

    class Parity(Memory):
        def forward(self, batch):
            mu = torch.stack([torch.from_numpy(batch.index % 2).float(), torch.zeros(len(batch))], 1)
            return EncoderOutput(Gaussian(mu, torch.full_like(mu, -30.0)))

    model = VAE(Parity(), Recall(corpus), StandardNormal(2)).eval()
    row = probe_protocol(model, Splits(corpus, corpus, corpus, {}), "test")["probes"][0]
    assert (row["scoring"], row["decoding"], row["classifier"], row["probe"]) == (1, 1, 1, 1)

    class Blind(Memory):
        def forward(self, batch):
            mu = torch.zeros(len(batch), 2)
            return EncoderOutput(Gaussian(mu, torch.full_like(mu, -30.0)))

    row = probe_protocol(
        VAE(Blind(), Recall(corpus), StandardNormal(2)).eval(), Splits(corpus, corpus, corpus, {}), "test"
    )["probes"][0]
    assert row["scoring"] == 0.5 and row["decoding"] == 0.5  # all are taken for one class


def test_diversity_by_hand():
    result = diversity([[1, 2], [1, 2], [3], []], {(1, 2)})
    assert result["unique"] == 0.75 and result["copied"] == 0.5 and result["empty"] == 0.25
    assert result["length_mean"] == 1.25 and result["distinct1"] == 0.6
    assert (result["vocabulary"], result["unknown"]) == (3, 0.2 * [1, 2, 1, 2, 3].count(UNK))


def test_draws_depend_on_the_seed_alone_and_are_measured_beside_real_sentences():
    model = tiny_vae(len(VOCABULARY), latent=3)
    _, splits = remembering()
    assert draw(model, splits, 12, seed=1) == draw(model, splits, 30, seed=1)[:12] != draw(model, splits, 12, seed=2)
    rows = diversity_protocol(model, splits, "test")["samples"]
    assert [row["of"] for row in rows] == ["model", "real"] and rows[1]["copied"] == 1 > rows[0]["copied"]


@pytest.mark.parametrize("protocol", [reconstruction_protocol, probe_protocol])
def test_a_language_model_has_no_codes(protocol):
    _, splits = remembering()
    with pytest.raises(UserError, match="language model"):
        protocol(tiny_vae(len(VOCABULARY), latent=0), splits, "test")


def test_a_probe_needs_labels_that_are_classes():
    model, splits = remembering()
    with pytest.raises(UserError, match="expected data with labels"):
        probe_protocol(model, splits, "test")
    model, splits = remembering(labels=range(40))
    names = replace(splits.test, label_names={"kind": tuple(map(str, range(60)))})
    with pytest.raises(UserError, match="at most 50 classes, got kind"):
        probe_protocol(model, Splits(names, names, names, {}), "test")


def test_a_class_that_no_training_sentence_has_is_never_chosen(monkeypatch):
    monkeypatch.setattr(groups, "WRITTEN", 5)
    model, splits = remembering(labels=[int(i >= 20) for i in range(40)])
    third = replace(splits.test, label_names={"kind": ("a", "b", "c")})
    row = probe_protocol(model, Splits(third, third, third, {}), "test")["probes"][0]
    assert row["classes"] == 3 and 0 <= row["scoring"] <= 1 and row["decoding"] <= 1
