"""Records on disk: whole or not there, the same when read back, and tables for other tools."""

import errno
import json
import os

import numpy as np
import pyarrow.parquet as pq
import pytest

import neuromfa
from neuromfa import BadInputError, ResourceError, analyse, read_analysis, write_analysis
from neuromfa.storage import atomic_file, write_text


@pytest.fixture(scope="module")
def analysis():
    rng = np.random.default_rng(0)
    weights = {
        f"h.{block}.{name}": rng.normal(0, 0.05, (40, 20)).astype(np.float32)
        for block in range(3)
        for name in ("first", "second")
    }
    weights["h.0.empty"] = np.zeros((40, 20), np.float32)
    return analyse(weights, fractal_dimensions=True)


def test_written_then_read_is_the_same(analysis, tmp_path):
    files = write_analysis(analysis, tmp_path / "new" / "folder")
    assert [f.name for f in files] == [
        "analysis.json",
        "groups.parquet",
        "spectra.parquet",
        "fractal_dimensions.parquet",
    ]
    assert sorted(p.name for p in files[0].parent.iterdir()) == sorted(f.name for f in files)
    for source in (files[0], files[0].parent):
        assert read_analysis(source).to_json() == analysis.to_json()


def test_tables(analysis):
    groups = analysis.to_pandas("groups")
    kinds = groups["kind"].value_counts().to_dict()
    assert kinds == {"network": 1, "blocks": 3, "roles": len(analysis.roles), "layers": 7}
    network = groups[groups["kind"] == "network"].iloc[0]
    assert network["alpha_0"] == analysis.network.alpha_0
    assert network["alpha_0_stderr"] == analysis.network.jackknife["alpha_0_stderr"]
    assert np.isnan(groups.set_index("name").loc["h.0.empty", "alpha_0"])
    spectra = analysis.to_pandas("spectra")
    assert len(spectra) == len(groups) * 61
    mine = spectra[spectra["kind"] == "network"]
    assert mine["tau"].tolist() == analysis.network.tau.tolist()
    dimensions = analysis.to_pandas("fractal_dimensions")
    assert len(dimensions) == 7 * 20
    first = analysis.layers[0].name
    found = dimensions[dimensions["layer"] == first]["fractal_dimension"]
    np.testing.assert_array_equal(found, analysis.fractal_dimensions[first])
    with pytest.raises(ValueError, match="table 'weights': can be groups, spectra or"):
        analysis.to_arrow("weights")


def test_what_is_undefined_is_null_in_parquet(analysis, tmp_path):
    write_analysis(analysis, tmp_path)
    table = pq.read_table(tmp_path / "groups.parquet")
    rows = {r["name"]: r for r in table.to_pylist()}
    assert rows["h.0.empty"]["alpha_0"] is None
    assert rows["h.0.empty"]["undefined"].startswith("no neuron has more than 10 edges")


def test_full_disk_leaves_the_old_file_and_no_rubbish(tmp_path):
    path = write_text(tmp_path / "record.json", "old")

    def write_until_full():
        with atomic_file(path) as file:
            file.write(b"half of the new")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(ResourceError) as raised:
        write_until_full()
    assert str(raised.value) == (
        f"{path}: cannot be written (No space left on device); choose another place"
    )
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_below_a_file_is_named(tmp_path):
    path = write_text(tmp_path / "record.json", "a file") / "x" / "y"
    with pytest.raises(ResourceError, match=f"{path}: cannot be written"):
        write_text(path, "text")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema_version": "1.0"}', '{"schema_version": "2.0"}', "\xff"]
)
def test_what_is_no_record_is_refused_by_name(tmp_path, text):
    path = tmp_path / "analysis.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(BadInputError):
        read_analysis(path)


def test_missing_record():
    with pytest.raises(BadInputError, match=r"nowhere\.json: No such file"):
        read_analysis("nowhere.json")


def test_a_record_of_today_is_read_by_tomorrows_version(analysis):
    record = json.loads(analysis.to_json())
    record["schema_version"] = "1.7"
    assert neuromfa.Analysis.from_dict(record).network.alpha_0 == analysis.network.alpha_0
