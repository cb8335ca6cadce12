"""Imported checkpoints, judged by the equations of their model written out by hand."""

import json
import math

import pytest
import torch

import uncollapse as uc
from uncollapse.cli import main
from uncollapse.data.corpus import Corpus
from uncollapse.errors import UserError
from uncollapse.evaluation.bounds import iw_bound, log_weights
from uncollapse.evaluation.scores import score, seeded
from uncollapse.interop.checkpoints import import_run

TRAIN = "the cat sat\na dog sat on the _UNK mat\nthe <unk> ran\n"
WORDS = ["the", "cat", "sat", "a", "dog", "on", "_UNK", "mat", "ran"]
TEST = ["the dog ran on a mat", "cat", "zebra sat on <unk> _UNK the mat"]
V, NI, NH, NZ = 4 + len(WORDS), 5, 7, 3


def lagging_state(seed=0):
    """Return random weights under the names and shapes of vae-lagging-encoder."""
    draw = torch.Generator().manual_seed(seed)
    shapes = {
        "encoder.embed.weight": (V, NI),
        "encoder.linear.weight": (2 * NZ, NH),
        "decoder.embed.weight": (V, NI),
        "decoder.trans_linear.weight": (NH, NZ),
        "decoder.pred_linear.weight": (V, NH),
        "decoder.loss.weight": (V,),
    }
    for part, width in (("encoder", NI), ("decoder", NI + NZ)):
        shapes[f"{part}.lstm.weight_ih_l0"] = (4 * NH, width)
        shapes[f"{part}.lstm.weight_hh_l0"] = (4 * NH, NH)
        shapes[f"{part}.lstm.bias_ih_l0"] = shapes[f"{part}.lstm.bias_hh_l0"] = (4 * NH,)
    return {name: torch.rand(shape, generator=draw) * 1.6 - 0.8 for name, shape in shapes.items()}


@pytest.fixture
def files(tmp_path):
    (tmp_path / "train.txt").write_text(TRAIN)
    (tmp_path / "valid.txt").write_text(TRAIN)
    (tmp_path / "test.txt").write_text("\n".join(TEST) + "\n")
    torch.save(lagging_state(), tmp_path / "old.pt")
    return tmp_path


def lstm(state, part, inputs, h, c):
    """Run the cell's equations over inputs `[T, width]`; return the states `[T, NH]`."""
    w = {name.removeprefix(f"{part}.lstm."): value.double() for name, value in state.items() if f"{part}.lstm" in name}
    states = []
    for x in inputs:
        gates = w["weight_ih_l0"] @ x + w["bias_ih_l0"] + w["weight_hh_l0"] @ h + w["bias_hh_l0"]
        i, f, g, o = gates.chunk(4)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        states.append(h)
    return torch.stack(states)


def by_hand(state, ids, noise):
    """Return distortion `[K]`, KL and log weights `[K]` of one sentence, in double precision."""
    tokens = torch.tensor([1, *ids, 2])
    zero = torch.zeros(NH, dtype=torch.double)
    last = lstm(state, "encoder", state["encoder.embed.weight"].double()[tokens], zero, zero)[-1]
    mu, logvar = (state["encoder.linear.weight"].double() @ last).chunk(2)
    kl = 0.5 * (logvar.exp() + mu**2 - 1 - logvar).sum()
    distortion, weights = [], []
    q, p = torch.distributions.Normal(mu, (0.5 * logvar).exp()), torch.distributions.Normal(0.0, 1.0)
    for eps in noise.double():
        z = mu + (0.5 * logvar).exp() * eps
        c = state["decoder.trans_linear.weight"].double() @ z
        inputs = torch.cat([state["decoder.embed.weight"].double()[tokens[:-1]], z.expand(len(tokens) - 1, -1)], 1)
        states = lstm(state, "decoder", inputs, c.tanh(), c)
        log_p = (states @ state["decoder.pred_linear.weight"].double().T).log_softmax(-1)
        distortion.append(-log_p[torch.arange(len(tokens) - 1), tokens[1:]].sum())
        weights.append(p.log_prob(z).sum() - q.log_prob(z).sum() - distortion[-1])
    return torch.stack(distortion), kl, torch.stack(weights)


def ids_of(text):
    return [3 if word not in WORDS else 4 + WORDS.index(word) for word in text.split()]


