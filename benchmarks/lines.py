"""Count the package's lines of code by room: no docstrings, comments or blank lines, whatever their formatting.

    python benchmarks/lines.py            # of src/uncollapse
    python benchmarks/lines.py PATH       # of another copy of the package

A room is a folder of the package; the modules at its top are one room each. Recipes and remedies are data and do not count.
"""

import argparse
import ast
import io
import tokenize
from collections import Counter
from pathlib import Path

SILENT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)
MOST = 300
"""Physical lines above which a file is named."""


def code_lines(source: str) -> int:
    """Count the lines of a module that hold a token which is neither a comment nor part of a docstring."""
    documented = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, DOCUMENTED)
        for statement in node.body
        if isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
        for line in range(statement.lineno, (statement.end_lineno or statement.lineno) + 1)
    }
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    spoken = {line for token in tokens if token.type not in SILENT for line in range(token.start[0], token.end[0] + 1)}
    return len(spoken - documented)


def main() -> None:
    """Print a row a room, the sum, and the files that are long."""
    parser = argparse.ArgumentParser(description="Count the package's lines of code by room.")
    parser.add_argument("path", nargs="?", default=str(Path(__file__).parents[1] / "src" / "uncollapse"), type=Path)
    root = parser.parse_args().path
    rooms: Counter[str] = Counter()
    long = []
    for file in sorted(root.rglob("*.py")):
        source, where = file.read_text(encoding="utf-8"), file.relative_to(root)
        rooms[where.parts[0]] += code_lines(source)
        if source.count("\n") > MOST:
            long.append(f"{where} ({source.count(chr(10))})")
    for room, lines in sorted(rooms.items(), key=lambda item: -item[1]):
        print(f"{lines:6,}  {room}")
    print(f"{sum(rooms.values()):6,}  in all")
    print(f"files above {MOST} lines: {', '.join(long) or 'none'}")


if __name__ == "__main__":
    main()
