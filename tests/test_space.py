"""The latent space in use: moves, decodings and scores, as Python and as commands."""

import json

import numpy as np
import pytest
import torch

import uncollapse as uc
from tests.conftest import TINY
from uncollapse.cli import main
from uncollapse.data.corpus import Corpus
from uncollapse.evaluation.scores import score
from uncollapse.generation.latent_ops import arc
from uncollapse.runs.samples import judge_samples
from uncollapse.training.states import save_weights

A, B, C = "the farmer grows the cows .", "these pianists sing .", "the cook ate ."
BEAM = uc.Decoding("beam", beam_width=3, n_best=2)


def test_interpolations_begin_and_end_where_they_should(trained):
    ends = trained.reconstruct([A, B])
    for path in ("line", "arc"):
        way = trained.interpolate(A, B, steps=5, path=path)
        assert len(way) == 5 and [way[0], way[-1]] == ends
    mu = trained.encode([A, B])
    assert trained.interpolate(*mu, steps=4) == trained.interpolate(A, B, steps=4)
    codes = trained.interpolation(*mu, steps=3, path="arc")
    assert torch.allclose(codes, arc(*torch.from_numpy(mu), 3))
    drawn = trained.interpolation(steps=2, seed=5)
    assert torch.equal(drawn, trained.draw(2, 5)[0]) and trained.interpolate(seed=5) != trained.interpolate(seed=6)


def test_analogies_walks_and_means(trained):
    mu = trained.encode([A, B, C])
    assert trained.analogy(A, B, B) == trained.reconstruct([A])[0]
    assert trained.analogy(A, B, C) == trained.decode((mu[0] - mu[1] + mu[2])[None])[0]
    codes = trained.traversal(2, A, steps=3, span=1.5)
    assert codes[:, 2].tolist() == [-1.5, 0, 1.5] and np.allclose(codes[:, :2], mu[0, :2])
    assert trained.traverse(2, A, 3, span=1.5) == trained.decode(codes)
    assert np.allclose(trained.mean_code([A, B, C]), mu.mean(0))


def test_neighbours_are_the_nearest_codes(trained):
    result = trained.neighbours(A, [B, C, A, A], n=2)
    assert result[0] == (pytest.approx(0, abs=1e-6), A) and result[1][0] > 1e-6
    mu = trained.encode([A, B, C])
    distance = np.linalg.norm(mu[1:] - mu[0], axis=1)
    assert result[1][0] == pytest.approx(distance.min(), abs=1e-5) and result[1][1] == (B, C)[distance.argmin()]


def test_candidates_are_ranked_and_scored(trained):
    z = trained.encode([A, B])
    for best in trained.candidates(z, BEAM):
        assert len(best) == 2 and best[0].log_prob >= best[1].log_prob
        assert all(one.tokens == len(one.text.split()) + 1 for one in best)
    assert [best[0].text for best in trained.candidates(z, BEAM)] == trained.decode(
        z, uc.Decoding("beam", beam_width=3)
    )
    greedy = [best[0].log_prob for best in trained.candidates(z)]
    wide = [best[0].log_prob for best in trained.candidates(z, uc.Decoding("beam", beam_width=20))]
    assert all(w >= g - 1e-4 for w, g in zip(wide, greedy, strict=True))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda run: run.interpolate(A, B, path="bow"), "unknown path 'bow'"),
        (lambda run: run.interpolate(A, B, steps=1), "at least 2 steps, its two ends, got 1"),
        (lambda run: run.traverse(4), "a dimension from 0 to 3, got 4"),
        (lambda run: run.analogy(A, B, np.zeros(3)), r"a sentence or a code of shape \[4\], got \[3\]"),
        (lambda run: run.sample(3, decode=uc.Decoding("beam", n_best=9)), "at most beam_width 5, got 9"),
        (lambda run: run.sample(3, decode=BEAM), "one sentence a code, got n_best 2; use candidates"),
        (lambda run: run.decode(np.full((1, 4), np.nan)), "got nan or infinity"),
        (lambda run: run.decode(["a", "b"]), "an array of numbers, got list"),
        (lambda run: run.encode([1, 2]), "sentences as text, got 1"),
        (lambda run: run.neighbours(A, [B], n=0), "at least one, got 0"),
        (lambda run: run.traverse(0, span=float("inf")), "got nan or infinity"),
    ],
)
def test_misuse_is_said_in_one_line(trained, call, said):
    with pytest.raises(uc.UserError, match=said):
        call(trained)


