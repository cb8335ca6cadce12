"""The README's pictures of the monitor, the report and the explorer, drawn by the program.

    python benchmarks/pictures.py [RUN...]

RUN: evaluated runs for the report; by default two are trained on the grammar. Needs chromium and chromedriver.
"""

import io
import re
import sys
from pathlib import Path
from tempfile import mkdtemp
from time import sleep

from PIL import Image
from rich.console import Console
from tests.browser import browser

import uncollapse as uc
from uncollapse.reporting.explorer import Explorer
from uncollapse.reporting.explorer_page import build_page
from uncollapse.reporting.report import report
from uncollapse.training.callbacks import Progress

IMAGES = Path(__file__).parents[1] / "docs" / "img"
COLOURS = 192


class Drawn(Progress):
    """Keeps the panel as it stands at one step, as SVG."""

    def __init__(self, at: int, path: Path) -> None:
        super().__init__()
        self.at, self.path = at, path

    def on_step(self, trainer, update) -> None:
        """Draw the panel at its step."""
        super().on_step(trainer, update)
        if trainer.progress.step == self.at:
            console = Console(record=True, width=130, file=io.StringIO(), force_terminal=True)
            console.print("$ uncollapse train --recipe grammar --remedy kl-controller")
            console.print(*self.bar.bar.get_renderables())
            drawn = console.export_svg(title="uncollapse train")
            self.path.write_text(re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL))  # no font from elsewhere


def small(png: bytes, path: Path, width: int) -> None:
    """Write a screenshot with few colours, at most so wide."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    if picture.width > width:
        picture = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    folder = Path(mkdtemp())
    if sys.argv[1:]:
        runs = {Path(path).name: uc.load(path) for path in sys.argv[1:]}
    else:
        watched = Drawn(1500, IMAGES / "monitor.svg")
        train = {"epochs": 5}
        runs = {
            "vanilla": uc.train("grammar", "vanilla", out=folder / "vanilla", train=train, callbacks=[]),
            "kl-controller": uc.train("grammar", "kl-controller", out=folder / "kl", train=train, callbacks=[watched]),
        }
    (folder / "report.html").write_text(report(runs))
    with browser(width=1000, height=1750) as chrome:
        chrome.get((folder / "report.html").as_uri())
        small(chrome.get_screenshot_as_png(), IMAGES / "report.png", 800)
    _, url, _ = (page := build_page(Explorer(list(runs.values())[-1]))).launch(
        server_name="127.0.0.1", quiet=True, prevent_thread_lock=True, footer_links=[]
    )
    with browser(width=1000, height=1000) as chrome:
        chrome.get(url)
        sleep(8)
        tab = next(b for b in chrome.find_elements("css selector", "button[role=tab]") if b.text == "Map")
        tab.click()
        sleep(3)
        chrome.find_element("css selector", "#map-in img").click()
        sleep(5)
        small(chrome.get_screenshot_as_png(), IMAGES / "explorer.png", 800)
    page.close()


if __name__ == "__main__":
    main()
