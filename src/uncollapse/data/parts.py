"""From a path to the three splits of a corpus; what is missing is split off the training part."""

import hashlib
from collections.abc import Collection
from pathlib import Path

import numpy as np

from uncollapse.data.lines import Lines, Read, sampled, states_of
from uncollapse.data.reading import SUFFIXES, Texts, existing, read_texts, suffix_of
from uncollapse.data.settings import DataConfig
from uncollapse.data.shards import read_of_shards, shards_of
from uncollapse.errors import UserError
from uncollapse.files import expect, parse_json, read_text, write_json

MOST_HELD_OUT = 20_000
"""Sentences of each part that is split off shards, which may have millions."""
PARTS = {"train": ("train",), "valid": ("valid", "val", "dev"), "test": ("test",)}


def find_parts(path: Path, leave: str = "") -> dict[str, Path]:
    """Find the files of a folder's splits by their names, or take a file as the training split.

    Args:
        path: the folder or file.
        leave: name of a file in the folder that is no split.

    Raises:
        UserError: nothing at `path`, or a pipe; no training file in the folder, or two files that both look like one split.
    """
    if existing(path).is_file():
        return {"train": path}
    files = sorted(
        p
        for p in path.iterdir()
        if p.is_file() and not p.name.startswith(".") and suffix_of(p) in SUFFIXES and p.name != leave
    )
    parts: dict[str, Path] = {}
    for part, words in PARTS.items():
        named = [p for p in files if any(word in p.name.lower() for word in words) and p not in parts.values()]
        # a table among texts is rather something about them
        candidates = [p for p in named if suffix_of(p) != ".csv"] or named
        if len(candidates) > 1:
            raise UserError(
                f"{path}: {' and '.join(p.name for p in candidates)} both look like the {part} split; keep one"
            )
        if candidates:
            parts[part] = candidates[0]
    if "train" not in parts:
        raise UserError(
            f"{path}: expected a file named *train* ({', '.join(SUFFIXES)}), got {', '.join(p.name for p in files) or 'none'}"
        )
    return parts


def read_parts(
    settings: DataConfig, kept: Collection[str] = (), cache: Path | None = None
) -> tuple[dict[str, Texts], list[str]]:
    """Read the three splits of a corpus; what is missing is split off the training part, and said.

    Args:
        settings: `path` is a file, or a folder with `*train*` and perhaps `*valid*|*val*|*dev*` and `*test*`; `held_out` is the
            share of the training part that is split off for each missing part (whole rows of parallel forms).
        kept: forms whose rows are not held out.
        cache: a folder that keeps which sentences were split off many files.

    Returns:
        the splits by name, and messages for the user.

    Raises:
        UserError: as `find_parts` and `read_texts`; too few sentences to split; splits whose label fields differ.
    """
    path, held_out, seed = Path(settings.path), settings.held_out, settings.seed
    if shards := shards_of(settings.path):
        return _parts_of_shards(shards, settings, cache)
    files = find_parts(path, settings.pairs)
    files |= {part: Path(file) for part, file in (("valid", settings.valid), ("test", settings.test)) if file}
    parts: dict[str, Texts] = {}
    messages: list[str] = []
    text, labels = settings.text_column, settings.label_columns
    for part, file in files.items():  # the training part first, whose fields are those of all
        read, said = read_texts(file, settings.format, settings.columns, text_column=text, label_columns=labels)
        if part == "train":
            if settings.sentences:
                first = np.unique(read.units)[: settings.sentences]
                read = read.take(np.flatnonzero(np.isin(read.units, first)))
            if (text or labels) and not read.column:
                raise UserError(
                    f"{file}: data.text_column and data.label_column are for .csv, .jsonl and tables under a header"
                )
            if read.column and not labels:  # what is the same everywhere labels nothing
                read.labels = {field: names for field, names in read.labels.items() if len(set(names)) > 1}
            text, labels = read.column, list(read.labels)
        elif read.column:
            read.labels = {field: names for field, names in read.labels.items() if field in parts["train"].labels}
        parts[part] = read
        messages += said
    held = round(len(np.unique(parts["train"].units)) * held_out)
    for part in ("test", "valid"):
        if part not in parts and not held_out:
            parts[part] = parts["train"]
            messages.append(
                f"no {part} file, and data.held_out is 0: the training part serves for it, which measures memory"
            )
        elif part not in parts:
            parts["train"], parts[part] = _split_off(parts["train"], held, seed, part, path, kept)
            messages.append(
                f"no {part} file: {len(parts[part].texts):,} sentences ({held_out:.0%}) were split off the training part "
                f"(seed {seed})"
            )
    for part in ("valid", "test"):
        if set(parts[part].labels) != set(parts["train"].labels):
            raise UserError(
                f"{files.get(part, path)}: expected the label fields of the training split, "
                f"{sorted(parts['train'].labels) or 'none'}, got {sorted(parts[part].labels) or 'none'}"
            )
    return parts, messages


