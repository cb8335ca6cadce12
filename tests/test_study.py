"""Studies: published tables run again, judged, and written."""

import json
import subprocess

import numpy as np
import pytest
import yaml

import uncollapse as uc
from tests.conftest import TINY
from uncollapse.cli import main
from uncollapse.evaluation.diversity import diversity
from uncollapse.evaluation.evaluate import evaluate
from uncollapse.reporting.canvas import save
from uncollapse.reporting.curves import PANELS
from uncollapse.reporting.study import cells, columns_figure, draw_figures, latex, markdown
from uncollapse.runs import trials
from uncollapse.runs.checks import validate
from uncollapse.runs.compose import compose
from uncollapse.runs.config import merge
from uncollapse.runs.protocols import PROTOCOLS
from uncollapse.runs.reproduction import Outcome, data_settings, judge_row, reproduce
from uncollapse.runs.samples import PERPLEXITIES, judge_samples
from uncollapse.runs.study import Column, Row, load_study, studies
from uncollapse.runs.version import code_version
from uncollapse.training.plateau import Plateau

COLUMNS = {"nll_iw": Column(2, 0.5, "lower"), "rate": Column(2, 0.2)}


@pytest.fixture
def own(tmp_path):
    content = {
        "title": "A table of two rows",
        "source": "nobody & sons",
        "protocol": "the test split",
        "recipe": "grammar",
        "columns": {"nll_iw": {"digits": 2, "tolerance": 100.0, "better": "lower"}, "rate": {"digits": 3}},
        "rows": [
            {"name": "plain", "remedies": ["vanilla"], "published": {"nll_iw": 30.0}},
            {"name": "a_b & 5 %", "settings": {"objective": {"weight": "0.5"}}, "published": {"nll_iw": -200.0}, "why": "no reason"},
        ],
        "tiers": {
            "full": {"seeds": 2, "settings": merge(TINY, {"train": {"epochs": 1}, "data": {"sentences": 60}}), "bound": {"iw_samples": 2, "iw_sentences": 20}},
            "minutes": {"seeds": 1, "settings": TINY, "reduced": "everything"},
        },
        "figure": ["rate", "nll"],
    }  # fmt: skip
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize("name", studies())
def test_every_study_names_what_there_is(name):
    """Recipes, remedies, settings, protocols, columns and panels: all rows, in all tiers, with the data and without."""
    study = load_study(name)
    known = {column for protocol in PROTOCOLS.values() for column in protocol.columns}
    known |= {"nll_elbo", "nll_iw", "nll_adaptive", "distortion", "rate", "mi", "au", "twr_nll", "twr_kl", "twr_ppl"}
    known |= {f"overlap_{name}" for name in ("bleu2_unsmoothed", "bleu4_unsmoothed", "rouge2", "rouge4")}
    known |= {"minimal_pairs_accuracy_se", "inner_steps", "seconds"}
    if study.decodings and any(tier.corpus for tier in study.tiers.values()):
        known |= PERPLEXITIES.keys() | {
            f"{kind}_{name}" for kind in ("drawn", "real") for name in diversity([[4]], set())
        }
    assert set(study.columns) <= known and set(study.protocols) <= set(PROTOCOLS)
    assert set(study.figure) <= set(PANELS) or study.figure in (
        ("posterior-mean-space",),
        ("columns",),
        ("interpolations",),
    )
    assert study.tiers["minutes"].reduced and len({row.name for row in study.rows}) == len(study.rows)
    for tier in study.tiers.values():
        for row in study.rows:
            assert set(row.published) <= set(study.columns)
            for data in ({"data": {"path": "/somewhere"}}, {"data": dict(study.stand_in)}):
                settings = merge(data, tier.settings, row.settings, tier.rows.get(row.name, {}))
                validate(compose(study.recipe, row.remedies, settings))


