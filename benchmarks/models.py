"""Train the small runs that come with the package anew: `make models`. Eight minutes on one core."""

import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

import uncollapse as uc
from uncollapse.runs.folder import RunFolder
from uncollapse.runs.measure import measure, measure_protocol
from uncollapse.runs.protocols import PROTOCOLS
from uncollapse.runs.shipped import FOLDER
from uncollapse.training.states import load_weights, save_weights

MODELS = {
    "grammar": ("grammar", ("kl-controller",), {}),
    "verbs": ("verbs", (), {"data": {"seed": 1}}),
    "strokes": ("strokes", ("kl-controller",), {"data": {"sentences": 5000}}),
}
FILES = ("config.yaml", "vocab.json", "corpus.json", "metrics.jsonl", "metrics.json", "model.safetensors")


def main(names):
    for name in names or MODELS:
        recipe, remedies, settings = MODELS[name]
        with TemporaryDirectory() as temporary:
            path = Path(temporary) / name
            uc.train(recipe, remedies, out=path, **settings)
            ship(path, name)


def ship(path, name):
    """Halve the weights, measure the run with them, and put what a user needs into the package."""
    folder = RunFolder(path)
    weights = load_weights(folder.model_file).items()
    save_weights(folder.model_file, {key: w.half() if w.is_floating_point() else w for key, w in weights})
    run = uc.load(path)
    subject = run.subject(run.splits()[0])
    measure(run.folder, subject, measure_protocol("tense", subject) if PROTOCOLS["tense"].fits(subject) else {})
    shutil.rmtree(FOLDER / name, ignore_errors=True)
    (FOLDER / name).mkdir(parents=True)
    for file in FILES:
        shutil.copy(path / file, FOLDER / name / file)


if __name__ == "__main__":
    main(sys.argv[1:])
