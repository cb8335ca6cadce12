"""The command line, as a user meets it."""

import io
import json
import shutil
import sys

import numpy as np
import pytest

import uncollapse as uc
from uncollapse.cli import COMMANDS, main
from uncollapse.runs import plan
from uncollapse.runs.version import code_version
from uncollapse.training.timing import Pace

QUICK = "--data.sentences 200 --encoder.hidden 12 --decoder.hidden 12 --encoder.emb 8 --decoder.emb 8 --model.latent 4 --train.epochs 1 --train.device cpu".split()


@pytest.fixture
def run(trained, tmp_path):
    return str(shutil.copytree(trained.path, tmp_path / "trained"))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0 and f"uncollapse {command}" in capsys.readouterr().out


def test_help_and_version(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(command in out for command in COMMANDS)
    assert main(["--version"]) == 0 and capsys.readouterr().out.startswith("uncollapse 0.")
    assert main([]) == 2


def test_train_ends_with_samples_reconstructions_a_verdict_and_the_next_commands(tmp_path, capsys):
    assert main(["train", "--recipe", "grammar", "--out", str(tmp_path / "run"), *QUICK]) == 0
    out, err = capsys.readouterr()
    assert "samples from the prior" in out and out.count("->") == 3 and "verdict: " in out
    assert f"uncollapse evaluate {tmp_path / 'run'}" in out and len(out.split("next:")[1].strip().splitlines()) == 3
    assert "epoch   1" in err and "about " in err and "vocabulary" in err


def test_a_file_of_sentences_is_enough(sentences_file, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = [
        "--data.path",
        str(sentences_file),
        "--train.epochs",
        "1",
        "--encoder.hidden",
        "12",
        "--decoder.hidden",
        "12",
        "--encoder.emb",
        "8",
        "--decoder.emb",
        "8",
    ]
    assert main(["train", *flags]) == 0
    out, err = capsys.readouterr()
    assert "split off the training part" in err and "verdict" in out and (tmp_path / "runs" / "my_sentences-1").is_dir()
    assert "tokens: " in err and "training: kl-controller, adam 0.004, 1 epochs" in err
    assert main(["evaluate", "runs/my_sentences-1", "--iw-samples", "3"]) == 0


def test_too_little_text_and_too_little_time_are_said_and_more_of_it_can_be_given(
    sentences_file, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plan, "measure_pace", lambda *_, **__: Pace(0.2, 0.1))
    flags = [
        "--data.path",
        str(sentences_file),
        "--encoder.hidden",
        "12",
        "--decoder.hidden",
        "12",
        "--train.minutes",
        "0.01",
    ]
    assert main(["train", *flags]) == 0
    out = capsys.readouterr().out
    assert "what is missing: more text (90 training sentences; 10,000 are enough as a rule)" in out
    epochs = uc.load("runs/my_sentences-1").config.train.epochs
    (more,) = (line.strip() for line in out.splitlines() if line.strip().endswith("--resume"))
    assert more.endswith("--train.minutes 0.02 --resume") and more.count("--train.minutes") == 1
    assert main(more.split()[1:]) == 0
    assert uc.load("runs/my_sentences-1").config.train.epochs > epochs


def test_evaluate_prints_a_table_or_json_and_rows(run, tmp_path, capsys):
    rows = tmp_path / "rows.tsv"
    assert main(["evaluate", run, "--iw-samples", "3", "--iw-sentences", "20", "--per-sentence", str(rows)]) == 0
    out, err = capsys.readouterr()
    assert "nll_iw" in out and "verdict" in out and not err
    table = [line.split("\t") for line in rows.read_text().splitlines()]
    assert len(table) == 1001 and table[0] == ["distortion", "rate", "nll_elbo", "nll_iw", "text"]
    assert sum(row[3] != "" for row in table[1:]) == 20
    assert main(["evaluate", run, "--iw-samples", "3", "--iw-sentences", "20", "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert metrics["nll_elbo"] == pytest.approx(np.mean([float(r[2]) for r in table[1:]]), abs=1e-3)
    assert main(["compare", run, run]) == 0
    assert "annealed" in capsys.readouterr().out


def test_evaluate_adaptively_in_half_the_bits(run, capsys):
    assert (
        main(
            [
                "evaluate",
                run,
                "--iw-samples",
                "20",
                "--iw-sentences",
                "30",
                "--adaptive",
                "--precision",
                "bf16",
                "--json",
            ]
        )
        == 0
    )
    metrics = json.loads(capsys.readouterr().out)
    assert (
        "adaptive to the error of K = 20" in metrics["protocol"]["nll_iw"] and "bf16" in metrics["protocol"]["nll_iw"]
    )
    assert metrics["nll_iw"] < metrics["nll_elbo"] + 4 * metrics["iw_gap_se"]
    assert metrics["iw_draws_se"] > 0


def test_sample_reconstruct_and_encode(run, tmp_path, capsys, monkeypatch, trained):
    assert main(["sample", run, "-n", "4", "--decode", "greedy", "--seed", "3"]) == 0
    assert capsys.readouterr().out.splitlines() == trained.sample(4, "greedy", 3)
    texts = ["the trader sold the shares .", "some singers sing the songs ."]
    file = tmp_path / "in.txt"
    file.write_text("\n".join(texts) + "\n")
    assert main(["reconstruct", run, str(file)]) == 0
    assert capsys.readouterr().out.splitlines() == trained.reconstruct(texts)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(texts).encode())))
    assert main(["encode", run, "-"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    np.testing.assert_allclose(np.array([r[:-1] for r in rows], float), trained.encode(texts), rtol=1e-4, atol=1e-5)
    assert main(["encode", run, str(file), "--out", str(tmp_path / "codes.npz")]) == 0
    saved = np.load(tmp_path / "codes.npz")
    np.testing.assert_array_equal(saved["mu"], trained.encode(texts))
    assert saved["texts"].tolist() == texts and saved["logvar"].shape == (2, 4)
    assert main(["encode", run, str(file), "--out", str(tmp_path / "codes.tsv")]) == 0


def test_losses_are_exported_as_text(tmp_path, capsys):
    flags = [*QUICK, "--train.eval_test_every", "1", "--objective.weight", "0.5"]  # nll_elbo is not the objective
    assert main(["train", "--recipe", "grammar", "--out", str(tmp_path / "run"), *flags]) == 0
    assert main(["losses", str(tmp_path / "run"), "--out", str(tmp_path / "texts")]) == 0
    log = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    for name in ("train", "test"):
        values = [entry[name]["nll_elbo"] for entry in log]
        written = [float(line) for line in (tmp_path / "texts" / f"{name}_loss.txt").read_text().splitlines()]
        assert written == pytest.approx(values, abs=1e-5)


def test_losses_say_which_epochs_were_followed_on_the_test_split_and_the_log_what_each_was_trained_by(tmp_path, capsys):
    flags = "--train.epochs 3 --train.eval_test_every 2 --objective.teacher_forcing".split()
    forcing = "by-epoch(linear(1, 0.4, 3 epochs))"
    assert main(["train", "--recipe", "grammar", "--out", str(tmp_path / "run"), *QUICK, *flags, forcing]) == 0
    capsys.readouterr()
    assert main(["losses", str(tmp_path / "run")]) == 0
    assert "test_loss.txt, after epochs 2, without dropout" in capsys.readouterr().err
    log = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [entry["teacher_forcing"] for entry in log] == pytest.approx([1.0, 0.8, 0.6])
    assert {entry["code"] for entry in log} == {code_version()} and code_version().startswith(uc.__version__)


def test_the_numbers_of_the_twr_paper_are_labelled_as_no_bound_and_of_the_timesteps_of_training(tmp_path, capsys):
    flags = [*QUICK, "--objective.timesteps", "25%"]
    assert main(["train", "--recipe", "grammar", "--remedy", "twr", "--out", str(tmp_path / "run"), *flags]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "run"), "--iw-samples", "2", "--protocol", "twr", "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert main(["evaluate", str(tmp_path / "run"), "--iw-samples", "0", "--protocol", "twr"]) == 0
    assert "25% of the timesteps, BOS counted: not a bound" in " ".join(capsys.readouterr().out.split())
    assert (
        "not a bound" in metrics["twr_protocol"] and metrics["twr_tokens"] == metrics["tokens"] + metrics["sentences"]
    )
    assert metrics["twr_kl"] >= 0 and "the last 25% of the timesteps" in metrics["twr_protocol"]


def test_unknown_words_are_said(run, tmp_path, capsys):
    (tmp_path / "in.txt").write_text("the zebra sold the shares .\n")
    assert main(["reconstruct", run, str(tmp_path / "in.txt")]) == 0
    assert "1 tokens are not in the vocabulary" in capsys.readouterr().err


def test_lists(capsys):
    assert main(["recipes"]) == 0 and "ptb:" in capsys.readouterr().out
    assert main(["remedies"]) == 0 and "annealed:" in capsys.readouterr().out


def test_data_writes_a_corpus_that_train_takes(tmp_path, capsys):
    assert main(["data", "grammar", "--out", str(tmp_path / "g"), "--sentences", "200"]) == 0
    floor = json.loads((tmp_path / "g" / "floor.json").read_text())
    assert floor["entropy"] == pytest.approx(16.5, abs=1)
    flags = [
        "--data.path",
        str(tmp_path / "g"),
        "--train.epochs",
        "1",
        "--encoder.hidden",
        "12",
        "--decoder.hidden",
        "12",
        "--encoder.emb",
        "8",
        "--decoder.emb",
        "8",
    ]
    assert main(["train", *flags, "--out", str(tmp_path / "run")]) == 0


BAD = [
    (["trian"], "did you mean train"),
    (["train"], "expected --data.path FILE or --data.name"),
    (["train", "--data.path", "nothing.txt"], "no such file or folder"),
    (["train", "--data.path", "empty.txt"], "an empty file"),
    (["train", "--data.path", "blank.txt"], "only blank lines"),
    (["train", "--data.path", "bytes.txt"], "line 2: expected UTF-8"),
    (["train", "--data.path", "bad.tsv"], "line 2: expected label<TAB>text"),
    (["train", "--data.path", "bad.jsonl"], "line 2: expected JSON"),
    (["train", "--data.path", "few.txt"], "too few to split off"),
    (["train", "--data.path", "fine.txt", "--data.test", "absent.txt"], "absent.txt: no such file"),
    (["train", "--recipe", "gramar"], "did you mean grammar"),
    (["trian"], "unknown command 'trian': did you mean train"),
    (["train", "--recipe", "grammar", "--remedy", "aneal"], "unknown remedy 'aneal'"),
    (["train", "--recipe", "grammar", "--remedy", "beta", "--remedy", "annealed"], "contradict each other"),
    (["train", "--recipe", "grammar", "--objective.wieght", "1"], "did you mean --objective.weight"),
    (["train", "--recipe", "grammar", "--wieght", "1"], "unknown argument '--wieght'"),
    (["train", "--recipe", "grammar", "--objective.weight", "lin(0, 1, 2 epochs)"], "unknown shape 'lin'"),
    (["train", "--recipe", "grammar", "--objective.weight", "cyclical(0,1,2 steps,cycles=3)"], "at least one step"),
    (["train", "--recipe", "grammar", "--model.latent", "many"], "--model.latent: expected an integer of at least 0"),
    (["train", "--recipe", "grammar", "--model.latent", "-3"], "at least 0, got -3"),
    (["train", "--recipe", "grammar", "--encoder.kind", "cnn"], "expected one of lstm, gru"),
    (["train", "--recipe", "grammar", "--train.device", "abacus"], "expected a device of this machine"),
    (["train", "--recipe", "grammar", "--rec", "ptb"], "unknown argument '--rec'"),
    (["train", "--recipe", "grammar", "--seed"], "expected one argument"),
    (["train", "--recipe", "grammar", "--seed", "one"], "expected an integer"),
    (["train", "--recipe", "grammar", "--resume", "--out", "nowhere"], "nothing to resume"),
    (["train", "--recipe", "grammar", "--out", "RUN"], "a run is already there"),
    (["train", "--recipe", "grammar", "--out", "RUN", "--resume"], "--resume needs the settings of the run"),
    (["evaluate"], "see --help"),
    (["evaluate", "nothing"], "no such run folder"),
    (["evaluate", "RUN", "--split", "tets"], "did you mean test"),
    (["evaluate", "RUN", "--protocol", "twt"], "unknown protocol"),
    (["losses", "nothing"], "no such run folder"),
    (["bench", "--recipe", "grammar", "--remedies", ""], "expected different remedies"),
    (["bench", "--recipe", "grammar", "--seeds", "0"], "at least one seed"),
    (
        ["train", "--recipe", "grammar", "--remedy", "gamma", "--objective.df", "1"],
        "objective.df: expected more than 2",
    ),
    (["train", "--recipe", "grammar", "--remedy", "twr-mean", "--remedy", "twr"], "contradict each other"),
    (["evaluate", "RUN", "--iw-sentences", "most"], "an integer of at least 2, or all"),
    (["evaluate", "RUN", "--iw-samples", "-2"], "at least 0"),
    (["evaluate", "RUN", "--iw-samples", "x"], "--iw-samples: expected an integer"),
    (["sample", "RUN", "-n", "0"], "at least one sentence"),
    (["sample", "RUN", "--decode", "beam me up"], "unknown decoding"),
    (["reconstruct", "RUN", "absent.txt"], "no such file"),
    (["encode", "RUN", "fine.txt", "--out", "codes.csv"], "*.npz or *.tsv"),
    (["compare", "RUN", "--split", "train"], "not evaluated on train"),
    (["compare", "nothing"], "no such run folder"),
    (["data", "gramar", "--out", "x"], "did you mean grammar"),
    (["data", "stroks", "--out", "x"], "did you mean strokes"),
    (["evaluate", "RUN", "--iw-sentences", "1"], "an integer of at least 2, or all"),
    (["train", "--data.path", "fine.txt", "--freeze", "encoder,decoder"], "no weight is left to train"),
    (["data", "grammar"], "expected --out DIR"),
    (["data", "grammar", "--out", "fine.txt"], "fine.txt"),
    (["train", "--recipe", "grammar", "--out", "fine.txt"], "fine.txt"),
    (["evaluate", "RUN", "--per-sentence", "."], "expected a file"),
    (["sample", "RUN", "--seed", "-1"], "--seed: expected an integer of at least 0"),
    (["train", "--recipe", "grammar", "--data.valid", "fine.txt"], "go with --data.path"),
    (["train", "--recipe", "grammar", "--remedy", "lm", "--remedy", "mmd"], "nothing for floor"),
    (["bench", "--recipe", "grammar", "--remedies", "vanilla,anealed"], "unknown remedy 'anealed'"),
    (["bench", "--recipe", "grammar", "--remedies", "beta+annealed"], "contradict"),
    (["data", "grammar", "--out", "x", "--sentences", "-1"], "--sentences: expected an integer of at least 0"),
    (["data", "strokes", "--out", "x", "--side", "7"], "--side: expected an integer of at least 8"),
    (["bench", "--iw-samples", "0"], "--iw-samples: expected an integer of at least 1"),
    (["import", "lagging", "model.pt", "--out", "x"], "import: expected --vocab-from FILE"),
    (["evaluate", "RUN", "--precision", "fp16"], "'fp16'"),
    (["evaluate", "RUN", "--iw-sentences", "9" * 5000], "an integer of at least 2, or all"),
    (["plot", "RUN", "posterior-mean-space", "--at", "9" * 5000], "--at: expected steps"),
    (["sample", "RUN", "--seed", "9" * 5000], "--seed: expected an integer"),
    (["sample", "RUN", "--seed", "18446744073709551616"], "below 2^32, got 18446744073709551616"),
    (["sample", "RUN", "-n", "9" * 26], "-n: expected an integer below 2^32"),
    (["train", "--data.sentences", "9" * 5000], "--data.sentences: expected an integer"),
    (["train", "--optim.lr", "nan"], "--optim.lr: expected a number of at least 0, got 'nan'"),
    (["train", "--train.minutes", "inf"], "--train.minutes: expected a number"),
    (["train", "--objective.alpha", "-inf"], "--objective.alpha: expected a number, got '-inf'"),
    (["train", "--data.lowercase", "perhaps"], "--data.lowercase: expected true or false, got 'perhaps'"),
    (["train", "--data.lowercase"], "--data.lowercase: expected one argument; see --help"),
    (["train", "--train.epochs", "1e3"], "--train.epochs: expected an integer"),
    (["sample", "RUN", "words"], "unknown argument 'words': put what is no flag before the flags"),
    (["sample", "RUN", "--top_k", "3"], "unknown argument '--top_k': did you mean --top-k"),
]


@pytest.mark.parametrize(("arguments", "said"), BAD, ids=[" ".join(a)[:60] for a, _ in BAD])
def test_bad_input_gets_one_line_and_status_2(run, tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    files = {
        "empty.txt": b"", "blank.txt": b"\n \n", "bytes.txt": b"a\n\xff\xfe\n", "bad.tsv": b"1\ta\nb\n", "few.txt": b"a\nb\n",
        "bad.jsonl": b'{"text": "a"}\n{nope\n', "fine.txt": b"a b\n" * 40,
    }  # fmt: skip
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    assert main([run if a == "RUN" else a for a in arguments]) == 2
    out, err = capsys.readouterr()
    last = err.strip().splitlines()[-1]
    assert out == "" and last.startswith("uncollapse: ") and said in last
    assert len(err.strip().splitlines()) == 1


def test_bytes_from_a_pipe_are_checked_too(run, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"fine\n\xff\n")))
    assert main(["reconstruct", run, "-"]) == 2
    assert "stdin, line 2: expected UTF-8" in capsys.readouterr().err


def test_a_training_that_fails_has_status_1(tmp_path, capsys):
    flags = [*QUICK, "--optim.optimizer", "sgd", "--optim.lr", "1e30", "--optim.clip", "0"]
    assert main(["train", "--recipe", "grammar", "--out", str(tmp_path / "run"), *flags]) == 1
    assert "try a lower --optim.lr" in capsys.readouterr().err


def test_interrupted_training_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    import os
    import signal

    from uncollapse.training.callbacks import Progress

    real = Progress.on_step
    monkeypatch.setattr(Progress, "on_step", lambda self, *a: (real(self, *a), os.kill(os.getpid(), signal.SIGINT)))
    command = ["train", "--recipe", "grammar", "--out", str(tmp_path / "run"), *QUICK]
    assert main(command) == 130
    said = capsys.readouterr().err
    assert "the state is saved" in said and "--resume" in said
    monkeypatch.setattr(Progress, "on_step", real)
    assert main([*command, "--resume"]) == 0


def test_verbs_written_as_rows_are_read_as_the_embedded_corpus(tmp_path, capsys):

    from uncollapse.data.settings import DataConfig
    from uncollapse.runs.builders.data import build_splits

    assert main(["data", "verbs", "--out", str(tmp_path)]) == 0
    assert "--data.level char --data.format parallel --data.columns 'tense: sp, tp, pg, p'" in capsys.readouterr().err
    files = DataConfig(path=str(tmp_path), format="parallel", columns="tense: sp, tp, pg, p", level="char")
    read, made = build_splits(files), build_splits(DataConfig(name="verbs", level="char"))
    for part in ("train", "valid", "test"):
        assert read[part].texts() == made[part].texts() and (read[part].forms == made[part].forms).all()
        assert (read[part].labels["tense"] == made[part].labels["tense"]).all()


def test_reconstructions_are_written_beside_their_sentences_and_not_among_the_numbers(run, capsys):
    arguments = ["evaluate", run, "--iw-samples", "0", "--protocol", "reconstruction", "--json"]
    assert main(arguments) == 0
    shown = capsys.readouterr()
    assert "reconstructions.jsonl" in shown.err and "reconstructions" not in json.loads(shown.out)
    folder = uc.load(run).folder.path
    lines = [json.loads(line) for line in (folder / "reconstructions.jsonl").read_text().splitlines()]
    test = uc.load(run).splits()[0].test
    assert [line["text"] for line in lines] == test.texts() and set(lines[0]) == {"split", "text", "mu", "sample"}
    assert uc.load(run).reconstruct([lines[0]["text"]]) == [lines[0]["mu"]]
    assert "reconstructions" not in uc.load(run).metrics["test"]
    assert "reconstructions" not in uc.load(run).metrics["test"]["by_protocol"]
