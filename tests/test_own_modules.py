"""Networks of one's own in a run, and runs that begin with the weights of another."""

import pytest
import torch
from torch import nn

import uncollapse as uc
from tests.conftest import TINY
from uncollapse.cli import main


class MeanEncoder(nn.Sequential):
    def forward(self, batch):
        return uc.Gaussian(*super().forward(batch.tokens).chunk(2, -1))


def own(vocabulary):
    return MeanEncoder(nn.EmbeddingBag(vocabulary, 8, padding_idx=uc.data.PAD), nn.Linear(8, 8))


def test_a_run_with_a_module_of_ones_own_is_trained_loaded_and_resumed(tmp_path):
    splits = uc.data.load(name="grammar", sentences=200, level="word", max_vocab=20_000)
    settings = {name: values for name, values in TINY.items() if name != "encoder"}
    settings["train"] = {**TINY["train"], "epochs": 1}
    whole = tmp_path / "run"
    torch.manual_seed(0)
    run = uc.train("grammar", "kl-target", out=whole, encoder=own(len(splits.vocabulary)), callbacks=[], **settings)
    assert run.config.encoder.kind == "own" and "MeanEncoder" not in (whole / "config.yaml").read_text()
    codes = run.encode(["the dog sings ."])
    with pytest.raises(uc.UserError, match=r"encoder.kind own: expected the module, as in uc.load\(path, encoder="):
        uc.load(whole)
    mine = own(len(splits.vocabulary))
    parameters = list(mine.parameters())
    again = uc.load(whole, encoder=mine)
    assert all(one is other for one, other in zip(parameters, again.model.encoder.parameters(), strict=True))
    assert (again.encode(["the dog sings ."]) == codes).all() and again.evaluate(iw_samples=0)["rate"] > 0
    settings["train"]["epochs"] = 2
    longer = uc.train(
        "grammar", "kl-target", out=whole, encoder=own(len(splits.vocabulary)), callbacks=[], resume=True, **settings
    )
    assert [entry["epoch"] for entry in longer.log] == [1, 2]


def test_the_command_line_has_no_own_modules(tmp_path, capsys):
    assert main(["train", "--recipe", "grammar", "--encoder.kind", "own", "--out", str(tmp_path / "run")]) == 2
    assert "encoder.kind own: expected the module" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_begins_with_the_weights_of_another_and_its_encoder_stays(trained, sentences_file, tmp_path, capsys):
    flags = ["--init-from", str(trained.path), "--freeze", "encoder", "--train.epochs", "1", "--train.device", "cpu"]
    assert main(["train", "--data.path", str(sentences_file), *flags, "--out", str(tmp_path / "run")]) == 0
    run = uc.load(tmp_path / "run")
    assert run.vocabulary == trained.vocabulary and run.config.model == trained.config.model
    before, after = trained.model.state_dict(), run.model.state_dict()
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"decoder"}
    with pytest.raises(uc.UserError, match="does not fit"):
        uc.train(
            data={"path": str(sentences_file)},
            decoder={"hidden": 13},
            train={"init_from": str(trained.path), "epochs": 1},
            out=tmp_path / "other",
        )
    for wrong, message in (
        ({"init_from": str(tmp_path / "none")}, "no such run folder"),
        ({"freeze": "encodr"}, "train.freeze: expected encoder, decoder or prior, got encodr"),
        ({"freeze": ["encoder"], "aggressive": "pooled"}, "train.freeze holds it"),
    ):
        with pytest.raises(uc.UserError, match=message):
            uc.train("grammar", train=wrong, out=tmp_path / "other")


def test_normalisations_of_a_frozen_encoder_do_not_move(tmp_path):
    """Their running moments are no weights, but they change what the encoder says."""
    splits = uc.data.load(name="grammar", sentences=100)
    encoder = uc.nn.RecurrentEncoder(len(splits.vocabulary), 8, 12, 4, bn=0.6)
    decoder = uc.nn.RecurrentDecoder(len(splits.vocabulary), 8, 12, 4)
    model = uc.VAE(encoder.requires_grad_(False), decoder, uc.StandardNormal(4))
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    uc.fit(model, uc.Objective([uc.Penalty()]), splits, optimizer=lambda p: torch.optim.Adam(p, 0.01), epochs=1)
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())
