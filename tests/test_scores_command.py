"""The verb ``scores``: its table, its JSON, and its CSV, which can be read again."""

import csv
import io
import json
import os

import pytest
from click.testing import CliRunner

import score_files
from neuromfa.cli import cli
from neuromfa.errors import UsageError
from neuromfa.scores.reading import read_scores


@pytest.fixture(scope="module")
def pythia(tmp_path_factory):
    return score_files.unpack_pythia(tmp_path_factory.mktemp("evals"))


def test_the_verb_shows_what_was_read(pythia):
    folder = str(pythia / "pythia-70m-deduped")
    shown = CliRunner().invoke(cli, ["scores", folder])
    assert shown.exit_code == 0
    for part in ("27", "87", "0 to 143,000", "4,644"):
        assert part in shown.output
    as_json = CliRunner().invoke(cli, ["scores", folder, "--json"])
    rows = json.loads(as_json.output)
    assert len(rows) == 4644
    as_csv = CliRunner().invoke(cli, ["scores", folder, "--csv"])
    table = list(csv.DictReader(io.StringIO(as_csv.output)))
    assert [float(row["value"]) for row in table] == [row["value"] for row in rows]


def test_the_table_of_the_verb_can_be_read_again(pythia, tmp_path):
    paths = [str(pythia / "pythia-70m-deduped")]
    text = CliRunner().invoke(cli, ["scores", *paths, "--csv"]).output
    again = read_scores(score_files.write(tmp_path / "all.csv", text))
    assert [(s.model, s.revision, s.step, s.series, s.value, s.stderr) for s in again] == [
        (s.model, s.revision, s.step, s.series, s.value, s.stderr) for s in read_scores(paths)
    ]


def test_the_verb_takes_one_form_of_output(pythia):
    told = CliRunner().invoke(cli, ["scores", os.fspath(pythia), "--json", "--csv"])
    assert isinstance(told.exception, UsageError)
