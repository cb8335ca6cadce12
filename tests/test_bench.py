import os
import signal
import subprocess
import sys
import time

import pytest

import uncollapse as uc
from tests.conftest import TINY
from uncollapse.cli import main
from uncollapse.cli.bench import named_runs, sweep_of
from uncollapse.errors import UserError
from uncollapse.runs.bench import Result, bench, frontier, recommend, relative_time
from uncollapse.runs.config import merge
from uncollapse.runs.executors import EndWithParent, Processes
from uncollapse.runs.folder import RunFolder
from uncollapse.runs.trials import Trial
from uncollapse.training.callbacks import Callback
from uncollapse.training.guards import Interrupted
from uncollapse.training.states import load_state


def result(name, rate, distortion, state="alive", nll_iw=None, seconds=1.0):
    values = {"rate": [rate], "distortion": [distortion], "nll_elbo": [rate + distortion], "mi": [rate], "au": [3.0]}
    return Result(
        name, {**values, "nll_iw": [nll_iw or rate + distortion], "seconds": [seconds], "accuracy": [0.5]}, (state,)
    )


def test_the_frontier_is_what_no_other_undercuts_in_both():
    points = {"far": (9, 1), "vanilla": (0, 10), "good": (3, 6), "bad": (4, 8), "as good": (3, 6), "as far": (3, 7)}
    assert frontier(points) == ["vanilla", "good", "as good", "far"]


def test_the_recommendation_prefers_what_lives_to_what_is_tight():
    results = [result("vanilla", 0, 10, "collapsed"), result("beta", 1, 9.5, "partly alive"), result("bn", 6, 5)]
    assert recommend(results).startswith("use bn: ") and "1.00 nats above the lowest nll_iw (vanilla)" in recommend(
        results
    )
    assert recommend(results[:2]).startswith("use beta: ")
    assert recommend([result("lm", 0, 9, "no latent")]).startswith("language models alone")
    assert recommend(results[:1]).startswith("every remedy collapsed")
    assert relative_time([result("vanilla", 0, 1, seconds=2.0), result("bn", 0, 1, seconds=3.0)]) == {
        "vanilla": 1,
        "bn": 1.5,
    }


def test_means_and_spreads_are_over_seeds():
    two = Result("x", {"rate": [1.0, 3.0]}, ("alive", "alive"))
    assert two.mean("rate") == 2 and two.spread("rate") == pytest.approx(2**0.5)


@pytest.mark.parametrize(
    ("values", "words"), [("3,x", "schedule 'x'"), ("3,3", "different values of objective.target")]
)
def test_a_sweep_is_checked_before_any_run_is_trained(tmp_path, capsys, values, words):
    arguments = ["--recipe", "grammar", "--remedies", "kl-target", "--sweep", f"objective.target={values}"]
    assert main(["bench", *arguments, "--out", str(tmp_path / "out")]) == 2
    assert words in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_finished_runs_are_not_trained_again(tmp_path):
    trained = []

    class Spy(Callback):
        def on_validate(self, trainer, entry):
            trained.append(entry["epoch"])

    options = {"seeds": 2, "settings": TINY, "callbacks": lambda name: [Spy()], "iw_samples": 3, "iw_sentences": 20}
    first = bench(tmp_path, "grammar", ["vanilla", "lm", "annealed+skip"], **options)
    assert len(trained) == 12 and sorted(p.name for p in tmp_path.iterdir())[:2] == [
        "annealed+skip-1",
        "annealed+skip-2",
    ]
    again = bench(tmp_path, "grammar", ["vanilla", "lm", "annealed+skip"], **options)
    assert len(trained) == 12 and [r.values for r in again] == [r.values for r in first]
    (tmp_path / "other.txt").write_text("the dog sings .\n" * 30)
    for other in ({"data": {"path": str(tmp_path / "other.txt")}}, {"seed": 7}, {"adaptive": True}):
        uc.load(tmp_path / "vanilla-1").evaluate(iw_samples=3, iw_sentences=20, **other)
        again = bench(tmp_path, "grammar", ["vanilla", "lm", "annealed+skip"], **options)
        assert len(trained) == 12 and [r.values for r in again] == [r.values for r in first]
    plain = Trial(tmp_path / "vanilla-1", "grammar", ("vanilla",), 1, TINY, iw_samples=3, iw_sentences=20)
    own = plain.measured(uc.load(plain.path), lambda name: [])["nll_iw"]
    uc.load(plain.path).evaluate(iw_samples=3, iw_sentences=20, data={"path": str(tmp_path / "other.txt")})
    assert plain.measured(uc.load(plain.path), lambda name: [])["nll_iw"] == own
    more = bench(
        tmp_path,
        "grammar",
        ["vanilla"],
        seeds=1,
        settings=TINY,
        callbacks=lambda name: [Spy()],
        iw_samples=7,
        iw_sentences=20,
    )
    assert len(trained) == 12 and more[0].values["nll_iw"] != first[0].values["nll_iw"][:1]
    with pytest.raises(UserError, match="different remedies"):
        bench(tmp_path, "grammar", ["vanilla", "vanilla"], seeds=1, settings=TINY, callbacks=lambda name: [Spy()])


