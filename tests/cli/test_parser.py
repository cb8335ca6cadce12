"""Flags: what text becomes which value."""

import pytest

from uncollapse.cli.parser import Parser
from uncollapse.errors import UserError
from uncollapse.runs.config import Config, catalogue


@pytest.fixture
def parser():
    made = Parser("train", "Train.")
    made.flag("--span", "X", "how far", default=3.0)
    made.flag("--steps", "N", "how many", default=int, least=2)
    made.add_settings(catalogue())
    return made


@pytest.mark.parametrize(
    ("text", "section", "name", "value"),
    [
        ("--train.seed 3", "train", "seed", 3),
        ("--train.seed=3", "train", "seed", 3),
        ("--optim.lr 1e-3", "optim", "lr", 1e-3),
        ("--optim.lr 1", "optim", "lr", 1.0),
        ("--objective.alpha -2", "objective", "alpha", -2.0),
        ("--objective.alpha -1e-3", "objective", "alpha", -1e-3),
        ("--objective.alpha=-.5", "objective", "alpha", -0.5),
        ("--objective.weight 0.5", "objective", "weight", "0.5"),
        ("--objective.timesteps 25%", "objective", "timesteps", "25%"),
        ("--data.path null", "data", "path", "null"),
        ("--data.path 12", "data", "path", "12"),
        ("--data.name=", "data", "name", ""),
        *((f"--data.lowercase {yes}", "data", "lowercase", True) for yes in ("true", "True", "yes", "on")),
        *((f"--data.lowercase {no}", "data", "lowercase", False) for no in ("false", "False", "no", "off")),
    ],
)
def test_a_setting_has_its_own_type(parser, text, section, name, value):
    _, settings = parser.parse(text.split())
    assert settings == {section: {name: value}} and type(settings[section][name]) is type(value)
    assert getattr(getattr(Config.from_settings(settings), section), name) == value


def test_settings_that_are_not_given_are_not_there_and_flags_have_their_defaults(parser):
    asked, settings = parser.parse([])
    assert settings == {} and asked.span == 3.0 and asked.steps is None and asked.command == "train"
    asked, _ = parser.parse(["--span", "-1e1", "--steps", "2"])
    assert asked.span == -10.0 and asked.steps == 2


@pytest.mark.parametrize(
    "text", ["--steps 1", "--steps 2.0", "--steps x", "--span far", "--sp 1", "--span", "--span nan"]
)
def test_what_does_not_parse_is_one_line_of_the_users(parser, text, capsys):
    with pytest.raises(UserError) as said:
        parser.parse(text.split())
    assert len(str(said.value).splitlines()) == 1 and text.split()[0] in str(said.value)
    assert capsys.readouterr() == ("", "")


def test_a_long_number_is_not_repeated_in_full(parser):
    with pytest.raises(UserError) as said:
        parser.parse(["--train.seed", "9" * 5000])
    assert len(str(said.value)) < 300


def test_a_flag_that_is_needed_may_be_neither_absent_nor_empty():
    parser = Parser("data", "Write.")
    parser.flag("--out-to", "DIR", "the folder", needed=True)
    assert "(needed)" in parser.format_help()
    for arguments in ([], ["--out-to="]):
        with pytest.raises(UserError, match="data: expected --out-to DIR"):
            parser.parse(arguments)
    assert parser.parse(["--out-to", "x"])[0].out_to == "x"


def test_help_groups_the_settings_and_says_what_each_accepts(parser):
    shown = " ".join(parser.format_help().split())
    places = [shown.index(f" {section}: ") for section in ("data", "model", "objective", "optim", "train")]
    assert places == sorted(places)
    assert "how far (default 3.0)" in shown and "order of alpha and renyi; 1 is kl (a number; default 1.0)" in shown
    assert all(f"--{key}" in shown for key in catalogue())
