"""Settings from outside: nested values, files of one's own, names and the command line."""

import yaml
from hypothesis import given
from hypothesis import strategies as st

import uncollapse as uc
from tests.fuzz import HOSTILE, HUGE, LONG, altered, fuzz, kept, taken_or_refused, values, variants, wild, with_variants
from uncollapse.cli import main
from uncollapse.runs.compose import available, compose, load_named
from uncollapse.runs.config import Config, catalogue, merge, nest
from uncollapse.runs.study import FOLDER, load_study

DEFAULTS = Config().settings()

keys = st.sampled_from(sorted(catalogue()))
one_value = st.builds(lambda key, value: nest({key: value}), keys, values)


@fuzz
@given(one_value | altered(DEFAULTS), values)
@kept(({"model": {"latent": 10**5000}}, {}), ({"objective": {"weight": HUGE}}, {}), ({"optim": {"lr": HUGE}}, {}))
@kept(({"decoder": {"kernel_sizes": "9" * 5000}}, {}), ({"model": {LONG: 1}}, {}), ({"model": "big"}, {}), (None, {}))
@kept(({1: {"a": 1}}, {}), ({"encoder": {"kind": []}}, {}), ({"encoder": {1: 2}}, {"encoder": {"kind": "resnet"}}))
def test_any_settings(one, other):
    taken_or_refused(lambda: Config.from_settings(one))
    taken_or_refused(lambda: Config.from_settings(merge(DEFAULTS, one)))
    taken_or_refused(lambda: merge(one, other))
    taken_or_refused(lambda: compose("default", (), one))


TAGS = ["!!int ''", "!!float ''", "!!bool x", "!!timestamp x", "!!binary é", "1:" * 300 + "1.0", "9" * 5000]
TAGS += ["2024-99-99", "&a [*a]", "{[a]: b}", "[" * 3000, "=", "{<<: 1}", LONG, HUGE, '"\\ud800"']
levels = [f"&{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)]
GROWTH = f"[&a [{', '.join('x' * 9)}], {', '.join(levels)}]"
"""Nine times nine times nine …"""
optional = dict.fromkeys(("title", "paper"), values)
of_remedy = st.fixed_dictionaries({"settings": altered({"objective": DEFAULTS["objective"]})}, optional=optional)
of_study = altered(yaml.safe_load(min(FOLDER.glob("*.yaml")).read_text()))
parts = st.sampled_from([*map(str, TAGS), "settings:\n ", "model: ", "- ", "\n", "*a", "}"]) | wild
text_of = st.lists(parts, max_size=6).map("".join)


@with_variants
@given((of_remedy | of_study | values).map(yaml.safe_dump) | text_of)
@kept(*(f"settings: {{model: {{latent: {tag}}}}}" for tag in TAGS), f"{LONG}: 1", '"a\\nb": 1')
@kept(f"settings: {{model: {{latent: {GROWTH}}}}}", f"title: {GROWTH}\nsettings: {{}}", f"settings: {GROWTH}")
def test_any_yaml_file(tmp_path, content):
    path = tmp_path / "own.yaml"
    for variant in variants(content.encode("utf-8", "surrogatepass")):
        path.write_bytes(variant)
        for read in (compose, lambda path: compose("default", [path]), load_study):
            taken_or_refused(lambda read=read: read(str(path)))


@fuzz
@given(wild | st.sampled_from(["a" * 300, "a/" * 3000, ".", "\0", "\ud800"]))
@kept("\0", "a" * 300, LONG)
def test_any_name(tmp_path, name):
    for read in (uc.data.load, uc.load, lambda path: load_named("recipes", f"{path}.yaml"), load_study):
        taken_or_refused(lambda read=read: read(f"{tmp_path}/{name}"))


VERBS = ["recipes", "remedies", "models", "train --dry-run --data.path no.txt", "sample nowhere", "x", ""]
VERBS += ["sample model:grammar -n 1", "reconstruct model:grammar no.txt", "interpolate model:grammar"]
WORDS = "--seed --out --recipe --remedy -n --decode --json --max-length --help -- - = -1 1e999 nan grammar".split()
WORDS += ["--top-k", "--prior", "--label", "--steps", "a" * 300, *available("remedies")]
WORDS += [f"--{key}" for key in catalogue() if key not in ("data.name", "data.path", "train.init_from")]
WORDS += [each for each in HOSTILE if isinstance(each, str)]
words = (st.sampled_from(WORDS) | wild).filter(lambda word: "/" not in word)


@fuzz
@given(st.sampled_from(VERBS), st.lists(words | st.builds("{}={}".format, words, words), max_size=5))
@kept(("train --dry-run", ["--recipe", "\0.yaml"]), ("models grammar --out", ["\0"]), ("models x --out", ["a" * 300]))
@kept(("sample model:grammar -n 4000000000", []), ("sample model:grammar -n 1 --max-length 4000000000", []))
@kept(("interpolate model:grammar --steps 4000000000", []), ("walk model:grammar 0 --steps 4000000000", []))
def test_any_command(tmp_path, monkeypatch, verb, arguments):
    monkeypatch.chdir(tmp_path)
    try:
        assert taken_or_refused(lambda: main([*verb.split(), *arguments])) in (0, 1, 2, 3, 130)
    except SystemExit as ended:  # of argparse, after the help
        assert ended.code == 0 and {"--help", "-h"} & set(arguments)
