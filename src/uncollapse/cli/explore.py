"""`uncollapse explore`."""

import os

import uncollapse as uc
from uncollapse.cli.inputs import read_splits
from uncollapse.cli.output import say
from uncollapse.cli.parser import Parser
from uncollapse.errors import UserError


def run(arguments: list[str]) -> None:
    """Serve a page to play with the space of a run, on this machine alone."""
    parser = Parser(
        "explore",
        "Serve a page on 127.0.0.1: reconstruct, go between sentences, move dimensions, change labels, sample, click on a map. "
        "Needs gradio: pip install 'uncollapse[explore]'. End with Ctrl-C.",
    )
    parser.add_run()
    parser.flag("--split", "NAME", "sentences of the map and of the neighbours: train, valid or test", default="test")
    parser.flag("--port", "N", "of the page; 0: the first that is free from 7860", default=0, least=0)
    parser.add_settings(["data.path", "data.valid", "data.test"])
    asked, settings = parser.parse(arguments)
    if asked.port > 65535:
        raise UserError(f"--port: expected a number up to 65535, got {asked.port}")
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # nothing is sent anywhere
    from uncollapse.reporting.explorer import Explorer
    from uncollapse.reporting.explorer_page import build_page

    done = uc.load(asked.run)
    page = build_page(Explorer(done, asked.split, splits=read_splits(done, settings)))
    try:
        _, url, _ = page.launch(
            server_name="127.0.0.1",
            server_port=asked.port or None,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            footer_links=[],
        )
    except OSError as error:
        raise UserError(f"--port {asked.port}: {error}") from None
    say(f"{url}  (Ctrl-C ends it)")
    page.block_thread()