@pytest.fixture
def say(trained, capsys, tmp_path):
    """Return a function that runs a verb on the trained run and returns its lines."""

    def run(verb, *arguments, status=0):
        assert main([verb, str(trained.path), *map(str, arguments)]) == status
        out, err = capsys.readouterr()
        return out.splitlines() if not status else err.splitlines()

    return run


def test_every_move_is_a_command(trained, say, tmp_path, sentences_file):
    assert say("interpolate", A, B, "--steps", 4, "--path", "arc") == trained.interpolate(A, B, 4, path="arc")
    assert say("interpolate", "--seed", 3) == trained.interpolate(seed=3)
    assert say("analogy", A, B, C) == [trained.analogy(A, B, C)]
    assert "expected at least one, got -1" in say("neighbours", A, "-n", -1, status=2)[-1]
    assert "at least 0 and below 2^32" in say("sample", "--seed", 2**70, status=2)[-1]
    assert say("walk", A, "--dimension", 1, "--steps", 3, "--span", 2) == trained.traverse(1, A, 3, span=2.0)
    assert json.loads(say("walk", "--dimension", 1, "--steps", 3, "--json")[0])["value"] == -3
    group = tmp_path / "group.txt"
    group.write_text(f"{A}\n{B}\n")
    mean = json.loads(say("mean", group, "--json")[0])
    assert mean["sentences"] == 2 and np.allclose(mean["code"], trained.mean_code([A, B]), atol=1e-5)
    assert say("neighbours", A, group, "-n", 1) == [f"0.000\t{A}"]
    assert len(say("neighbours", A)) == 5  # among the training sentences


def test_codes_may_stand_for_sentences(trained, say, tmp_path, capsys):
    group, codes = tmp_path / "group.txt", tmp_path / "codes.npz"
    group.write_text(f"{A}\n{B}\n")
    say("encode", group, "--out", codes)
    assert say("interpolate", "--codes", codes, "--steps", 3) == trained.interpolate(A, B, 3)
    np.save(tmp_path / "flat.npy", np.zeros(4))
    assert (
        "expected codes of shape [N, Z], got [4]" in say("interpolate", "--codes", tmp_path / "flat.npy", status=2)[-1]
    )
    (tmp_path / "text.npy").write_text("no array")
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "half.npz").write_bytes(codes.read_bytes()[:50])
    for damaged in ("text.npy", "empty.npy", "half.npz"):
        assert "expected codes" in say("analogy", "--codes", tmp_path / damaged, status=2)[-1]
    assert "expected 3 sentences (or codes), got 2" in say("analogy", A, B, status=2)[-1]
    assert "got both" in say("walk", A, "--codes", codes, status=2)[-1]


def test_every_writing_verb_takes_every_decoding(trained, say, tmp_path):
    group = tmp_path / "group.txt"
    group.write_text(f"{A}\n{B}\n")
    z = trained.encode([A, B])
    beam = ("--decode", "beam", "--beam-width", 3, "--n-best", 2)
    assert say("reconstruct", group, *beam) == [one.text for best in trained.candidates(z, BEAM) for one in best]
    shown = [json.loads(line) for line in say("reconstruct", group, *beam, "--json")]
    assert [one["rank"] for one in shown] == [1, 2, 1, 2] and shown[2]["source"] == B
    nucleus = uc.Decoding("nucleus", temperature=1.5, top_p=0.8, max_length=4)
    flags = ("--decode", "nucleus", "--temperature", 1.5, "--top-p", 0.8, "--max-length", 4)
    assert say("sample", "-n", 6, *flags, "--seed", 2) == trained.sample(6, nucleus, 2)
    assert max(len(text.split()) for text in trained.sample(30, nucleus)) == 4
    assert "unknown decoding 'beem': did you mean beam" in say("sample", "--decode", "beem", status=2)[-1]
    wrong = say("sample", "--top-k", 3, status=2)[-1]
    assert "--top-k: goes with --decode top-k, got --decode sample" in wrong
    assert (
        "--temperature: goes with --decode sample or top-k or nucleus"
        in say("reconstruct", group, "--temperature", 2, status=2)[-1]
    )
    assert "put what is no flag before the flags" in say("interpolate", A, "--steps", 3, B, status=2)[-1]


