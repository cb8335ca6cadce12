"""The one registry of protocols: the command, the tables and the docs read it."""

import re
from pathlib import Path

import pytest

from uncollapse.cli import main
from uncollapse.reporting.protocols import COLUMNS, protocol_tables
from uncollapse.runs.protocols import PROTOCOLS, Subject

PAGE = (Path(__file__).parents[1] / "docs" / "protocol.md").read_text()


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_every_number_of_a_protocol_is_explained_in_the_docs(name):
    keys = [*PROTOCOLS[name].columns, *PROTOCOLS[name].rows]
    # of the fitted prior, and of regular verbs, as of the others
    known = [re.sub(r"^fitted_", "gaussian_", re.sub(r"_(ir)?regular$", "", key)) for key in keys]
    assert not [key for key in known if f"`{key}`" not in PAGE]
    assert PROTOCOLS[name].always or f"--protocol {name}" in PAGE


def test_the_command_offers_what_is_in_the_registry(capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    for name, protocol in PROTOCOLS.items():
        assert (f"{name}, {protocol.help}" in said) != protocol.always


def test_what_fits_a_run_can_be_measured_and_is_shown(trained):
    subject = trained.subject(trained.splits()[0], "valid")
    fitting = [name for name, protocol in PROTOCOLS.items() if protocol.fits(subject)]
    assert fitting == ["use", "reconstruction", "aggregate", "samples", "robustness", "probe", "minimal-pairs"]
    result = PROTOCOLS["aggregate"].run(subject)
    assert {name for name in result if name in COLUMNS} == set(PROTOCOLS["aggregate"].columns)
    assert any("aggregate_kl" in column._cells for table in protocol_tables(result) for column in table.columns)
    assert isinstance(subject, Subject) and subject.corpus is subject.splits.valid
