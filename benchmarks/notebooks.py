"""Execute the notebooks of `examples/` and keep what they show: `make notebooks`. Half an hour on one core.

Pictures are reduced to 256 colours, and of the lines of progress the last few are kept, so that the files stay small.
"""

import base64
import io
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbclient
import nbformat
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"
LINES = 5
"""Lines of progress that are kept of a cell."""


def main(names):
    for path in [EXAMPLES / f"{name}.ipynb" for name in names] or sorted(EXAMPLES.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        with TemporaryDirectory() as folder:
            nbclient.NotebookClient(notebook, resources={"metadata": {"path": folder}}, kernel_name="python3").execute()
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.metadata.pop("execution", None)  # when it ran
                cell.outputs = [shortened(output) for output in joined(cell.outputs)]
        notebook.metadata.pop("language_info", None)
        nbformat.write(notebook, path)
        print(f"{path.name}: {path.stat().st_size:,} bytes")


def joined(outputs):
    """Put what follows each other on one stream together."""
    result = []
    for output in outputs:
        if result and output.output_type == "stream" == result[-1].output_type and output.name == result[-1].name:
            result[-1].text += output.text
        else:
            result.append(output)
    return result


def shortened(output):
    """Return an output of a cell with a smaller picture, or with the last lines of its progress."""
    if output.output_type == "stream" and output.name == "stderr":
        lines = output.text.splitlines(keepends=True)
        output.text = "…\n" * (len(lines) > LINES) + "".join(lines[-LINES:])
    picture = output.get("data", {}).get("image/png")
    if picture:
        content = io.BytesIO()
        image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
        image.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(
            content, "PNG", optimize=True
        )
        output.data["image/png"] = base64.b64encode(content.getvalue()).decode()
    return output


if __name__ == "__main__":
    main(sys.argv[1:])
