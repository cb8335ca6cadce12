import re

import pytest
import yaml

from uncollapse import files
from uncollapse.errors import UserError
from uncollapse.nn.kinds import DeconvolutionConfig, RecurrentEncoderConfig
from uncollapse.runs import config
from uncollapse.runs.compose import available, combine_remedies, compose, load_named
from uncollapse.runs.config import Config, differences
from uncollapse.schedules import Clock, parse


@pytest.mark.parametrize("name", available("recipes"))
def test_every_recipe_fits_its_settings(name):
    made = compose(name)
    parse(made.objective.weight, Clock(epoch=100, run=100 * (made.train.epochs or 10)))
    assert load_named("recipes", name).title


@pytest.mark.parametrize("name", available("remedies"))
def test_every_remedy_fits_every_recipe(name):
    assert load_named("remedies", name).title and load_named("remedies", name).paper
    for recipe in available("recipes"):
        try:
            made = compose(recipe, [name])
        except UserError as error:
            assert recipe in ("omniglot", "strokes") and re.search("is for (en|de)coder.kind lstm", str(error))
            continue
        clock = Clock(epoch=100, run=1000)
        assert parse(made.objective.weight, clock) and parse(made.objective.target, clock)


def test_what_comes_later_wins():
    made = compose("default", ["annealed"], {"objective": {"weight": "0.7"}, "model": {"latent": 3}})
    assert made.objective.weight == "0.7" and made.model.latent == 3
    assert made.optim.optimizer == "adam"
    assert compose("default", ["annealed"]).objective.weight == "linear(0.1, 1, 10 epochs)"


def test_a_path_takes_the_place_of_the_embedded_corpus():
    data = compose("synthetic", flags={"data": {"path": "x"}}).data
    assert (data.name, data.path) == ("", "x")
    data = compose("synthetic", flags={"data": {"path": "x", "name": "grammar"}}).data
    assert (data.name, data.path) == ("grammar", "x")  # both at once are refused when the data are read


def test_contradicting_remedies_are_named_with_both_values():
    with pytest.raises(UserError, match=r"beta and annealed .* objective.weight is '0.4' and 'linear"):
        combine_remedies(["beta", "annealed"])
    assert combine_remedies(["lm", "annealed"]) == {
        "model": {"latent": 0},
        "objective": {"weight": "linear(0.1, 1, 10 epochs)"},
    }


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"objective": {"wieght": 1}}, "did you mean objective.weight"),
        ({"objectiv": {"weight": 1}}, "did you mean objective"),
        ({"model": {"latent": "four"}}, "model.latent: expected an integer of at least 0, got 'four'"),
        ({"model": {"latent": -1}}, "at least 0, got -1"),
        ({"model": {"latent": 2.5}}, "expected an integer"),
        ({"model": {"latent": True}}, "expected an integer"),
        ({"decoder": {"dropout_in": 1.5}}, "a number from 0 to 0.99"),
        ({"encoder": {"kind": "cnn"}}, "one of lstm, gru"),
        ({"data": {"lowercase": "yes"}}, "true or false"),
        ({"model": 3}, "expected names and values"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(settings, said):
    with pytest.raises(UserError, match=".") as error:
        Config.from_settings(settings)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_numbers_are_taken_where_they_make_sense():
    made = Config.from_settings({"objective": {"weight": 0.5}, "optim": {"lr": 1}})
    assert made.objective.weight == "0.5" and made.optim.lr == 1.0


@pytest.mark.parametrize("loader", [yaml.SafeLoader, files.LOADER])
def test_yaml_nests_as_deep_as_is_allowed_and_no_deeper(tmp_path, monkeypatch, loader):
    monkeypatch.setattr(files, "LOADER", loader)
    for depth, taken in ((files.DEEPEST - 1, True), (files.DEEPEST, False)):
        (tmp_path / "own.yaml").write_text(f"a: {'[' * depth}{']' * depth}")
        if taken:
            assert list(files.read_yaml(tmp_path / "own.yaml")) == ["a"]
        else:
            with pytest.raises(UserError, match="expected YAML, got something else"):
                files.read_yaml(tmp_path / "own.yaml")


def test_settings_survive_yaml_and_differences_are_named():
    made = compose("ptb", ["annealed"])
    assert Config.from_settings(yaml.safe_load(yaml.safe_dump(made.settings()))) == made
    assert differences(made, compose("ptb", ["beta"])) == {"objective.weight": ("linear(0.1, 1, 10 epochs)", "0.4")}


def test_unknown_recipes_and_remedies_are_named():
    with pytest.raises(UserError, match="unknown recipe 'ptp': did you mean ptb"):
        compose("ptp")
    with pytest.raises(UserError, match="unknown remedy 'aneald'"):
        compose("ptb", ["aneald"])


def test_a_recipe_of_ones_own(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("title: mine\nsettings:\n  model: {latent: 7}\n")
    assert compose(str(path)).model.latent == 7
    path.write_text("settings: [1, 2\n")
    with pytest.raises(UserError, match=r"expected YAML.*line"):
        compose(str(path))
    path.write_text("model: {latent: 7}\n")
    with pytest.raises(UserError, match="expected title, paper, published and settings"):
        compose(str(path))


def test_every_default_lies_in_its_own_range():
    for key, setting in config.catalogue().items():
        assert config.check(key, setting.default) == setting.default
        assert setting.help


def test_a_setting_of_another_kind_is_refused_with_the_nearest_of_this_kind():
    assert compose("grammar", flags={"decoder": {"kind": "cnn", "context": 3}}).decoder.context == 3
    with pytest.raises(
        UserError, match=r"decoder.context: is for decoder.kind cnn, cnn-bottleneck, got lstm: expected one of: bias"
    ):
        compose("grammar", flags={"decoder": {"context": 3}})
    with pytest.raises(UserError, match="encoder.channels: is for encoder.kind resnet, got gru"):
        compose("grammar", flags={"encoder": {"kind": "gru", "channels": 3}})
    with pytest.raises(UserError, match="did you mean encoder.hidden"):
        compose("grammar", flags={"encoder": {"hiden": 3}})


def test_another_kind_keeps_what_it_has_too():
    made = compose("omniglot", flags={"encoder": {"kind": "gru"}, "decoder": {"kind": "deconvolution"}})
    assert made.encoder == RecurrentEncoderConfig(kind="gru", hidden=512)
    assert made.decoder == DeconvolutionConfig(channels=64)


def test_lists_are_lists_or_text_with_commas():
    for written in ([7, 5], (7, 5), "7, 5", "7,5"):
        assert compose("omniglot", flags={"decoder": {"kernel_sizes": written}}).decoder.kernel_sizes == (7, 5)
    assert compose("omniglot").settings()["decoder"]["kernel_sizes"][:2] == [7, 7]
    for wrong in ("7 5", "7,x", [7, "x"], {"a": 1}, "0", "1000"):
        with pytest.raises(
            UserError, match="decoder.kernel_sizes: expected integers, separated by commas, each from 1 to 999"
        ):
            compose("omniglot", flags={"decoder": {"kernel_sizes": wrong}})
