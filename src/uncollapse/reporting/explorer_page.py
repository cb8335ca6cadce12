"""The page of `explore`, in gradio: a tab for each use of the space."""

from collections.abc import Callable
from typing import Any

from uncollapse.errors import UserError
from uncollapse.reporting.explorer import LONGEST, MOST_SAMPLES, SIDE, SPAN, Explorer


def build_page(explorer: Explorer) -> Any:
    """Return the page, a `gradio.Blocks`.

    Raises:
        UserError: gradio is not installed.
    """
    try:
        import gradio as gr
    except ImportError:
        raise UserError("gradio is not installed; run: pip install 'uncollapse[explore]'") from None
    path = explorer.run.path
    with gr.Blocks(title=f"uncollapse: {path.name}", analytics_enabled=False) as page:
        gr.Markdown(f"## {path.name}\n`import uncollapse as uc; run = uc.load({str(path)!r})`")
        form = _Form(gr, explorer)
        form.labels = form.dropdowns("")
        for name, tab in TABS.items():
            if name != "Labels" or form.fields:
                with gr.Tab(name):
                    tab(form)
    return page


class _Form:
    """The parts of the page that the tabs share.

    Attributes:
        gr: gradio.
        explorer: what is computed.
        fields: the label fields that the run is conditioned on.
        labels: a dropdown for each, above the tabs.
    """

    def __init__(self, gr: Any, explorer: Explorer) -> None:
        self.gr, self.explorer = gr, explorer
        self.fields, self.labels = list(explorer.run.label_space.names), list[Any]()

    def answer(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        """Pass on what the page sends, the labels first; what a user did wrong is a message on the page."""

        def compute_safely(*given: Any) -> Any:
            count = len(self.fields)
            try:
                return compute(dict(zip(self.fields, given[:count], strict=True)), *given[count:])
            except UserError as error:
                raise self.gr.Error(str(error)) from None

        return compute_safely

    def dropdowns(self, title: str) -> list[Any]:
        names = self.explorer.run.label_space.names
        return [self.gr.Dropdown(list(names[f]), value=names[f][0], label=f"{title}{f}") for f in self.fields]

    def sentence(self, label: str, number: int = 0) -> Any:
        texts = self.explorer.texts
        return self.gr.Textbox(texts[min(number, len(texts) - 1)], label=label, max_length=LONGEST)

    def written(self, name: str, label: str = "sentence", lines: int = 1) -> tuple[Any, Any]:
        """Return the boxes of what is written, and of its Python."""
        text = self.gr.Textbox(label=label, lines=lines, elem_id=f"{name}-out")
        shown = {"label": "the same in Python", "interactive": False, "lines": 2}
        return text, self.gr.Code(language="python", elem_id=f"{name}-python", **shown)


def _reconstruct_tab(form: _Form) -> None:
    gr, sentence = form.gr, form.sentence("sentence")
    button = gr.Button("Reconstruct", elem_id="reconstruct-go")
    back, python = form.written("reconstruct", "reconstruction")
    with gr.Row():
        near = gr.Dataframe(headers=["distance", "nearest sentences"], interactive=False, wrap=True)
        numbers = gr.Dataframe(headers=["dimension", "mean"], interactive=False)
    button.click(form.answer(form.explorer.reconstruct), [*form.labels, sentence], [back, near, numbers, python])


def _between_tab(form: _Form) -> None:
    first, last = form.sentence("from"), form.sentence("to", 1)
    share = form.gr.Slider(0, 1, 0.5, step=0.05, label="share of the way")
    button, boxes = form.gr.Button("Write it", elem_id="between-go"), form.written("between")
    for event in (button.click, share.release):
        event(form.answer(form.explorer.between), [*form.labels, first, last, share], list(boxes))


def _dimensions_tab(form: _Form) -> None:
    gr, explorer, sentence = form.gr, form.explorer, form.sentence("sentence")
    sliders = [gr.Slider(-SPAN, SPAN, 0, step=0.1, label=f"dimension {d}") for d in explorer.informative]
    with gr.Row():
        reset = gr.Button("Where the sentence is", elem_id="move-reset")
        button = gr.Button("Write it", elem_id="move-go")
    boxes = form.written("move")
    reset.click(form.answer(explorer.start), [*form.labels, sentence], sliders)
    for event in (button.click, *(slider.release for slider in sliders)):
        event(form.answer(explorer.move), [*form.labels, sentence, *sliders], list(boxes))


def _labels_tab(form: _Form) -> None:
    sentence, targets = form.sentence("sentence, of the labels above"), form.dropdowns("to ")
    button, boxes = form.gr.Button("Change", elem_id="transfer-go"), form.written("transfer")
    button.click(form.answer(form.explorer.transfer), [*form.labels, sentence, *targets], list(boxes))


def _sample_tab(form: _Form) -> None:
    count = form.gr.Slider(1, MOST_SAMPLES, 8, step=1, label="sentences")
    heat = form.gr.Slider(0.05, 2, 1.0, step=0.05, label="temperature of the tokens")
    button, boxes = form.gr.Button("Sample", elem_id="sample-go"), form.written("sample", "from the prior", 8)
    button.click(form.answer(form.explorer.sample), [*form.labels, count, heat], list(boxes))


def _map_tab(form: _Form) -> None:
    import gradio as gr

    explorer = form.explorer
    gr.Markdown("Click on the map: the sentence of the code there is written.")
    picture = gr.Image(explorer.picture, label="codes", interactive=False, elem_id="map-in", width=SIDE, height=SIDE)
    there, python = form.written("map", "written there")
    nearest = gr.Textbox(label="nearest sentence of the data")

    def clicked(event: gr.SelectData, *given: Any) -> Any:
        return form.answer(explorer.at)(*given, *event.index)

    picture.select(clicked, form.labels, [there, nearest, python])


TABS: dict[str, Callable[[_Form], None]] = {
    "Reconstruct": _reconstruct_tab,
    "Between": _between_tab,
    "Dimensions": _dimensions_tab,
    "Labels": _labels_tab,
    "Sample": _sample_tab,
    "Map": _map_tab,
}
"""Name -> what fills it."""