def test_evaluate_all_measures_what_fits_the_run(trained, tmp_path, capsys):
    import shutil

    path = shutil.copytree(trained.path, tmp_path / "run")
    assert main(["evaluate", str(path), "--iw-samples", "0", "--all"]) == 0
    out = capsys.readouterr().out
    assert all(
        title in out for title in ("z_use", "greedy reconstructions", "draws from the prior", "labels: majority")
    )
    assert len(out.splitlines()) <= 70 and max(map(len, out.splitlines())) <= 160
    kept = uc.load(path).metrics["test"]
    assert {"reconstruction", "samples", "probes", "aggregate_kl"} <= set(kept["by_protocol"]) <= set(kept)
    capsys.readouterr()
    assert (
        main(["evaluate", str(path), "--iw-samples", "2"]) == 0
    )  # what protocols measured before stays, and is not shown
    assert "labels: majority" not in capsys.readouterr().out
    after = uc.load(path).metrics["test"]
    assert after["probes"] == kept["probes"] and after["iw_samples"] == 2
    folder = uc.load(path).folder  # but not with other weights
    save_weights(folder.model_file, {name: value * 0.5 for name, value in folder.load_weights().items()})
    assert main(["evaluate", str(path), "--iw-samples", "2"]) == 0
    assert "probes" not in uc.load(path).metrics["test"]
    capsys.readouterr()
    assert main(["evaluate", str(path), "--all", "--protocol", "probe"]) == 2
    assert "got both" in capsys.readouterr().err


def test_a_judged_corpus_resumes_and_refuses_another(tmp_path, capsys):
    settings = {**TINY, "data": {"sentences": 300}}
    run = uc.train("grammar", out=tmp_path / "run", **settings)
    splits, _ = run.splits()
    result = judge_samples(run, splits, tmp_path / "judged", count=200, epochs=1)
    drawn = (tmp_path / "judged" / "drawn" / "train.txt").read_text().splitlines()
    assert len(drawn) == 200 and [row["of"] for row in result["samples"]] == ["model", "real"]
    assert all(2 < result[f"ppl_{name}"] < 1000 for name in ("forward", "reverse", "real", "drawn"))
    for name, (kind, on) in {"forward": ("real", "drawn"), "reverse": ("drawn", "real")}.items():
        lines = (tmp_path / "judged" / on / "test.txt").read_text().splitlines()
        text = Corpus.from_texts([line for line in lines if line], run.vocabulary)
        nll = score(uc.load(tmp_path / "judged" / f"lm-{kind}").model, text).nll_elbo.sum().item()
        assert result[f"ppl_{name}"] == pytest.approx(np.exp(nll / text.predicted), rel=1e-5)
    judge = uc.load(tmp_path / "judged" / "lm-real")
    assert judge.vocabulary == run.vocabulary and judge.model.latent == 0
    before = judge.folder.model_file.stat().st_mtime_ns
    assert judge_samples(run, splits, tmp_path / "judged", count=200, epochs=1) == result
    assert judge.folder.model_file.stat().st_mtime_ns == before
    assert judge.folder.corpus()["train"]["sentences"] == 200 == result["protocol"]["sentences"]
    with pytest.raises(uc.UserError, match="add --overwrite, or choose another --out"):
        judge_samples(run, splits, tmp_path / "judged", count=150, epochs=1)
    with pytest.raises(uc.UserError, match=r"train.epochs was 1, now 2 \(a judge of samples; add --overwrite"):
        judge_samples(run, splits, tmp_path / "judged", count=200, epochs=2)
    assert judge_samples(run, splits, tmp_path / "judged", count=150, epochs=2, overwrite=True) != result
    judge_samples(run, splits, tmp_path / "judged", count=200, epochs=1, overwrite=True)
    with pytest.raises(uc.UserError, match="at least 100 sentences"):
        judge_samples(run, splits, tmp_path / "few", count=50)
    assert main(["samples", str(run.path), "-n", "200", "--epochs", "1", "--out", str(tmp_path / "judged")]) == 0
    assert "(forward)" in capsys.readouterr().out


def test_the_whole_way_with_subwords(tmp_path, capsys):
    texts = [
        f"Isn't {name} {verb}ing, {again}?"
        for name in ("Tom", "Mary", "Zoë")
        for verb in ("walk", "sing")
        for again in ("too", "again")
    ]
    (tmp_path / "raw.txt").write_text("\n".join(texts * 20) + "\n")
    data = {"path": str(tmp_path / "raw.txt"), "level": "bpe", "max_vocab": 300}
    run = uc.train(out=tmp_path / "run", data=data, **{k: v for k, v in TINY.items() if k != "data"})
    again = uc.load(tmp_path / "run")
    assert again.vocabulary == run.vocabulary and again.vocabulary.level == "bpe"
    assert again.inputs.unknown_words(["Never ☃ seen"]) == 0 and again.encode(["Never ☃ seen"]).shape == (1, 4)
    assert main(["evaluate", str(run.path), "--iw-samples", "2", "--protocol", "reconstruction"]) == 0
    assert uc.load(run.path).metrics["test"]["bleu_signature"].split("|tok:")[1].startswith("13a")