def test_open_epochs_are_chosen_once_for_all(tmp_path):
    settings = merge(TINY, {"train": {"epochs": 0, "minutes": 0.01}})
    bench(
        tmp_path,
        "grammar",
        ["vanilla", "skip"],
        seeds=2,
        settings=settings,
        callbacks=lambda name: [],
        iw_samples=2,
        iw_sentences=10,
    )
    epochs = {RunFolder(path).origin().config.train.epochs for path in tmp_path.iterdir()}
    assert len(epochs) == 1 and epochs != {0}


def test_the_command_ends_with_table_frontier_and_recommendation(tmp_path, capsys):
    flags = "--data.sentences 100 --encoder.hidden 8 --decoder.hidden 8 --encoder.emb 8 --decoder.emb 8 --train.epochs 1 --train.device cpu --iw-samples 2".split()
    command = ["bench", "--recipe", "grammar", "--remedies", "vanilla,bn", "--out", str(tmp_path), *flags]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "1.00x" in out and "frontier" in out and "recommendation" in out and "budget" in out
    page = (tmp_path / "report.html").read_text()
    assert all(str(tmp_path / name) in page for name in ("vanilla-1", "bn-1"))
    assert main(["bench", "--recipe", "grammar", "--remedies", "vanila", "--out", str(tmp_path), *flags]) == 2


def test_the_page_is_of_every_run_by_its_seed():
    path = uc.load("model:grammar").path
    one, two = Result("vanilla", {}, (), paths=(path,)), Result("bn", {}, (), paths=(path, path))
    assert list(named_runs([one])) == ["vanilla"]
    assert list(named_runs([one, two])) == ["vanilla, seed 1", "bn, seed 1", "bn, seed 2"]


@pytest.mark.slow
def test_rows_of_forms_bring_their_scores_into_the_table(tmp_path, capsys):
    flags = "--model.latent 4 --encoder.emb 8 --decoder.emb 8 --encoder.hidden 12 --decoder.hidden 12 --train.epochs 1 --data.sentences 800 --iw-samples 2".split()
    assert main(["bench", "--recipe", "verbs", "--remedies", "vanilla,beta", "--out", str(tmp_path), *flags,
                 "--objective.translate", "false", "--train.select", "loss"]) == 0  # fmt: skip
    out = capsys.readouterr().out
    assert "gaussian_score" in out and "gaussian_distinct" in out and "heldout_exact" in out
    for name in ("vanilla-1", "beta-1"):
        measured = RunFolder(tmp_path / name).metrics()["test"]
        assert 0 <= measured["gaussian_score"] <= 1 and measured["heldout_rows"] > 100


def quiet(name):
    return []


def test_several_jobs_at_a_time_give_what_one_after_another_gives(tmp_path):
    options = {"seeds": 1, "settings": TINY, "callbacks": quiet, "iw_samples": 3, "iw_sentences": 20}
    one = bench(tmp_path / "one", "grammar", ["vanilla", "lm"], **options)
    two = bench(tmp_path / "two", "grammar", ["vanilla", "lm"], executor=Processes(2), **options)
    for remedy, other in zip(one, two, strict=True):
        assert remedy.states == other.states
        assert {**remedy.values, "seconds": 0} == {**other.values, "seconds": 0}
    written = (tmp_path / "two" / "lm-1" / "model.safetensors").stat().st_mtime_ns
    assert (
        bench(tmp_path / "two", "grammar", ["vanilla", "lm"], executor=Processes(2), **options) == two
    )  # finished: read again
    assert (tmp_path / "two" / "lm-1" / "model.safetensors").stat().st_mtime_ns == written