def _parts_of_shards(files: list[Path], settings: DataConfig, cache: Path | None) -> tuple[dict[str, Texts], list[str]]:
    """Read a corpus of many files; at most `MOST_HELD_OUT` sentences are split off for each missing part, in one pass."""
    if settings.label_column or settings.columns or settings.format not in ("auto", "txt", "jsonl"):
        raise UserError(
            f"{settings.path}: many files are sentences without labels; leave data.label_column and data.columns out"
        )
    read, column = read_of_shards(files, settings.text_column)
    named = {part: Path(file) for part, file in (("valid", settings.valid), ("test", settings.test)) if file}
    parts = {part: read_texts(file, text_column=column)[0] for part, file in named.items()}
    missing = [part for part in ("valid", "test") if part not in named]
    total, drawn = _sampled_once(
        files, read, MOST_HELD_OUT * len(missing), settings.seed, f"{column} {missing}", cache=cache
    )
    most = min(MOST_HELD_OUT, round(total * settings.held_out))
    if missing and not settings.held_out:
        raise UserError(
            f"{settings.path}: data.held_out 0 is for one file; of many, name {' and '.join(missing)} files"
        )
    if missing and (most < 1 or total <= most * len(missing)):
        raise UserError(
            f"{settings.path}: {total} sentences are too few to split off {' and '.join(missing)} parts; name files"
        )
    order = np.random.default_rng(settings.seed).permutation(list(drawn))
    chosen, messages = np.ones(total, dtype=bool), [f"{len(files)} files, {files[0]} to {files[-1]}"]
    for number, part in enumerate(missing):
        held = np.sort(order[number * most : (number + 1) * most])
        chosen[held] = False
        parts[part] = Texts([drawn[i] for i in held.tolist()], column=column)
        messages.append(f"no {part} file: {most:,} sentences were split off the training part (seed {settings.seed})")
    if settings.sentences:
        chosen[np.flatnonzero(chosen)[settings.sentences :]] = False
    return {"train": Texts(Lines(files, read, chosen), column=column), **parts}, messages


def _sampled_once(
    files: list[Path], read: Read, count: int, seed: int, about: str, *, cache: Path | None
) -> tuple[int, dict[int, str]]:
    """Return `lines.sampled` of all lines, which is read from the cache where it stands there."""
    key = hashlib.sha256(f"{states_of(files)} {seed} {about}".encode()).hexdigest()[:16]
    path = cache / f"{key}.drawn.json" if cache else None
    if path and path.exists():
        content = expect(parse_json(read_text(path), str(path)), {"total": int, "drawn": {str: str}}, str(path))
        return content["total"], {int(position): text for position, text in content["drawn"].items()}
    total, drawn = sampled((text for file in files for _, text in read(file)), max(1, count), seed)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"total": total, "drawn": drawn})
    return total, drawn


def _split_off(
    texts: Texts, held: int, seed: int, part: str, path: Path, kept: Collection[str] = ()
) -> tuple[Texts, Texts]:
    """Part the sentences (whole rows of forms) at random; those with a text to be kept stay in the first part."""
    whole = texts.units
    units = np.unique(whole)
    if kept:
        units = np.setdiff1d(
            units, [unit for unit, text in zip(whole.tolist(), texts.texts, strict=True) if text in kept]
        )
    if held < 1 or len(units) <= held:
        kind = "rows" if texts.rows else "sentences"
        apart = " apart from those that data.pairs keeps in training" if kept else ""
        raise UserError(
            f"{path}: {len(units)} {kind}{apart} are too few to split off a {part} part; give more of them, a larger "
            f"data.held_out, or a {part} file"
        )
    order = np.random.default_rng([seed, len(part)]).permutation(units)
    out = np.isin(whole, order[:held])
    return texts.take(np.flatnonzero(~out)), texts.take(np.flatnonzero(out))
