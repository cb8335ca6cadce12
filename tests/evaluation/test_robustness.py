"""What codes endure, on decoders whose answer is known."""

import numpy as np
import pytest
import torch

from tests.conftest import tiny_vae
from uncollapse.evaluation.posterior import posteriors
from uncollapse.evaluation.robustness import DRAWS, decoding_margins, half_point, robustness_protocol


def test_where_half_is_lost():
    assert half_point((0.0, 1.0, 2.0), [0.8, 0.6, 0.2]) == pytest.approx(1.5)
    assert half_point((0.0, 1.0, 2.0), [0.8, 0.7, 0.6]) == 2.0  # never


@pytest.mark.parametrize("cell", ["lstm", "cnn"], indirect=True)
def test_margins_are_those_of_the_log_probabilities(vae, corpus):
    z = torch.randn(len(corpus), 3, generator=torch.Generator().manual_seed(1))
    margins, right = decoding_margins(vae, corpus, z, {})
    leads = []
    for i in range(len(corpus)):
        batch = corpus.batch([i])
        state, own = vae.decoder.start(z[i : i + 1]), []
        for t in range(int(batch.lengths[0])):
            with torch.no_grad():
                logits, state = vae.decoder.step(batch.tokens[:, t], state)
            log_p = logits.log_softmax(-1)[0]
            true = int(batch.tokens[0, t + 1])
            own.append(float(log_p[true] - torch.cat([log_p[:true], log_p[true + 1 :]]).max()))
        leads += own
        assert float(margins[i]) == pytest.approx(np.mean(own), abs=1e-4)
    assert right == pytest.approx(np.mean(np.array(leads) > 0))


def test_a_decoder_that_ignores_z_has_one_region(corpus, monkeypatch):
    class Splits(dict):
        train, longest_sentence = corpus, 12

    model = tiny_vae(len(corpus.vocabulary), latent=3)
    splits = Splits(test=corpus)
    alive = robustness_protocol(model, splits, "test")
    rows = {row["codes"]: row["tokens"] for row in alive["robustness"]}
    assert ("robust_sigma" in alive) == (rows["mu + 0 e"] - rows["another sentence's"] >= 0.02)
    assert set(alive) >= {"margin", "margin_se", "margin_right", "dead_region", "prior_distinct"}
    monkeypatch.setattr(model, "decoder_input", lambda z, labels=None: torch.zeros_like(z))
    dead = robustness_protocol(model, splits, "test")
    assert dead["dead_region"] == 1.0 and dead["prior_distinct"] == pytest.approx(1 / DRAWS)
    assert "robust_sigma" not in dead and len({row["tokens"] for row in dead["robustness"]}) == 1
    assert len(posteriors(model, corpus)) == len(corpus)
