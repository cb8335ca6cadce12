"""Runs side by side: settings, paired tests, formats."""

import csv
import io
import json
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

import uncollapse as uc
from tests.conftest import TINY
from uncollapse.cli import main
from uncollapse.evaluation.scores import score
from uncollapse.reporting.formats import FORMATS, csv_table, latex_table, markdown_table
from uncollapse.runs.comparison import over_seeds, over_sentences, paired_test, settings_that_differ, short_names
from uncollapse.runs.compose import compose
from uncollapse.runs.config import nest
from uncollapse.runs.folder import Origin


@pytest.fixture(scope="module")
def pair(trained, tmp_path_factory):
    """Two evaluated runs on the same data."""
    folder = tmp_path_factory.mktemp("pair")
    shutil.copytree(trained.path, folder / "one")
    other = uc.train("grammar", "vanilla", out=folder / "two", callbacks=[], **TINY)
    runs = {"one": uc.load(folder / "one"), "two": other}
    for run in runs.values():
        run.evaluate("test", 2, 20)
    return runs


def origin(remedy="annealed", seed=1, **settings):
    return Origin("grammar", (remedy,), compose("grammar", (remedy,), nest({"train.seed": seed, **settings})))


def test_the_paired_test_is_that_of_scipy():
    random = np.random.default_rng(0)
    base = random.normal(100, 20, 50)
    other = base + random.normal(-0.5, 1, 50)
    difference, se, p = paired_test(base, other)
    assert p == pytest.approx(stats.ttest_1samp(other - base, 0).pvalue) and p < 0.05
    assert difference == pytest.approx(np.mean(other - base)) and se == pytest.approx(stats.sem(other - base))
    assert paired_test([1.0, 2.0], [1.0, 2.0]) == (0.0, 0.0, 1.0)
    assert paired_test([1.0, 2.0], [2.0, 3.0]) == (1.0, 0.0, 0.0)


def test_sentences_are_paired_by_their_place(pair):
    (test,) = over_sentences(pair, "test")
    elbo = [score(run.model, run.splits()[0].test).nll_elbo.double().mean().item() for run in pair.values()]
    assert (test.name, test.over, test.count) == ("two", "sentences", 1000)
    assert test.difference == pytest.approx(elbo[1] - elbo[0], abs=1e-6)
    numbers = [run.metrics["test"]["nll_elbo"] for run in pair.values()]
    assert test.difference == pytest.approx(numbers[1] - numbers[0], abs=1e-6)


def test_data_are_read_once_for_runs_that_read_the_same(pair, monkeypatch):
    one, two = (uc.load(run.path) for run in pair.values())
    splits, _ = one.splits()
    monkeypatch.setattr("uncollapse.runs.run.build_splits", lambda *_, **__: pytest.fail("read again"))
    two.share_splits(one)
    assert two.splits()[0] is splits
    other = uc.load("model:verbs")
    other.share_splits(one)
    with pytest.raises(pytest.fail.Exception, match="read again"):
        other.splits()


def test_seeds_are_paired_where_both_have_them():
    origins = {
        f"{r}{s}": origin(r, s) for r, seeds in (("annealed", (1, 2, 3)), ("bn", (3, 1)), ("mmd", (1,))) for s in seeds
    }
    numbers = dict(zip(origins, (10.0, 11.0, 12.0, 11.5, 9.0, 0.0), strict=True))
    (test,) = over_seeds(origins, {name: {"nll_elbo": value} for name, value in numbers.items()})
    expected = stats.ttest_rel([9.0, 11.5], [10.0, 12.0])
    assert (test.name, test.count, test.over) == ("bn - annealed", 2, "seeds")
    others = {"a": origin(seed=1), "b": origin(seed=2), "c": origin(seed=1, **{"objective.target": "3"}),
              "d": origin(seed=2, **{"objective.target": "15"})}  # fmt: skip
    assert over_seeds(others, {name: {"nll_elbo": 1.0} for name in others}) == []  # two targets are no group
    assert test.difference == pytest.approx(-0.75) and test.p == pytest.approx(expected.pvalue)


