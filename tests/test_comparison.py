"""Two analyses side by side: the structure distance, the record and the verb."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import naive
from neuromfa import Protocol, UsageError, analyse, compare, structure_distance, write_analysis
from test_controls import model

TINY = Path(__file__).parent / "expected" / "tiny-neox"


@pytest.fixture(scope="module")
def pair():
    return analyse(TINY / "step0"), analyse(TINY / "step3000")


def neuromfa_cli(*arguments):
    command = [sys.executable, "-m", "neuromfa", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_structure_distance_is_the_oracles(pair):
    a, b = (analysis.network for analysis in pair)
    expected = naive.structure_distance(a.generalised_dimension, b.generalised_dimension)
    assert structure_distance(a, b) == structure_distance(b, a) == pytest.approx(expected)
    assert structure_distance(a, a) == 0


def test_only_common_moments_count(pair):
    other = analyse(TINY / "step3000", Protocol(q=(-7.0, -1.0, 0.0, 2.0)))
    at = np.isin(pair[0].network.q, (-1.0, 0.0, 2.0))
    mine = pair[0].network.generalised_dimension[at]
    expected = naive.structure_distance(mine, other.network.generalised_dimension[1:])
    found = compare(pair[0], other)
    assert found.q == (-1.0, 0.0, 2.0)
    assert found.groups[0]["structure_distance"] == pytest.approx(expected)
    nothing = analyse(TINY / "step3000", Protocol(q=(-7.0,)))
    assert math.isnan(structure_distance(pair[0].network, nothing.network))


def test_groups_side_by_side(pair):
    record = compare(*pair).to_dict()
    assert [g["kind"] for g in record["groups"]] == ["network"] + ["roles"] * 4 + ["blocks"] * 6
    network = record["groups"][0]
    assert network["a"]["alpha_0"] == pair[0].network.alpha_0
    assert network["b"]["width_stderr"] == pair[1].network.jackknife["width_stderr"]
    difference = pair[1].network.width - pair[0].network.width
    assert network["difference"]["width"] == difference
    assert record["groups"][-1]["a"]["alpha_0_stderr"] is None
    assert record["a"]["content_hash"] == pair[0].provenance["content_hash"]


def test_what_only_one_has_is_listed(pair):
    found = compare(pair[0], analyse(model(0)))
    assert {g["name"] for g in found.only_a} == {"attention_input", "attention_output", *"345"}
    assert found.only_b == ()


def test_other_protocols_are_refused(pair):
    other = analyse(TINY / "step0", Protocol(cutoff=100))
    with pytest.raises(UsageError, match=r"with cutoff 150\.0 and .* with 100\.0"):
        compare(pair[0], other)


def test_verb_takes_checkpoints_and_analyses(pair, tmp_path):
    write_analysis(pair[0], tmp_path / "a")
    done = neuromfa_cli("compare", tmp_path / "a", TINY / "step3000", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == json.loads(compare(*pair).to_json())
    done = neuromfa_cli("compare", tmp_path / "a" / "analysis.json", tmp_path / "a")
    assert done.returncode == 0
    for text in ("role mlp_hidden", "block 5", "1.2623 ± 0.0006", "both have the same weights"):
        assert text in done.stdout
    done = neuromfa_cli("compare", tmp_path / "a", TINY / "step3000", "--cutoff", "99")
    assert done.returncode == 2
    assert "analyse both under one protocol" in done.stderr