@pytest.mark.parametrize(
    ("name", "tier", "row", "section", "setting"),
    [
        ("he-yahoo", "full", "aggressive + annealed", "train", {"aggressive": "paper"}),
        ("he-yahoo", "full", "beta 0.4", "train", {"select": "nll_elbo"}),
        ("he-synthetic", "full", "aggressive, z 2", "train", {"aggressive": "paper"}),
        ("he-synthetic", "full", "aggressive + annealed, z 32", "train", {"aggressive": "paper"}),
        ("he-toy", "full", "aggressive", "train", {"aggressive": "paper"}),
        ("omniglot", "full", "aggressive + annealed", "train", {"aggressive": "paper-best"}),
        ("li-ptb", "full", "aggressive + annealed", "train", {"aggressive": "paper"}),
        ("li-ptb", "full", "cyclical", "objective", {"weight": "cyclical(0, 1, 40 epochs, cycles=4, ratio=0.5)"}),
        ("twr-alpha", "full", "alpha 0 (reversed KL)", "objective", {"alpha": 0, "weight": "0.00048828125"}),
        ("twr-alpha", "full", "alpha 0.5", "objective", {"alpha": 0.5, "weight": "0.015625"}),
        ("twr-alpha", "full", "alpha 1 (KL)", "objective", {"alpha": 1, "weight": "0.00048828125"}),
        (
            "tense-lab-b",
            "hours",
            "KL weight 0.1 after three epochs",
            "objective",
            {"weight": "linear(0, 0.1, 3 epochs)"},
        ),
    ],
)
def test_rows_have_the_settings_of_their_sources(name, tier, row, section, setting):
    study = load_study(name)
    (chosen,) = (each for each in study.rows if each.name == row)
    settings = merge(study.tiers[tier].settings, chosen.settings, study.tiers[tier].rows.get(row, {}))
    composed = compose(study.recipe, chosen.remedies, settings).settings()[section]
    assert {key: composed[key] for key in setting} == setting


@pytest.mark.parametrize("tier", ["minutes", "hours"])
def test_no_lack_of_patience_halves_the_learning_rate_of_a_reduced_tier_on_penn_treebank(tier):
    """Whatever a row says of it: two hundred steps show no plateau, and twelve epochs have a factor that falls by itself."""
    study = load_study("li-ptb")
    for row in study.rows:
        config = compose(study.recipe, row.remedies, merge(study.tiers[tier].settings, row.settings))
        plateau = Plateau(config.optim.patience, config.optim.decay_after, config.optim.max_decays)
        losses = [1] + [2] * (config.train.epochs - 1)
        assert {plateau.advise(loss, epoch) for epoch, loss in enumerate(losses, 1)} == {"improved", "wait"}


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ({"nll_iw": [100.4], "rate": [5.1]}, "reproduced"),
        ({"nll_iw": [98.0], "rate": [5.0]}, "better"),
        ({"nll_iw": [101.0], "rate": [5.0]}, "not reproduced: nll_iw +1.00"),
        ({"nll_iw": [100.0, 102.0], "rate": [5.0, 5.0]}, "reproduced"),  # 1.00 off, and the error of the mean is 1
        ({"nll_iw": [98.0], "rate": [6.0]}, "not reproduced: rate +1.00"),  # of a rate no side is better
        ({"nll_iw": [100.0]}, "not reproduced: rate was not measured"),
    ],
)
def test_the_verdict_on_a_row(values, verdict):
    assert judge_row(Row("x", published={"nll_iw": 100.0, "rate": 5.0}), COLUMNS, values) == verdict


def test_a_known_reason_is_given_and_nothing_published_is_said():
    assert (
        judge_row(Row("x", published={"rate": 1.0}, why="less data"), COLUMNS, {"rate": [3.0]})
        == "not reproduced: rate +2.00 (less data)"
    )
    assert judge_row(Row("x"), COLUMNS, {"rate": [3.0]}) == "nothing published"


