"""What the tests share: small corpora, small models, one trained run."""

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("COLUMNS", "200")
os.environ["OMP_NUM_THREADS"] = "1"  # for child processes too: tests run side by side

import numpy as np
import pytest
import torch

import uncollapse as uc
from uncollapse.data.corpus import Corpus
from uncollapse.data.vocabulary import build_vocabulary
from uncollapse.distributions.priors import StandardNormal
from uncollapse.model import VAE
from uncollapse.nn.decoders import BottleneckDecoder, ConvolutionalDecoder, RecurrentDecoder
from uncollapse.nn.encoders import RecurrentEncoder
from uncollapse.runs.compose import available

torch.set_num_threads(1)

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
SENTENCES = [
    "the cat sat on the mat",
    "the dog sat",
    "a cat ran",
    "the dog ran on a mat today",
    "a bird",
    "the bird sat on a dog",
    "a mat",
    "today the cat ran on the mat",
]
TINY = {
    "model": {"latent": 4, "init": "torch"},
    "encoder": {"emb": 8, "hidden": 12},
    "decoder": {"emb": 8, "hidden": 12},
    "optim": {"optimizer": "adam", "lr": 0.01},
    "train": {"epochs": 2, "batch_size": 16, "device": "cpu"},
    "data": {"sentences": 200},
}


QUICK = ("aggressive", "bn", "free-bits", "kl-controller", "lm", "skip", "twr", "word-dropout")
"""Remedies of every kind: what holds for these with pictures and labels is tested at each change, for all by `make slow`."""


def all_remedies(*but: str) -> list[Any]:
    """Return the remedies as parameters of a test, but some; those of a kind that is there already are slow."""
    names = [name for name in available("remedies") if name not in but]
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


def needs_shared(name: str) -> Path:
    """Return a file of the shared data, or skip the test where it is absent."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return path


@pytest.fixture
def corpus() -> Corpus:
    return Corpus.from_texts(SENTENCES, build_vocabulary(SENTENCES))


@pytest.fixture(params=["lstm", "gru", "rnn", "cnn", "cnn-bottleneck"])
def cell(request):
    return request.param


def tiny_vae(vocabulary: int, latent: int = 3, cell: str = "lstm", seed: int = 0, **dropout: float) -> VAE:
    """Return a small network with weights large enough that everything matters."""
    torch.manual_seed(seed)
    if cell == "cnn-bottleneck":
        decoder = BottleneckDecoder(vocabulary, 5, 8, latent, context=3)
    elif cell == "cnn":
        decoder = ConvolutionalDecoder(vocabulary, 5, 7, latent, context=3, **dropout)
    else:
        decoder = RecurrentDecoder(vocabulary, 5, 7, latent, cell, **dropout)
    model = VAE(
        RecurrentEncoder(vocabulary, 5, 7, latent, "lstm" if "cnn" in cell else cell), decoder, StandardNormal(latent)
    )
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, -0.8, 0.8)
    return model.eval()


@pytest.fixture
def vae(corpus, cell) -> VAE:
    return tiny_vae(len(corpus.vocabulary), cell=cell)


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> uc.Run:
    """Return one small trained run; do not change it."""
    return uc.train("grammar", "annealed", out=tmp_path_factory.mktemp("runs") / "trained", **TINY)


@pytest.fixture
def sentences_file(tmp_path) -> Path:
    random = np.random.default_rng(0)
    lines = [
        " ".join(random.choice(SENTENCES[0].split() + ["dog", "ran"], size=random.integers(3, 8))) for _ in range(100)
    ]
    path = tmp_path / "my_sentences.txt"
    path.write_text("\n".join(lines) + "\n")
    return path
