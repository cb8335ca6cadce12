"""Runs the README's first commands by a command line that is given, in an empty folder: `python tests/installed.py uncollapse`."""

import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"
SENTENCES = [f"the {who} {does} the {what} ." for who in ("cat", "dog", "bird", "farmer", "cook", "singer", "sailor")
             for does in ("sees", "likes", "finds", "sells", "wants") for what in ("fish", "ball", "boat", "song", "bread", "nest")]  # fmt: skip


def main(program: str) -> None:
    command = Path(program).resolve()
    block = next(
        text for text in re.findall(r"```bash\n(.*?)```", README.read_text(), re.DOTALL) if "my_sentences" in text
    )
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "my_sentences.txt").write_text("\n".join(SENTENCES) + "\n")
        for line in filter(None, block.splitlines()):
            _, *arguments = shlex.split(line, comments=True)
            short = ["--train.minutes", "0.2"] if arguments[0] == "train" else []
            print("uncollapse", *arguments, *short, flush=True)
            subprocess.run([command, *arguments, *short], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        assert (Path(folder) / "codes.npz").exists()


if __name__ == "__main__":
    main(sys.argv[1])