@pytest.mark.parametrize("kind", ["lagging", "pretraining"])
def test_an_imported_model_computes_what_its_equations_say(files, kind):
    run = import_run(kind, files / "old.pt", files / "train.txt", out=files / "run")
    assert list(run.vocabulary.tokens[4:]) == WORDS
    corpus = Corpus.from_texts(TEST, run.vocabulary)
    assert [corpus.ids(i).tolist() for i in range(3)] == [ids_of(text) for text in TEST]
    scores, samples = score(run.model, corpus, seed=7), 6
    noise = scores.posterior.noise(3, 1, seeded(7))
    log_w = log_weights(run.model, corpus, torch.arange(3).numpy(), samples=samples, seed=5)
    for i, text in enumerate(TEST):
        distortion, kl, _ = by_hand(lagging_state(), ids_of(text), noise[i])
        assert scores.distortion[i].item() == pytest.approx(distortion.item(), rel=1e-5)
        assert scores.rate[i].item() == pytest.approx(kl.item(), rel=1e-5)
        streams = scores.posterior.noise(1, samples, seeded((5 * 1_000_003 + i) % 2**32))[0]
        _, _, expected = by_hand(lagging_state(), ids_of(text), streams)
        assert log_w[i].tolist() == pytest.approx(expected.tolist(), rel=1e-5)
        bound = -(expected.logsumexp(0) - math.log(samples))
        assert iw_bound(log_w[i : i + 1]).item() == pytest.approx(bound.item(), rel=1e-5)


def test_the_command_line_imports_and_the_run_is_used_as_any_other(files, capsys):
    assert (
        main(
            [
                "import",
                "lagging",
                str(files / "old.pt"),
                "--vocab-from",
                str(files / "train.txt"),
                "--out",
                str(files / "run"),
            ]
        )
        == 0
    )
    assert "z 3, emb 5, hidden 7, 13 words" in capsys.readouterr().err
    assert main(["evaluate", str(files / "run"), "--iw-samples", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sentences"] == 3  # the test text beside the training text
    assert len(uc.load(files / "run").interpolate("the cat sat", "a dog ran", steps=3)) == 3


def test_a_test_text_under_any_name_is_found_and_labels_are_no_words(files, capsys):
    for part in ("train", "valid", "test"):
        (files / f"{part}.txt").rename(files / f"ptb.{part}.txt")
    run = import_run("lagging", files / "old.pt", files / "ptb.train.txt", out=files / "run")
    assert run.splits()[0].test.texts()[0] == TEST[0]
    (files / "labelled").mkdir()
    labelled = files / "labelled" / "train.tsv"
    labelled.write_text("".join(f"1\t{line}\n" for line in TRAIN.splitlines() * 20))
    arguments = ["--vocab-from", str(labelled), "--out", str(files / "other")]
    assert main(["import", "lagging", str(files / "old.pt"), *arguments]) == 0
    assert "no test file: 3 sentences (5%) were split off" in capsys.readouterr().err


def change(files, **weights):
    torch.save({**lagging_state(), **weights}, files / "old.pt")


@pytest.mark.parametrize(
    ("prepare", "kind", "message"),
    [
        (lambda files: None, "laging", "unknown kind 'laging': did you mean lagging"),
        (lambda files: (files / "old.pt").unlink(), "lagging", "found no such file"),
        (lambda files: (files / "old.pt").write_text("no pickle"), "lagging", "expected a state dictionary of tensors"),
        (lambda files: torch.save([1, 2], files / "old.pt"), "lagging", "got list"),
        (lambda files: torch.save({"model": lagging_state(), "epoch": 3}, files / "old.pt"), "lagging", "got dict of model, epoch"),
        (lambda files: (files / "old.pt").write_bytes(b""), "lagging", "expected a state dictionary of tensors"),
        (lambda files: (files / "train.txt").write_text(TRAIN + "new words\n"), "lagging", "13 different words .* got 15"),
        (lambda files: change(files, **{"flow.weight": torch.zeros(1)}), "lagging", "unknown weight 'flow.weight'"),
        (lambda files: torch.save({"encoder.embed.weight": torch.zeros(V, NI)}, files / "old.pt"), "lagging", r"encoder.lstm.\*, found none"),
        (lambda files: change(files, **{"encoder.linear.weight": torch.zeros(6, 9)}), "lagging", "does not fit .* encoder.cell"),
        (lambda files: change(files, **{"decoder.lstm.weight_ih_l1": torch.zeros(28, 7)}), "lagging", "LSTM text model of one layer"),
    ],
)  # fmt: skip
def test_what_cannot_be_imported_is_one_clear_line(files, prepare, kind, message):
    prepare(files)
    with pytest.raises(UserError, match=message):
        import_run(kind, files / "old.pt", files / "train.txt", out=files / "run")
    assert not (files / "run" / "config.yaml").exists()


def test_a_pickle_that_would_run_code_is_not_run(files):
    class Evil:
        def __reduce__(self):
            return (print, ("run!",))

    torch.save({"encoder.embed.weight": Evil()}, files / "old.pt")
    with pytest.raises(UserError, match="expected a state dictionary"):
        import_run("lagging", files / "old.pt", files / "train.txt", out=files / "run")


def test_a_run_is_not_replaced_unasked(files):
    import_run("lagging", files / "old.pt", files / "train.txt", out=files / "run")
    with pytest.raises(UserError, match="a run is already there"):
        import_run("lagging", files / "old.pt", files / "train.txt", out=files / "run")
    import_run("lagging", files / "old.pt", files / "train.txt", out=files / "run", overwrite=True)