def test_only_settings_that_differ_are_listed():
    differing = settings_that_differ(
        {"a": origin(), "b": origin("bn", 2, **{"decoder.kind": "cnn", "encoder.kind": "gru"})}
    )
    assert differing["train.seed"] == {"a": 1, "b": 2} and differing["encoder.kind"] == {"a": "lstm", "b": "gru"}
    assert differing["decoder.context"]["a"] is None and "model.latent" not in differing
    assert settings_that_differ({"a": origin(), "b": origin()}) == {}


def test_names_are_short_and_different():
    origins = [origin(), origin(seed=2), origin(seed=2), replace(origin(), remedies=())]
    assert short_names(["r/1", "r/2", "r/3", "r/4"], origins) == ["annealed", "annealed-2", "r/3", "grammar"]


HEAD, ROWS = ["run", "a_b"], [["x|y & z", "1.5 ± 0.1"], ["50%", ""]]


def test_formats_say_the_same():
    assert markdown_table(HEAD, ROWS).splitlines()[1:3] == ["| --- | --- |", r"| x\|y & z | 1.5 ± 0.1 |"]
    assert list(csv.reader(io.StringIO(csv_table(HEAD, ROWS)))) == [HEAD, *ROWS]
    lines = latex_table(HEAD, ROWS).splitlines()
    assert lines[0] == r"\begin{tabular}{lr}" and r"x|y \& z & 1.5 $\pm$ 0.1 \\" in lines and r"50\% &  \\" in lines


def test_the_latex_compiles(pair, tmp_path, capsys):
    if not shutil.which("pdflatex"):
        pytest.skip("pdflatex is not here")
    assert main(["compare", *(str(run.path) for run in pair.values()), "--format", "latex"]) == 0
    page = rf"\documentclass{{article}}\begin{{document}}{capsys.readouterr().out}\end{{document}}"
    (tmp_path / "page.tex").write_text(page)
    assert subprocess.run(["pdflatex", "-halt-on-error", "page.tex"], cwd=tmp_path, capture_output=True).returncode == 0


def test_the_command_shows_bounds_settings_tests_and_sentences(pair, capsys):
    paths = [str(run.path) for run in pair.values()]
    assert main(["compare", *paths, "--sentences", "2"]) == 0
    out, err = capsys.readouterr()
    for part in ("annealed", "vanilla", "objective.weight", "1,000 sentences", "vanilla, from the first to the last"):
        assert part in out
    assert not err
    assert main(["compare", *paths, "--format", "json"]) == 0
    content = json.loads(capsys.readouterr().out)
    metrics = pair["two"].metrics["test"]
    assert content["runs"]["vanilla"] == metrics and content["paired"][0]["count"] == 1000
    for name in FORMATS:
        assert main(["compare", *paths, "--format", name, "--no-test"]) == 0
        assert f"{metrics['nll_elbo']:.2f}" in capsys.readouterr().out


def test_runs_on_other_data_are_not_tested(pair, tmp_path, capsys):
    other = uc.train("grammar", "bn", out=tmp_path / "three", callbacks=[], **{**TINY, "data": {"sentences": 190}})
    other.evaluate("test", 2, 20)
    assert main(["compare", str(pair["one"].path), str(other.path)]) == 0
    out, err = capsys.readouterr()
    assert (
        "no paired test over sentences: compare: bn and annealed have other test sentences" in err
        and "p (t-test)" not in out
    )


def test_numbers_of_other_data_are_said_to_be(pair, tmp_path, capsys):
    path = tmp_path / "copy"
    shutil.copytree(pair["one"].path, path)
    (tmp_path / "other.txt").write_text("the dog sings .\n" * 30)
    uc.load(path).evaluate("test", 0, data={"path": str(tmp_path / "other.txt")})
    assert main(["compare", str(path), str(pair["two"].path), "--no-test"]) == 0
    assert f"{path}: these numbers are of other data than its own test split" in capsys.readouterr().err
    assert main(["compare", str(pair["one"].path), str(pair["two"].path), "--no-test"]) == 0
    assert "other data" not in capsys.readouterr().err
