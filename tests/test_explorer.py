"""The explorer: what it computes is what the run gives, and each of its panels works in a browser."""

import math
import runpy
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import uncollapse as uc
from tests.browser import browser
from tests.conftest import TINY
from uncollapse.cli import main
from uncollapse.errors import UserError
from uncollapse.reporting.explorer import LONGEST, SIDE, Explorer
from uncollapse.reporting.explorer_page import build_page


@pytest.fixture(scope="module")
def explorer():
    return Explorer(uc.load("model:grammar"))


@pytest.fixture(scope="module")
def verbs():
    return Explorer(uc.load("model:verbs"))


def executed(python, run):
    """Return what the last line of the Python that a panel shows gives, as a list."""
    *before, last = python.splitlines()
    names = {"run": run, "uc": uc}
    exec("\n".join(before), names)
    return list(eval(last, names))


def test_what_a_panel_computes_is_what_its_python_gives(explorer):
    first, last = explorer.texts[:2]
    run = explorer.run
    back, near, numbers, python = explorer.reconstruct({}, first)
    assert [back] == run.reconstruct([first]) == executed(python.splitlines()[0], run)
    assert near[0] == ["0.00", first] and len(numbers) == 8
    written, python = explorer.between({}, first, last, 0.25)
    assert [written] == executed(python, run)
    assert explorer.between({}, first, last, 0)[0] == back
    start = explorer.start({}, first)
    written, python = explorer.move({}, first, *start)
    assert [written] == executed(python, run)
    lines, python = explorer.sample({}, 5, 0.7)
    assert lines.split("\n") == executed(python, run)


def test_labels_are_those_of_the_page(verbs):
    run, labels = verbs.run, dict.fromkeys(verbs.run.label_space.names, "sp")
    text, python = verbs.transfer(labels, "walk", "pg")
    assert [text] == executed(python, run) == run.transfer(["walk"], "sp", "pg")
    back, _, _, python = verbs.reconstruct(labels, "walk")
    assert [back] == executed(python.splitlines()[0], run)
    assert [verbs.between(labels, "walk", "talk", 0.5)[0]] == executed(
        verbs.between(labels, "walk", "talk", 0.5)[1], run
    )
    assert [verbs.move(labels, "walk", 0, 1, 0, 1)[0]] == executed(verbs.move(labels, "walk", 0, 1, 0, 1)[1], run)
    lines, python = verbs.sample(labels, 3, 1.0)
    assert lines.split("\n") == executed(python, run)


def test_a_click_writes_the_sentence_of_its_code(explorer):
    from uncollapse.reporting.latent import plane_of

    written, nearest, python = explorer.at({}, SIDE / 2, SIDE / 2)
    assert nearest in explorer.texts
    assert [written] == executed(python, explorer.run)
    to_plane = explorer._map[2]
    far = to_plane.inverted().transform([[0.5, -0.5]])[0]
    written, _, _ = explorer.at({}, far[0], SIDE - far[1])
    code = plane_of(explorer.codes).lift(np.array([[0.5, -0.5]]))
    assert [written] == explorer.run.decode(torch.from_numpy(code).float())
    assert explorer.picture.shape == (SIDE, SIDE, 3)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda e: e.reconstruct({}, ""), "expected a sentence of 1 to"),
        (lambda e: e.reconstruct({}, "a" * (LONGEST + 1)), f"got {LONGEST + 1}"),
        (lambda e: e.reconstruct({}, None), "got 0"),
        (lambda e: e.between({}, e.texts[0], "  ", 0.5), "got 0"),
        (lambda e: e.between({}, e.texts[0], e.texts[1], math.nan), "expected a number from 0 to 1"),
        (lambda e: e.sample({}, "many", 1), "expected a number from 1 to 50"),
        (lambda e: e.move({}, e.texts[0], *["x"] * 4), "expected a number from -3 to 3"),
        (lambda e: e.at({}, [1], 2), "expected a number"),
    ],
)
def test_what_a_page_sends_is_checked(explorer, call, said):
    with pytest.raises(UserError, match=said):
        call(explorer)


