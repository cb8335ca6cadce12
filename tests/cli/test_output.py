"""What reaches the terminal: no control characters, no warnings of libraries, no noise when the reader has gone."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from rich.table import Table

import uncollapse as uc
from tests.conftest import TINY
from uncollapse.cli import main, recipes
from uncollapse.cli.output import one_line, say, show, shown
from uncollapse.cli.progress import announce_lines, show_table

COMMAND = [sys.executable, "-m", "uncollapse"]
BUFFERED = {name: value for name, value in os.environ.items() if name not in ("PYTHONUNBUFFERED", "PYTHONWARNINGS")}
QUICK = "--recipe grammar --data.sentences 200 --encoder.hidden 12 --decoder.hidden 12 --encoder.emb 8 --decoder.emb 8 --model.latent 4 --train.device cpu".split()
HOSTILE = "a\x1b[31mred\x07\x7f\x9b2J\r\udcff"
HARMLESS = r"a\u001b[31mred\u0007\u007f\u009b2J\u000d\udcff"


def without_reader(arguments, both=True):
    """Run a command whose reader has gone before it begins; return its status and what stderr says, if that is read."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [*COMMAND, *arguments],
            stdout=write,
            stderr=write if both else subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            env=BUFFERED,
            check=False,
        )
    finally:
        os.close(write)
    return done.returncode, done.stderr


@pytest.mark.parametrize("both", [True, False], ids=["2>&1", "stdout"])
def test_a_reader_who_has_gone_ends_a_command_quietly(both, trained, tmp_path):
    train = ["train", *QUICK, "--train.epochs", "1", "--out", str(tmp_path / str(both))]
    evaluate = ["evaluate", str(trained.path), "--iw-samples", "0"]
    for command in (["--help"], ["recipes"], evaluate) if both else (["recipes"], train):
        status, said = without_reader(command, both)
        assert status == 0, command
        assert not any(word in (said or b"") for word in (b"Traceback", b"Exception", b"BrokenPipe"))


def test_a_complaint_that_nobody_reads_is_no_traceback():
    assert without_reader(["trian"])[0] == 0


def test_training_ends_when_its_reader_goes_in_the_midst_of_it(tmp_path):
    command = [*COMMAND, "train", *QUICK, "--train.epochs", "40", "--out", str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=BUFFERED) as process:
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait() == 0
    log = tmp_path / "run" / "metrics.jsonl"
    assert not log.exists() or len(log.read_text().splitlines()) < 40


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
@pytest.mark.parametrize("argument", ["recipes", "--version"])  # of more than a buffer, and of less
def test_a_full_disk_is_one_line(argument):
    how = {"stderr": subprocess.PIPE, "text": True, "check": False, "env": BUFFERED}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*COMMAND, argument], stdout=full, **how)
    assert done.returncode == 2 and done.stderr.splitlines() == [
        "uncollapse: a file or the output: No space left on device"
    ]


def test_control_characters_are_spelled_out_and_the_rest_is_left():
    assert shown(HOSTILE) == HARMLESS
    assert shown("tab\tline\nend · … 漢 é") == "tab\tline\nend · … 漢 é"
    assert json.loads(shown(json.dumps(HOSTILE, ensure_ascii=False))) == HOSTILE