def test_a_job_that_fails_ends_the_list_and_names_its_run(tmp_path, capfd):
    (tmp_path / "lm-1").write_text("not a folder")
    with pytest.raises(UserError, match="lm-1: ended with status 2; its message is above"):
        bench(tmp_path, "grammar", ["vanilla", "lm"], seeds=1, settings=TINY, callbacks=quiet, executor=Processes(2))
    assert "lm-1: uncollapse: " in capfd.readouterr().err


@pytest.mark.slow
def test_stopped_jobs_are_saved_and_go_on(tmp_path):
    flags = {"data.sentences": 200, "encoder.hidden": 12, "decoder.hidden": 12, "encoder.emb": 8, "decoder.emb": 8}
    flags |= {"model.latent": 4, "train.epochs": 12, "train.batch_size": 8}
    given = [text for name, value in flags.items() for text in (f"--{name}", str(value))]
    command = ["-m", "uncollapse", "bench", "--recipe", "grammar", "--remedies", "vanilla,lm", "--jobs", "2", *given]

    def begin(out):
        return subprocess.Popen([sys.executable, *command, "--out", str(tmp_path / out)], stderr=subprocess.DEVNULL)

    stopped = begin("stopped")
    while not list((tmp_path / "stopped").glob("*/metrics.jsonl")):  # the first epoch of one of them has ended
        assert stopped.poll() is None
        time.sleep(0.05)
    stopped.send_signal(signal.SIGTERM)
    assert stopped.wait() == 130
    saved = [load_state(file)["progress"]["epoch"] for file in (tmp_path / "stopped").glob("*/state/last.pt")]
    assert saved and min(saved) < 12
    assert begin("stopped").wait() == 0 and begin("whole").wait() == 0
    for name in ("vanilla-1", "lm-1"):
        resumed, whole = (RunFolder(tmp_path / out / name).metrics()["test"] for out in ("stopped", "whole"))
        assert resumed["nll_elbo"] == whole["nll_elbo"] and resumed["epochs"] == 12


def test_a_job_whose_parent_is_gone_stops_as_at_sigterm(tmp_path):
    trial = Trial(tmp_path / "run", "grammar", ("lm",), 1, TINY)
    with pytest.raises(Interrupted):
        trial.run(lambda name: [EndWithParent(parent=os.getppid() + 1)])
    assert load_state(tmp_path / "run" / "state" / "last.pt")["progress"]["step"] == 1


def test_a_sweep_is_a_row_for_each_value(tmp_path, capsys):
    settings = merge(TINY, {"train": {"epochs": 1}})
    results = bench(
        tmp_path,
        "grammar",
        ["kl-target", "kl-target+skip"],
        seeds=1,
        settings=settings,
        callbacks=quiet,
        iw_samples=0,
        sweep=("objective.target", ["1", "linear(0, 3, 1 epochs)"]),
    )
    names = [
        f"{remedy}, target {value}"
        for remedy in ("kl-target", "kl-target+skip")
        for value in ("1", "linear(0, 3, 1 epochs)")
    ]
    assert [one.remedy for one in results] == names
    targets = [RunFolder(path).origin().config.objective.target for path in sorted(tmp_path.iterdir())]
    assert targets == ["1", "linear(0, 3, 1 epochs)"] * 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("objective.target=3,15,100", ("objective.target", ["3", "15", "100"])),
        ("objective.target=linear(0, 3, 2 epochs),5", ("objective.target", ["linear(0, 3, 2 epochs)", "5"])),
        ("model.latent=2,8", ("model.latent", [2, 8])),
        (
            "optim.lr_factor=join(1 for 40%, linear(1, 0.1, 60%)),1",
            ("optim.lr_factor", ["join(1 for 40%, linear(1, 0.1, 60%))", "1"]),
        ),
        ("", ("", [])),
    ],
)
def test_a_sweep_is_read_as_the_setting_is(text, expected):
    assert sweep_of(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("objective.traget=3", "did you mean objective.target"),
        ("model.latent=", "expected KEY=A,B"),
        ("model.latent=2,x", "model.latent: expected an integer"),
    ],
)
def test_a_wrong_sweep_is_one_line(tmp_path, capsys, text, words):
    assert main(["bench", "--recipe", "grammar", "--sweep", text, "--out", str(tmp_path / "b")]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1 and not (tmp_path / "b").exists()