def test_a_study_of_ones_own_is_run_once_and_written(own, tmp_path, capsys, monkeypatch):
    arguments = ["reproduce", str(own), "--tier", "full", "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "reproduced" in out and "(no reason)" in out and "± " in out and "[30.00]" in out
    page = (tmp_path / "out" / "table.md").read_text()
    assert (
        "| plain | 2 | 1 |" in page
        and "torch" in page
        and "Data: train" in page
        and (tmp_path / "out" / "figure.png").exists()
    )
    assert len(list((tmp_path / "out").glob("plain-*"))) == 2
    # the numbers are those of the runs
    both = [uc.load(tmp_path / "out" / f"plain-{seed}").metrics["test"]["rate"] for seed in (1, 2)]
    assert f"{sum(both) / 2:.3f} ± " in page
    # a second call trains nothing and measures nothing
    monkeypatch.setattr("uncollapse.runs.trials.measure", lambda *_, **__: pytest.fail("measured again"))
    logs = {path: path.read_text() for path in (tmp_path / "out").glob("*/metrics.jsonl")}
    assert main(arguments) == 0
    assert page.splitlines()[6:9] == (tmp_path / "out" / "table.md").read_text().splitlines()[6:9]
    assert logs == {path: path.read_text() for path in logs}
    # a table says what its runs were trained by, and what it was made by if that is something else
    assert f"Made by uncollapse {code_version()};" in page
    for path, text in logs.items():
        path.write_text(text.replace(code_version(), "0.0.9 abc"))
    assert main(arguments) == 0
    made = f"Made by uncollapse 0.0.9 abc (table: {code_version()});"
    assert made in (tmp_path / "out" / "table.md").read_text()
    # one row alone: its table says that the other is absent, and its verdict is still given
    assert main([*arguments, "--row", "plain"]) == 0
    page = (tmp_path / "out" / "table.md").read_text()
    assert "**Reduced:** without the rows a_b & 5 %" in page and "\n| a_b" not in page and "| reproduced |" in page
    monkeypatch.undo()
    assert main(["reproduce", str(own), "--row", "plain", "--out", str(tmp_path / "short")]) == 0
    page = (tmp_path / "short" / "table.md").read_text()
    assert "**Reduced:** everything" in page and "**Reduced:** without the rows" in page


def test_published_numbers_do_not_stand_beside_those_of_a_corpus_that_stands_in(own, tmp_path, capsys, monkeypatch):
    content = yaml.safe_load(own.read_text())
    own.write_text(yaml.safe_dump({**content, "data": "ptb", "stand_in": {"name": "grammar", "sentences": 100}}))
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", str(own), "--row", "plain"]) == 0
    page = (tmp_path / "runs" / "own-minutes-grammar" / "table.md").read_text()
    assert "the embedded corpus grammar is in its place" in page and "[30.00]" not in page
    assert "reduced: not compared" in page and "30.00" not in capsys.readouterr().out


def test_a_corpus_of_every_decoding_is_judged_once_and_the_way_between_two_draws_is_written(
    own, tmp_path, capsys, monkeypatch
):
    content = yaml.safe_load(own.read_text())
    content["rows"], content["figure"] = content["rows"][:1], ["interpolations"]
    content["decodings"] = {"greedy": {"strategy": "greedy"}, "top-k 3": {"strategy": "top-k", "top_k": 3}}
    content["columns"] |= {"ppl_forward": {}, "drawn_vocabulary": {"digits": 0}, "real_vocabulary": {"digits": 0}}
    content["tiers"]["minutes"] |= {"seeds": 2, "corpus": {"sentences": 100, "epochs": 1}}
    own.write_text(yaml.safe_dump(content))
    study, out, judged_of = load_study(str(own)), tmp_path / "out", []
    monkeypatch.setattr(
        trials, "judge_samples", lambda run, *a, **k: (judged_of.append(run.path), judge_samples(run, *a, **k))[1]
    )
    outcomes, _ = reproduce(study, "minutes", tmp_path, out=out, callbacks=lambda name: ())
    assert [one.name for one in outcomes] == ["plain, greedy", "plain, top-k 3"]
    for one, folder in zip(outcomes, ("greedy", "top-k-3"), strict=True):
        for seed, run in enumerate(one.runs):
            judged = json.loads((run / "corpora" / folder / "samples.json").read_text())
            model, real = judged["samples"]
            shown = [one.values[name][seed] for name in ("ppl_forward", "drawn_vocabulary", "real_vocabulary")]
            assert shown == [judged["ppl_forward"], model["vocabulary"], real["vocabulary"]]
            assert judged["protocol"]["decoding"] == vars(study.decodings[one.decoding])
            assert (judged["protocol"]["sentences"], judged["protocol"]["epochs"]) == (100, 1)
            assert (run / "corpora" / "lm-real").is_dir() and not (run / "corpora" / folder / "lm-real").exists()
    assert outcomes[0].values["drawn_vocabulary"] != outcomes[1].values["drawn_vocabulary"]
    weights = {path: path.stat().st_mtime_ns for path in out.rglob("model.safetensors")}
    assert len(weights) == 2 * (1 + 3) and len(judged_of) == 2 * 2
    again, _ = reproduce(study, "minutes", tmp_path, out=out, callbacks=lambda name: ())
    assert again == outcomes and len(judged_of) == 2 * 2
    assert weights == {path: path.stat().st_mtime_ns for path in weights}
    assert main(["reproduce", str(own), "--out", str(out)]) == 0
    assert "interpolations.md" in capsys.readouterr().out
    written = (out / "interpolations.md").read_text()
    run = uc.load(outcomes[0].runs[0])
    assert "\n\n| plain | greedy | top-k 3 |\n" in written
    ways = [run.interpolate(steps=8, decode=how, seed=0) for how in study.decodings.values()]
    for number, texts in enumerate(zip(*ways, strict=True), 1):
        assert f"\n| {number} | {' | '.join(texts)} |\n" in written
    with monkeypatch.context() as patched:
        patched.setattr(type(run), "interpolate", lambda *_, **__: ["the <unk> | end"])
        draw_figures(study, outcomes, out)
    assert r"| 1 | the &lt;unk&gt; \| end |" in (out / "interpolations.md").read_text()
    content["decodings"]["top-k 3"]["top_k"] = 2  # other corpora make room for those asked for
    own.write_text(yaml.safe_dump(content))
    other, _ = reproduce(load_study(str(own)), "minutes", tmp_path, out=out, callbacks=lambda name: ())
    assert other[0] == outcomes[0] and other[1].values["drawn_vocabulary"] != outcomes[1].values["drawn_vocabulary"]


def test_a_row_that_is_none_is_refused(own, capsys):
    assert main(["reproduce", str(own), "--row", "plane"]) == 2
    assert "no row 'plane': did you mean plain?" in capsys.readouterr().err
    assert main(["reproduce", "he-toy", "--row", "xyz"]) == 2  # a name may hold a comma
    assert "expected one of: aggressive; aggressive, adaptive; fifty sentences; plain" in capsys.readouterr().err


def test_the_numbers_by_row_are_drawn(own, tmp_path):
    study = load_study(str(own))
    outcomes = [
        Outcome(row, {"rate": [1.0, 2.0], "nll_iw": [3.0]}, (1,), ("alive",), (tmp_path,), "") for row in study.rows
    ]
    save(columns_figure(study, outcomes), tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 5000


def test_rows_of_a_line_are_drawn_at_their_places(own, tmp_path):
    """A line each, over the number that the rows differ in, ours and the published."""
    content = yaml.safe_load(own.read_text())
    content["rows"] = [
        {"name": f"{line} {at}", "line": line, "at": at, "published": {"rate": at}}
        for line in "ab"
        for at in (3, 15, 100)
    ]
    own.write_text(yaml.safe_dump(content | {"axis": "target C"}))
    study = load_study(str(own))
    outcomes = [Outcome(row, {"rate": [row.at + 1]}, (1,), ("alive",), (tmp_path,), "") for row in study.rows]
    (axis,) = columns_figure(study, outcomes).axes
    assert axis.get_xlabel() == "target C" and axis.get_title() == "rate"
    drawn = {container.get_label(): container.lines[0].get_xydata().tolist() for container in axis.containers}
    assert drawn == {line: [[3, 4], [15, 16], [100, 101]] for line in "ab"}
    assert axis.lines[-1].get_xydata().tolist() == [[3, 3], [15, 15], [100, 100]]


def test_settings_of_a_row_win_over_those_of_the_tier(own, tmp_path):
    content = yaml.safe_load(own.read_text())
    content["rows"] = [
        {"name": "two"},
        *({"name": name, "settings": {"train": {"epochs": 1}}} for name in ("one", "three")),
    ]
    content["tiers"]["full"]["settings"]["train"]["epochs"] = 2
    full = content["tiers"]["full"] | {"seeds": 1, "rows": {"three": {"train": {"epochs": 3}}}}
    own.write_text(yaml.safe_dump(content | {"tiers": {"full": full}}))
    outcomes, _ = reproduce(load_study(str(own)), "full", tmp_path, out=tmp_path / "out", callbacks=lambda _: [])
    assert [one.epochs for one in outcomes] == [(2,), (1,), (3,)]


def test_the_bound_of_a_proposal_stands_beside_the_papers(own, tmp_path, monkeypatch):
    """Both are measured of the same sentences, once."""
    content = yaml.safe_load(own.read_text())
    content["columns"]["nll_adaptive"] = {"digits": 2}
    content["rows"], content["tiers"] = content["rows"][:1], {"full": content["tiers"]["full"] | {"seeds": 1}}
    own.write_text(yaml.safe_dump(content))
    asked, run = [], {"out": tmp_path / "out", "callbacks": lambda _: []}
    monkeypatch.setattr(
        "uncollapse.runs.trials.evaluate", lambda *given, **how: asked.append(how) or evaluate(*given, **how)
    )
    ((one,), _) = reproduce(load_study(str(own)), "full", tmp_path, **run)
    assert not asked and "nll_adaptive" not in one.values
    content["tiers"]["full"]["bound"]["adaptive"] = True  # of a finished run, too
    own.write_text(yaml.safe_dump(content))
    ((one,), _) = reproduce(load_study(str(own)), "full", tmp_path, **run)
    assert asked == [{"seed": 0, "adaptive": True, "iw_samples": 2, "iw_sentences": 20}]
    trained = uc.load(tmp_path / "out" / "plain-1")
    again = evaluate(trained.model, trained.splits()[0].test, **asked[0]).metrics
    assert one.values["nll_adaptive"] == [again["nll_iw"]]
    written = (tmp_path / "out" / "plain-1" / "metrics.json").stat().st_mtime_ns
    reproduce(load_study(str(own)), "full", tmp_path, **run)
    assert (tmp_path / "out" / "plain-1" / "metrics.json").stat().st_mtime_ns == written


def test_half_steps_are_drawn_as_the_way_of_one_point(tmp_path, monkeypatch):
    """he-toy: the points of the other rows, the arrows of the fifty sentences, all of them where there are few."""
    from types import SimpleNamespace

    drawn = {}
    monkeypatch.setattr(
        "uncollapse.reporting.study.RunFolder", lambda path: SimpleNamespace(path=path, mean_space=lambda: path)
    )
    monkeypatch.setattr(
        "uncollapse.reporting.study.draw_mean_space",
        lambda records, file, at=(), point=None: drawn.update({file.name: (at, point)}),
    )
    study = load_study("he-toy")
    ends = (9, 9, 9, 200)
    paths = [SimpleNamespace(name=f"{i}", half=np.array([i > 1]), steps=np.arange(end)) for i, end in enumerate(ends)]
    outcomes = [Outcome(row, {}, (1,), (), (path,), "") for row, path in zip(study.rows, paths, strict=True)]
    draw_figures(study, outcomes, tmp_path)
    way = {"2.png": ((), 0), "3.png": ((100, 105), 0)}
    assert drawn == {"0.png": ((), None), "1.png": ((), None), **way}


def test_a_reduced_tier_is_not_compared_and_says_what_is_smaller(own, tmp_path):
    study = load_study(str(own))
    changed = {**TINY, "train": {**TINY["train"], "epochs": 1}}
    study.tiers["minutes"].settings.update(changed)
    outcomes, notes = reproduce(study, "minutes", tmp_path, out=tmp_path / "out", callbacks=lambda _: [])
    assert notes == ["everything"] and {one.verdict for one in outcomes} == {"reduced: not compared"}


def test_data_that_are_absent(tmp_path):
    study = load_study("li-ptb")
    settings, said = data_settings(study, "minutes", tmp_path)
    assert (
        settings == {"data": {"name": "grammar", "sentences": 4000}}
        and "the embedded corpus grammar is in its place" in said
    )
    for tier in ("hours", "full"):  # nothing stands in for them
        with pytest.raises(
            uc.UserError, match=r"needs these data; name the folder .* by --data; or: uncollapse data get ptb"
        ):
            data_settings(study, tier, tmp_path)
    (tmp_path / "ptb").mkdir()
    assert data_settings(study, "full", tmp_path) == ({"data": {"path": str(tmp_path / "ptb")}}, "")


def test_a_tier_may_read_other_data_than_the_study(tmp_path):
    study = load_study("prokhorov-figure1")
    (tmp_path / "yahoo").mkdir()
    (tmp_path / "yahoo" / "val.txt").write_text("a line\n")
    for tier, name in (("minutes", "yahoo/val.txt"), ("hours", "yahoo/val.txt"), ("full", "yahoo")):
        assert data_settings(study, tier, tmp_path) == ({"data": {"path": str(tmp_path / name)}}, "")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"rows": [{"name": "x", "published": {"nll": 1}}]},
            "unknown column of a published number 'nll': did you mean nll_iw",
        ),
        (
            {"rows": [{"name": "x", "published": {"nll_iw": "low"}}]},
            "entry 0, published, nll_iw: expected int or float",
        ),
        ({"rows": [{"name": "x", "settings": {"train": 3}}]}, "settings, train: expected names and values"),
        ({"rows": [{"name": "x", "seed": 3}]}, "unexpected keyword argument 'seed'"),
        ({"rows": [{"name": "a b"}, {"name": "a-b"}]}, "expected rows with different names"),
        ({"rows": []}, "expected at least one row"),
        ({"tiers": {"days": {"seeds": 1}}}, "unknown tier 'days'"),
        ({"tiers": {"full": {"seeds": 0}}}, "tiers, full: expected at least one seed, got 0"),
        ({"protocols": ["tens"]}, "unknown protocol 'tens': did you mean tense"),
        ({"columns": {"nll_iw": {"digits": "2"}}}, "columns, nll_iw, digits: expected int"),
        ({"columns": {"nll_iw": {"places": 2}}}, "unexpected keyword argument 'places'"),
        ({"columns": {"nll_iw": {"better": "bigger"}}}, "unknown better 'bigger'"),
        ({"figure": "rate"}, "figure: expected list"),
        ({"decodings": {"x": {"strategy": "nuclear"}}}, "own.yaml: unknown decoding 'nuclear': did you mean nucleus"),
        (
            {"decodings": {"x": {"strategy": "beam", "n_best": 2}}},
            "one sentence is decoded a code, got n_best in decoding x",
        ),
        ({"decodings": {n: {"strategy": "greedy"} for n in ("a b", "a-b")}}, "expected decodings with different names"),
        ({"figure": ["interpolations"]}, "expected decodings for a corpus and for interpolations, got none"),
        ({"tiers": {"full": {"seeds": 1, "corpus": {"epochs": 2}}}}, "expected decodings for a corpus"),
        ({"tiers": {"full": {"seeds": 1, "corpus": {"sentences": 20}}}}, "a corpus of at least 100 sentences, got 20"),
        ({"decodings": {"x": {"strategy": "top-k", "k": 3}}}, "unexpected keyword argument 'k'"),
        ({"tiers": {"full": {"seeds": 1, "rows": {"plane": {}}}}}, "unknown row 'plane': did you mean plain"),
        ({"tiers": {"full": {"seeds": 1, "corpus": {"words": 3}}}}, "unknown setting of a corpus 'words'"),
        (
            {"tiers": {"full": {"seeds": 1, "bound": {"iw_sample": 3}}}},
            "setting of the bound 'iw_sample': did you mean iw_samples",
        ),
    ],
)
def test_a_study_that_is_none_gets_one_line(own, capsys, change, said):
    own.write_text(yaml.safe_dump(yaml.safe_load(own.read_text()) | change))
    assert main(["reproduce", str(own), "--tier", "full"]) == 2
    err = capsys.readouterr().err.strip()
    assert said in err and "\n" not in err


