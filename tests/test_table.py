"""The table of measurements in the README: made from the recorded rows and from nothing else."""

import importlib.util
import json
import sys
from pathlib import Path
from unittest import mock

import pytest

ROOT = Path(__file__).parent.parent
SPEC = importlib.util.spec_from_file_location("table", ROOT / "bench" / "table.py")
table = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(table)

KERNEL = {
    "kind": "kernel",
    "what": "count_neighbours",
    "dtype": "bfloat16",
    "layout": "columns",
    "seconds": 0.012345,
    "gbytes_per_s": 12.3456,
    "share": 0.875,
    "peer": "numpy",
    "ratio": 1234.5,
    "commit": "0123456789ab+",
    "machine": "a machine, 2 processors",
    "date": "2026-11-25T09:00:00+00:00",
}
PIPELINE = KERNEL | {
    "kind": "pipeline",
    "what": "analysis of a checkpoint",
    "bytes": 2_000_000_000,
    "private_bytes": 64_000_000,
    "share": None,
    "ratio": None,
}
README = "# x\n\n<!-- table -->\nold\n<!-- /table -->\n\nend\n"


def lines(*rows):
    return [json.dumps(row) for row in rows]


def test_rows_become_a_table():
    text = table.filled(README, table.last_rows(lines(KERNEL, PIPELINE)))
    assert "old" not in text
    assert text.startswith(
        "# x\n\n<!-- table -->\na machine, 2 processors; commit 0123456789ab+; 2026"
    )
    assert text.endswith("|\n<!-- /table -->\n\nend\n")
    assert (
        "| count_neighbours (bfloat16, columns) | 0.0123 | 12.3 | 88% | 1,234 times numpy |" in text
    )
    assert (
        "| analysis of a checkpoint (bfloat16, columns): 2.00 GB, 64 MB private memory "
        "| 0.0123 | 12.3 | not measured | not measured |" in text
    )
    assert table.filled(text, table.last_rows(lines(KERNEL, PIPELINE))) == text


def test_last_measurement_of_a_thing_counts():
    rows = table.last_rows(lines(KERNEL, PIPELINE, KERNEL | {"seconds": 7.0}))
    assert [row["seconds"] for row in rows] == [7.0, PIPELINE["seconds"]]
    another = {"machine": {"cpu": "another", "cores": "4 cores"}, "date": "2026-12-01T00:00"}
    text = table.table(table.last_rows(lines(KERNEL, KERNEL | another)))
    assert text.count("| what |") == 2
    assert "another, 4 cores; commit 0123456789ab+; 2026-12-01\n" in text


def test_what_makes_no_sense_has_a_dash():
    row = {k: v for k, v in KERNEL.items() if k not in {"share", "gbytes_per_s", "dtype", "layout"}}
    assert "| count_neighbours | 0.0123 | - | - | 1,234 times numpy |" in table.table([row])


def test_nothing_measured_says_so():
    assert "Not measured yet." in table.filled(README, [])


@pytest.mark.parametrize("row", [{}, {"kind": "guess"}, KERNEL | {"kind": None}])
def test_unknown_kind_is_an_error(row):
    with pytest.raises(ValueError, match="line 2: kind"):
        table.last_rows(lines(KERNEL, row))


@pytest.mark.parametrize("readme", ["no marker", README + README])
def test_markers_must_be_there_once(readme):
    with pytest.raises(ValueError, match="must be once"):
        table.filled(readme, [])


def test_check_tells_and_writes_nothing(tmp_path, capsys):
    readme, results = tmp_path / "README.md", tmp_path / "results.jsonl"
    readme.write_text(README)
    results.write_text("\n".join(lines(KERNEL)) + "\n")
    with mock.patch.multiple(table, README=readme, RESULTS=results):
        with mock.patch.object(sys, "argv", ["table.py", "--check"]):
            assert table.main() == 1
        assert "not that of" in capsys.readouterr().out
        assert readme.read_text() == README
        with mock.patch.object(sys, "argv", ["table.py"]):
            assert table.main() == 0
        with mock.patch.object(sys, "argv", ["table.py", "--check"]):
            assert table.main() == 0


def test_readme_is_up_to_date():
    with mock.patch.object(sys, "argv", ["table.py", "--check"]):
        assert table.main() == 0, "run bench/table.py"
