"""The explorer as a Hugging Face Space: put the run's folder, as `run`, and a file of sentences beside this file."""

import uncollapse as uc
from uncollapse.reporting.explorer import Explorer
from uncollapse.reporting.explorer_page import build_page

run = uc.load("run")
splits, _ = run.splits({"path": "sentences.txt", "valid": "", "test": ""})
page = build_page(Explorer(run, splits=splits))
if __name__ == "__main__":
    page.launch()
