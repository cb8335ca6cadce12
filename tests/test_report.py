"""The report: one page that works from a file, opened in a browser where there is one."""

import re
import shutil
from html.parser import HTMLParser

import pytest

import uncollapse as uc
from tests.browser import browser
from tests.conftest import TINY
from uncollapse.cli import main


@pytest.fixture(scope="module")
def page(trained, tmp_path_factory):
    """A page of an annealed run and a language model."""
    folder = tmp_path_factory.mktemp("report")
    shutil.copytree(trained.path, folder / "one")
    settings = {**TINY, "model": {"latent": 0}}
    uc.train("grammar", "lm", out=folder / "lm", callbacks=[], **settings)
    assert main(["report", str(folder / "one"), str(folder / "lm")]) == 0
    return folder / "report.html"


def test_the_page_needs_nothing_else(page):
    text = page.read_text()
    assert not re.search(r'(?:src|href)="(?!#|data:)', text.replace('xlink:href="#', "")) and "<script" not in text
    assert "@import" not in text and "url(http" not in text


def test_the_page_is_well_formed_and_says_what_was_measured(page):
    class Tags(HTMLParser):
        VOID = ("meta", "img", "br", "input", "link")

        def __init__(self):
            super().__init__()
            self.open, self.words = [], []

        def handle_starttag(self, tag, attrs):
            self.open += [tag] * (tag not in self.VOID)

        def handle_endtag(self, tag):
            assert self.open.pop() == tag

        def handle_data(self, data):
            self.words.append(data)

    tags = Tags()
    tags.feed(page.read_text())
    words = " ".join(" ".join(tags.words).split())
    metrics = uc.load(page.parent / "one").metrics["test"]
    assert not tags.open and f"{metrics['nll_elbo']:.2f}" in words and f"{metrics['margin']:.2f}" in words
    assert metrics["state"] in words and "no latent" in words
    for part in (
        "Samples from the prior",
        "Reconstructions, greedy",
        "From the first of them to the last",
        "K = 50",
        "torch",
    ):
        assert part in words


def test_a_page_of_pictures(tmp_path):
    settings = {**TINY, "data": {"sentences": 60}, "encoder": {"channels": 4}}
    settings |= {"decoder": {"channels": 4, "kernel_sizes": (3,)}}
    run = uc.train("strokes", "annealed", out=tmp_path / "run", callbacks=[], **settings)
    assert main(["report", str(run.path)]) == 0
    text = (run.path / "report.html").read_text()
    assert text.count("data:image/png;base64,") == 2


def test_mistakes_are_one_line(page, capsys):
    for arguments, said in (
        ([str(page.parent / "one"), "--out", "page.pdf"], "expected a file named *.html"),
        (["model:grammar"], "comes with the package"),
        ([str(page.parent)], "holds no config.yaml"),
    ):
        assert main(["report", *arguments]) == 2
        err = capsys.readouterr().err
        assert said in err and err.count("\n") == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 400])
def test_a_browser_shows_the_page(page, scheme, width):
    with browser(width=width, scheme=scheme) as chrome:
        chrome.get(page.as_uri())
        assert chrome.get_log("browser") == []
        # nothing is wider than the window, and every figure has a size
        assert chrome.execute_script("return document.documentElement.scrollWidth") <= width
        sizes = chrome.execute_script(
            "return [...document.querySelectorAll('svg')].map(s => [s.clientWidth, s.clientHeight])"
        )
        assert len(sizes) >= 4 and all(200 < w <= width and h > 100 for w, h in sizes)
        cut = chrome.execute_script(CUT)
        assert cut == [], cut
        paper, ink = chrome.execute_script(
            "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]"
        )
        assert (sum(map(int, re.findall(r"\d+", paper))) > 380) == (scheme == "light")
        assert abs(sum(map(int, re.findall(r"\d+", paper))) - sum(map(int, re.findall(r"\d+", ink)))) > 450
        title = chrome.find_element("css selector", "#map use title").get_attribute("textContent")
        assert title in uc.load(page.parent / "one").splits()[0].test.texts()
        for link in chrome.find_elements("css selector", "nav a"):
            link.click()
            target = link.get_attribute("href").split("#")[1]
            top = chrome.execute_script(
                "return document.getElementById(arguments[0]).getBoundingClientRect().top", target
            )
            assert -5 <= top < chrome.get_window_size()["height"]


CUT = """
const wrong = [];
for (const svg of document.querySelectorAll('svg')) {
  const frame = svg.getBoundingClientRect();
  for (const text of svg.querySelectorAll('text')) {
    const box = text.getBoundingClientRect();
    if (box.left < frame.left - 2 || box.right > frame.right + 2 || box.top < frame.top - 2 || box.bottom > frame.bottom + 2)
      wrong.push(text.textContent);
  }
}
return wrong;
"""
"""The labels of figures that stick out of their figure."""