def test_studies_are_listed_and_mistakes_are_one_line(own, capsys):
    assert main(["reproduce"]) == 0
    assert all(name in capsys.readouterr().out for name in ("tense-lab-a",))
    for arguments, said in (
        (["reproduce", "li-pt"], "unknown study 'li-pt': did you mean li-ptb"),
        (["reproduce", "he-toy", "--tier", "days"], "invalid choice"),
        (["reproduce", str(own), "--tier", "hours"], "study own has the tiers full, minutes, got hours"),
    ):
        assert main(arguments) == 2
        assert said in capsys.readouterr().err.strip().splitlines()[-1]
    own.write_text("title: x\n")
    assert main(["reproduce", str(own)]) == 2
    assert "source is missing" in capsys.readouterr().err


def test_the_latex_compiles_to_the_cells(own, tmp_path):
    """Every sign that LaTeX obeys is escaped; where there is a LaTeX, the page compiles."""
    study = load_study(str(own))
    values = {"nll_iw": [30.0, 31.0], "rate": [1.0, 2.0]}
    outcome = Outcome(
        study.rows[1],
        values,
        (3, 4),
        ("alive", "alive"),
        (tmp_path / "a-1", tmp_path / "a-12"),
        "not reproduced: 5 % #1",
    )
    head, rows = cells(study, [outcome])
    assert rows == [
        ["a_b & 5 %", "2", "3 to 4", "30.50 ± 0.71 [-200.00]", "1.500 ± 0.707", "alive", "not reproduced: 5 % #1"]
    ]
    text = latex(study, head, rows)
    assert r"a\_b \& 5 \% & 2 & 3 to 4 & 30.50 $\pm$ 0.71 [-200.00]" in text and text.count(r"\\") == 2
    page = markdown(study, [outcome], notes=["n"], made={"torch": "2", "data": {"train": "ab"}})
    assert "| a_b & 5 % | 2 | 3 to 4 |" in page
    assert "| a_b & 5 % | 1 | 30.00 | 1.000 |" in page and "| a_b & 5 % | 12 | 31.00 | 2.000 |" in page  # every seed
    if subprocess.run(["which", "pdflatex"], capture_output=True, check=False).returncode == 0:
        page = tmp_path / "page.tex"
        page.write_text("\\documentclass{article}\\begin{document}\n" + text + "\\end{document}\n")
        made = subprocess.run(
            ["pdflatex", "-interaction=nonstopmode", page], cwd=tmp_path, capture_output=True, check=False
        )
        assert made.returncode == 0
