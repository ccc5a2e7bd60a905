"""``neuromfa analyse --protocol reference`` as a user runs it."""

import json

import jsonschema
import pytest

import neuromfa
from neuromfa import ReferenceAnalysis
from sampled_models import TINY, tiny
from test_cli import neuromfa_cli

MODEL = TINY / "step3000"
REFERENCE = ("analyse", MODEL, "--protocol", "reference", "--sample-size", 32)


def test_json_is_the_python_record():
    done = neuromfa_cli(*REFERENCE, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    record = json.loads(done.stdout)
    jsonschema.validate(record, neuromfa.schema("reference"))
    mine = tiny(3000).to_dict()
    assert [record.pop("provenance").keys()] == [mine.pop("provenance").keys()]
    assert record == mine
    wanted = {"sample", "tau", "alpha", "f", "alpha_0", "alpha_0_index", "width", "radii"}
    for sample in record["samples"]:
        assert wanted | {"counted_neurons"} <= set(sample)


def test_table_has_samples_means_and_spread():
    done = neuromfa_cli(*REFERENCE, "--cutoff", 200)
    assert (done.returncode, done.stderr) == (0, "")
    statistics = tiny(3000, cutoff=200).statistics()
    for text in ("10 networks of 32 units", "T = 200", "derivative", "mean", "sd"):
        assert text in done.stdout
    for value in statistics.values():
        assert f"{value:.4f}" in done.stdout


def test_output_holds_the_record_with_its_dimensions(tmp_path):
    done = neuromfa_cli(
        *REFERENCE, "--samples", 2, "--output", tmp_path, "--fractal-dimensions", "--quiet"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [path.name for path in tmp_path.iterdir()] == ["reference.json"]
    record = json.loads((tmp_path / "reference.json").read_text(encoding="utf-8"))
    found = ReferenceAnalysis.from_dict(record)
    assert len(found.samples) == 2
    for mine, other in zip(found.samples, tiny(3000).samples, strict=False):
        values = mine.fractal_dimension.values
        assert values.tolist() == other.fractal_dimension.values.tolist()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--protocol", "reference", "--q", "1,2", "--plot", "x.png"), 2, "--q, --plot: the prot"),
        (("--protocol", "reference", "--memory", "1G"), 2, "--memory: the protocol reference has"),
        (("--protocol", "reference", "--radii", "observed"), 2, "--radii: the protocol reference"),
        (("--samples", "10"), 2, "--samples: the protocol exact has no such setting"),
        (("--sample-size", "32", "--protocol", "exact"), 2, "--sample-size: the protocol exact"),
        (("--protocol", "reference", "--sample-size", "200"), 2, "draws 200 of 128 input units"),
        (("--protocol", "reference", "--samples", "0"), 2, "samples 0: must be a whole number"),
        (("--protocol", "reference", "--fractal-dimensions"), 2, "add --json or --output"),
        (("--protocol", "sampled"), 2, "'sampled' is not one of 'exact', 'reference'"),
    ],
)
def test_what_makes_no_sense_is_said_in_one_line(arguments, code, said):
    done = neuromfa_cli("analyse", MODEL, *arguments)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
