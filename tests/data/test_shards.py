"""A corpus of many files: read one after another, encoded once, shuffled a block at a time."""

import gzip
import json
from itertools import chain

import numpy as np
import pytest
from scipy.stats import chisquare

import uncollapse as uc
from tests.conftest import TINY
from uncollapse.data import order as order_of
from uncollapse.data.lines import sampled
from uncollapse.data.order import BlockBatches
from uncollapse.data.settings import DataConfig
from uncollapse.data.splits import EMBEDDED
from uncollapse.data.vocabulary import build_vocabulary
from uncollapse.errors import UserError
from uncollapse.runs.builders.data import build_splits
from uncollapse.runs.config import merge
from uncollapse.training import batches as orders
from uncollapse.training.batches import batches_of

TEXTS = EMBEDDED["grammar"](3, 900)["train"].texts


@pytest.fixture(params=["txt.gz", "jsonl.gz", "jsonl"])
def shards(tmp_path, request):
    """Write three files of 300 sentences; return the pattern that names them."""
    for number in range(3):
        part = TEXTS[300 * number : 300 * (number + 1)]
        lines = part if "txt" in request.param else [json.dumps({"id": i, "text": text}) for i, text in enumerate(part)]
        content = "".join(f"{line}\n" for line in lines).encode()
        path = tmp_path / f"part-{number}.{request.param}"
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return str(tmp_path / f"part-*.{request.param}")


def test_shards_are_the_corpus_of_their_sentences(shards, tmp_path):
    splits = build_splits(DataConfig(path=shards), build_vocabulary(TEXTS), cache=tmp_path / "cache")
    parts = [splits[part].texts() for part in ("train", "valid", "test")]
    assert [len(part) for part in parts] == [810, 45, 45] and sorted(chain(*parts)) == sorted(TEXTS)
    assert isinstance(splits.train.flat, np.memmap) and any("3 files" in message for message in splits.messages)
    named = tmp_path / "valid.txt"
    named.write_text("the cat sat\nthe dog ran\n")
    given = build_splits(DataConfig(path=shards, valid=str(named)), splits.vocabulary)
    assert [len(given[part]) for part in ("train", "valid", "test")] == [855, 2, 45]


def test_lines_are_drawn_uniformly_in_one_pass():
    counts = np.zeros(60)
    for seed in range(4000):
        total, drawn = sampled((str(i) for i in range(60)), 6, seed)
        assert total == 60 and len(drawn) == 6 and all(text == str(i) for i, text in drawn.items())
        counts[list(drawn)] += 1
    # each is drawn with probability 0.1: 400 times, standard deviation 19
    assert chisquare(counts).pvalue > 1e-3
    assert sampled(iter("abc"), 5, 0) == (3, {0: "a", 1: "b", 2: "c"}) and sampled(iter(()), 5, 0) == (0, {})


def test_a_run_on_shards_trains_evaluates_and_resumes(tmp_path, shards, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = merge(TINY, {"data": {"path": shards, "sentences": 0}})
    done = uc.train(out="run", callbacks=[], **settings)
    longer = merge(settings, {"train": {"epochs": 3}})
    assert len(uc.train(out="run", resume=True, callbacks=[], **longer).log) == 3
    assert uc.load("run", "cpu").evaluate(iw_samples=2)["sentences"] == len(done.splits()[0].test)


def test_a_sentence_enters_the_cache_once(shards, tmp_path):
    cache = tmp_path / "cache"
    splits = build_splits(DataConfig(path=shards), cache=cache)
    times = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert sum(path.stat().st_size for path in cache.glob("*.ids")) == 4 * len(splits.train.flat)
    build_splits(DataConfig(path=shards), cache=cache)
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == times


@pytest.mark.parametrize(
    ("name", "words"),
    [("none-*.txt", "no file has such a name"), ("*.csv", "expected shards to be"), ("bad-*.jsonl", "text")],
)
def test_a_mistake_is_one_line(tmp_path, name, words):
    (tmp_path / "table.csv").write_text("text,label\na b c d,1\n")
    (tmp_path / "bad-1.jsonl").write_text('{"text": "a sentence of words"}\n{"texts": "another"}\n')
    with pytest.raises(UserError, match=words):
        build_splits(DataConfig(path=str(tmp_path / name)), cache=tmp_path / "cache")


def test_the_training_part_of_many_files_does_not_serve_for_others(shards, tmp_path):
    with pytest.raises(UserError, match="data.held_out 0 is for one file; of many, name valid and test files"):
        build_splits(DataConfig(path=shards, held_out=0.0), cache=tmp_path / "cache")


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(order_of, "PIECE", 4)
    monkeypatch.setattr(order_of, "BLOCK", 64)
    monkeypatch.setattr(orders, "BLOCK", 64)


@pytest.mark.parametrize("sentences", [129, 300, 1001])
def test_blocks_visit_every_sentence_once_in_an_order_of_seed_and_epoch(small_blocks, sentences):
    lengths = np.random.default_rng(0).integers(3, 30, sentences)
    epoch = list(BlockBatches(lengths, 8, 1, 0))
    assert sorted(np.concatenate(epoch).tolist()) == list(range(sentences))
    assert [len(batch) for batch in epoch] == [8] * (sentences // 8) + [sentences % 8] * (sentences % 8 > 0)
    backwards = BlockBatches(lengths, 8, 1, 0)
    for i in reversed(range(len(epoch))):  # whoever reads it, in whatever order
        assert np.array_equal(backwards[i], epoch[i])
    for other in (BlockBatches(lengths, 8, 1, 1), BlockBatches(lengths, 8, 2, 0)):
        assert not np.array_equal(np.concatenate(list(other)), np.concatenate(epoch))
    assert len(backwards.held) <= 2
    places = []
    for number in range(2):  # where in its block each sentence stood: shuffled anew in each epoch
        order = BlockBatches(np.full(sentences, 5), 8, 1, number)
        place = {sentence: i for i, sentence in enumerate(order._parts(0)[0].tolist())}
        places.append([place[sentence] for i in range(order.ends[0]) for sentence in order[i].tolist()])
    assert sorted(places[0]) == sorted(places[1]) and places[0] != places[1]


def test_blocks_mix_the_whole_corpus_and_batches_have_nearly_equal_lengths(small_blocks):
    lengths = np.random.default_rng(0).integers(3, 30, 4096)
    batches = list(BlockBatches(lengths, 8, 1, 0))
    first = np.concatenate(batches[:8])  # the first block
    assert first.max() - first.min() > 3000
    spread = np.mean([np.ptp(lengths[batch]) for batch in batches])
    assert spread < 0.2 * np.mean([np.ptp(lengths[i : i + 8]) for i in range(0, 4096, 8)])


def test_a_large_corpus_is_trained_by_blocks(small_blocks, corpus):
    many = corpus.subset(np.arange(200) % len(corpus))
    every = batches_of(many, 8, 1)
    assert isinstance(every(0).order, BlockBatches) and len(every(0)) == 25
    assert len(batches_of(many, 8, 1, most=7)(3)) == len(list(batches_of(many, 8, 1, most=7)(3))) == 7
    with pytest.raises(UserError, match="train.batches random: for at most 128 sentences, got 200; take similar"):
        batches_of(many, 8, 1, order="random")