def test_what_is_out_of_range_is_taken_to_its_end(explorer):
    assert len(explorer.sample({}, 10**9, 1)[0].split("\n")) == 50
    assert explorer.between({}, *explorer.texts[:2], 7)[0] == explorer.between({}, *explorer.texts[:2], 1)[0]


def test_runs_that_have_no_sentences_or_codes(tmp_path, capsys):
    lm = uc.train("grammar", "lm", out=tmp_path / "lm", callbacks=[], **{**TINY, "model": {"latent": 0}})
    for path, said in ((str(lm.path), "language model"), ("model:strokes", "explore is for text")):
        assert main(["explore", path]) == 2
        assert said in capsys.readouterr().err
    assert main(["explore", "model:grammar", "--port", "99999"]) == 2


def test_the_space_shows_the_sentences_beside_it(tmp_path, monkeypatch, explorer):
    pytest.importorskip("gradio")
    app = Path(__file__).parents[1] / "examples" / "space" / "app.py"
    shutil.copytree(explorer.run.path, tmp_path / "run")
    (tmp_path / "sentences.txt").write_text("\n".join(explorer.texts[:60]))
    monkeypatch.chdir(tmp_path)
    made = runpy.run_path(str(app))
    splits = made["splits"]
    assert set(made["page"].fns) and sum(map(len, (splits.train, splits.valid, splits.test))) == 60
    assert set(Explorer(made["run"], "train", splits=splits).texts) <= set(explorer.texts[:60])


def test_the_command_takes_the_sentences_from_elsewhere(tmp_path, monkeypatch, explorer):
    seen = []

    def stop(made):
        seen.append(made.texts)
        raise UserError("seen")

    monkeypatch.setattr("uncollapse.reporting.explorer_page.build_page", stop)
    (tmp_path / "own.txt").write_text("\n".join(explorer.texts[:60]))
    assert main(["explore", "model:grammar", "--split", "train", "--data.path", str(tmp_path / "own.txt")]) == 2
    assert seen[0] and set(seen[0]) <= set(explorer.texts[:60])


@pytest.fixture(scope="module")
def served(verbs):
    pytest.importorskip("gradio")
    page = build_page(verbs)
    _, url, _ = page.launch(server_name="127.0.0.1", share=False, quiet=True, prevent_thread_lock=True, footer_links=[])
    yield url
    page.close()


def waited(read, seconds=60):
    """Return what is read, as soon as it is something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if value := read():
                return value
        except Exception:  # it is not there yet
            pass
        time.sleep(0.2)
    raise AssertionError("nothing came")


def test_every_panel_works_in_a_browser(served, verbs):
    with browser(width=1200, height=1400) as chrome:
        chrome.get(served)
        waited(lambda: chrome.find_element("id", "reconstruct-go"))

        def value(name):
            return chrome.find_element("css selector", f"#{name} textarea, #{name} input").get_attribute("value")

        for tab, name in (
            ("Reconstruct", "reconstruct"), ("Between", "between"), ("Dimensions", "move"), ("Labels", "transfer"),
            ("Sample", "sample"),
        ):  # fmt: skip
            buttons = chrome.find_elements("css selector", "button[role=tab]")
            next(button for button in buttons if button.text == tab).click()
            waited(lambda name=name: chrome.find_element("id", f"{name}-go").is_displayed())
            chrome.find_element("id", f"{name}-go").click()
            assert waited(lambda name=name: value(f"{name}-out"))
            assert "run." in waited(
                lambda name=name: chrome.find_element("css selector", f"#{name}-python .cm-content").text
            )
        buttons = chrome.find_elements("css selector", "button[role=tab]")
        next(button for button in buttons if button.text == "Map").click()
        waited(lambda: chrome.find_element("css selector", "#map-in img").is_displayed())
        time.sleep(1)
        chrome.find_element("css selector", "#map-in img").click()
        assert waited(lambda: value("map-out"))
        errors = [entry for entry in chrome.get_log("browser") if entry["level"] == "SEVERE"]
        assert errors == []