def test_text_messages_tables_and_complaints_are_escaped(capsys, tmp_path, monkeypatch):
    show(HOSTILE)
    say(HOSTILE)
    assert capsys.readouterr() == (HARMLESS + "\n", HARMLESS + "\n")
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--data.path", "no\x1b[2Jfile"]) == 2
    assert r"no\u001b[2Jfile" in capsys.readouterr().err
    assert main(["train", "--da\x1b[2J", "x"]) == 2
    assert "\x1b" not in capsys.readouterr().err
    table = Table(title="[b]title[/b] \x1b]0;owned\x07")
    table.add_column("\x9bname")
    table.add_row("[red]label[/red] :smile: \x1b[31m")
    show_table(table)
    out = capsys.readouterr().out
    assert not set(out) & {"\x1b", "\x07", "\x9b"}
    assert "[b]title[/b]" in out and r"[red]label[/red] :smile: \u001b[31m" in out


def test_sentences_of_a_corpus_cannot_steer_the_terminal(tmp_path, capsys):
    lines = [f"the \x1b[31mcat sat {i % 7}" for i in range(300)]
    (tmp_path / "corpus.txt").write_text("\n".join(lines) + "\n")
    settings = {**TINY, "data": {"path": str(tmp_path / "corpus.txt")}}
    run = uc.train(out=tmp_path / "run", **settings)
    run_path, file = str(run.path), str(tmp_path / "corpus.txt")
    for command in (["sample", run_path], ["reconstruct", run_path, file], ["neighbours", run_path, lines[0]]):
        assert main(command) == 0
        out, err = capsys.readouterr()
        assert "\x1b" not in out + err and r"\u001b[31mcat" in out
    assert main(["sample", run_path, "--json"]) == 0
    assert any("\x1b" in json.loads(line)["text"] for line in capsys.readouterr().out.splitlines())


WARNS = """
import sys, warnings
from uncollapse.cli import main, recipes
recipes.list_named = lambda *a: [warnings.warn("of a library", kind) for kind in (UserWarning, FutureWarning, RuntimeWarning)]
sys.exit(main(["recipes"]))
"""


def test_warnings_of_libraries_are_silent_unless_python_is_asked_for_them():
    run = {"capture_output": True, "text": True, "check": False, "env": BUFFERED}
    quiet = subprocess.run([sys.executable, "-c", WARNS], **run)
    assert (quiet.returncode, quiet.stderr) == (0, "")
    loud = subprocess.run([sys.executable, "-W", "always", "-c", WARNS], **run)
    assert loud.returncode == 0 and loud.stderr.count("of a library") == 3


def test_filters_that_are_set_come_first(monkeypatch):
    monkeypatch.setattr(recipes, "list_named", lambda *a: warnings.warn("old", FutureWarning, stacklevel=2))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", category=FutureWarning)
        with pytest.raises(FutureWarning):
            main(["recipes"])


def test_a_pipe_is_told_now_and_then_how_far_training_is_and_how_long_it_will_take(monkeypatch, capsys):
    from uncollapse import messages

    clock, bar = iter(range(0, 10_000, 20)), messages.Bar()  # a step takes 20 s; rich has the true clock
    monkeypatch.setattr(messages.time, "monotonic", lambda: float(next(clock)))
    with bar:
        bar.begin("", 10)
        for epoch in (1, 2):
            bar.rename(f"epoch {epoch} of 2")
            for _ in range(5):
                bar.advance("distortion 30.00  rate 8.000")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5 and lines[0].startswith(
        "epoch 1 of 2: 2 of 10  distortion 30.00  rate 8.000  about 3 min left at this pace"
    )
    assert lines[-1].startswith("epoch 2 of 2: 10 of 10") and lines[-1].endswith("about 0 s left at this pace")


def test_the_time_left_is_that_of_recent_steps(monkeypatch, capsys):
    """A phase of slow steps (He et al.'s inner loops) is forgotten after five lines."""
    from uncollapse import messages

    now, bar = 0.0, messages.Bar()
    monkeypatch.setattr(messages.time, "monotonic", lambda: now)
    with bar:
        bar.begin("epoch 1 of 1", 1000)
        for seconds in [60.0] * 20 + [1.0] * 300:
            now += seconds
            bar.advance()
    lines = capsys.readouterr().err.splitlines()
    assert lines[19].startswith("epoch 1 of 1: 20 of 1,000") and lines[19].endswith("about 16.3 h left at this pace")
    assert [line.split("about ")[1] for line in lines[23:26]] == [
        f"{minutes} min left at this pace" for minutes in (21, 14, 13)
    ]
    assert lines[-1].startswith("epoch 1 of 1: 320 of 1,000") and lines[-1].endswith("about 11 min left at this pace")


@pytest.mark.parametrize(
    ("name", "said"), [("bn-1", "training begins"), ("bn-1, corpus of draws", "corpus of draws begins")]
)
def test_one_of_several_trainings_at_a_time_says_what_begins(name, said, capsys):
    announce_lines(name)
    assert capsys.readouterr().err == f"{said}\n"


def test_a_picture_is_one_field_of_a_row():
    assert one_line(".#\n#.\t.") == ".#/#. ."
