"""The degree of emergence: by pencil, with its errors, and on a trained model."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import naive
from neuromfa import (
    Analysis,
    Emergence,
    Protocol,
    UsageError,
    analyse,
    degree_of_emergence,
    measure_controls,
    measure_emergence,
)
from test_controls import model

TINY = Path(__file__).parent / "expected" / "tiny-neox"


@pytest.fixture(scope="module")
def series():
    return {f"step{step}": analyse(TINY / f"step{step}") for step in (0, 64, 3000)}


@pytest.fixture(scope="module")
def controls():
    steps = ("step0", "step3000")
    return {s: measure_controls(TINY / s, TINY / "step0", replicates=3) for s in steps}


@pytest.fixture(scope="module")
def course(series, controls):
    return measure_emergence(series, controls=controls)


def test_by_pencil():
    assert degree_of_emergence(2.0, 1.0, 1.0, math.e) == pytest.approx(2.0)
    assert degree_of_emergence(0.7, 0.9, 0.7, 0.9) == 0


@pytest.mark.parametrize(
    "numbers", [(math.nan, 1, 1, 1), (1, 0, 1, 1), (1, 1, 0, 1), (1, 1, 1, -1), (1, 1, 1, math.nan)]
)
def test_undefined_is_not_a_number(numbers):
    assert math.isnan(degree_of_emergence(*numbers))


def test_a_trained_model(course):
    first, middle, last = course.network.points
    assert first["E"] == first["E_stderr"] == 0
    assert middle["E"] == pytest.approx(0.0352, abs=1e-4)
    assert last["E"] == pytest.approx(0.3225, abs=1e-4)
    assert last["undefined"] is last["stderr_undefined"] is None
    # most of it is growth of the weights
    found = {name: control["E"] for name, control in last["controls"].items()}
    assert found["scale"] == pytest.approx(0.253, abs=1e-3)
    assert found["shape"] == pytest.approx(0.207, abs=5e-3)
    assert found["scale_free"] == pytest.approx(-0.018, abs=1e-3)
    assert middle["controls"] is middle["nulls"] is None
    assert last["nulls"]["shuffled"]["width"]["z"] > 10


def test_every_block_and_role_agrees_with_the_oracle(series, course):
    groups = {(kind, g.name): g for kind, g in series["step3000"].groups()}
    start = {(kind, g.name): g for kind, g in series["step0"].groups()}
    assert len(course.groups) == 1 + 6 + 4
    for group in course.groups:
        own, first = groups[group.kind, group.name], start[group.kind, group.name]
        numbers = own.width, own.alpha_0, first.width, first.alpha_0
        assert group.points[2]["E"] == pytest.approx(naive.degree_of_emergence(*numbers))
        assert course.group(group.kind, group.name) is group


def test_errors_leave_the_same_block_out_of_both(course):
    def without(step, block):
        tensors = load_file(TINY / step / "model.safetensors")
        kept = {k: w for k, w in tensors.items() if f"layers.{block}." not in k}
        network = analyse(kept).network
        return network.width, network.alpha_0

    degrees = [
        naive.degree_of_emergence(*without("step3000", k), *without("step0", k)) for k in range(6)
    ]
    expected = math.sqrt(5 / 6 * sum((e - np.mean(degrees)) ** 2 for e in degrees))
    assert course.network.points[2]["E_stderr"] == pytest.approx(expected, rel=1e-9)


def test_a_block_is_one_part(course):
    point = course.group("blocks", "3").points[2]
    assert math.isfinite(point["E"])
    assert math.isnan(point["E_stderr"])
    assert point["stderr_undefined"] == "a group of fewer than two parts has no jackknife"


def test_record_survives_its_json(course):
    record = json.loads(course.to_json())
    assert Emergence.from_dict(record).to_json() == course.to_json()
    assert record["baseline"] == "step0"
    assert record["groups"][0]["points"][1]["controls"] is None


def test_any_baseline(series):
    found = measure_emergence(list(series.values()), baseline=series["step64"].source)
    assert found.baseline.endswith("step64")
    assert found.network.points[1]["E"] == 0
    numbers = [
        getattr(series[step].network, of)
        for step in ("step0", "step64")
        for of in ("width", "alpha_0")
    ]
    assert found.network.points[0]["E"] == pytest.approx(naive.degree_of_emergence(*numbers))


def test_what_is_undefined_says_why(series):
    empty = {k: np.full_like(w, 1e-4) for k, w in model(0).items()}
    found = measure_emergence({"start": analyse(model(0)), "end": analyse(empty)})
    point = found.network.points[1]
    assert math.isnan(point["E"])
    assert point["undefined"] == "the checkpoint has no exponents"
    found = measure_emergence({"a": series["step0"], "b": analyse(model(0))})
    missing = found.group("blocks", "5").points[1]
    assert missing["undefined"] == "the checkpoint has no such group"
    assert found.network.points[1]["stderr_undefined"].endswith("have not the same parts")


def test_an_older_record_has_no_errors_of_emergence(series):
    record = series["step3000"].to_dict()
    for name in ("left_out", "alpha_0", "width"):
        del record["network"]["jackknife"][name]
    del record["protocol"]["distance"], record["protocol"]["relative_scale"]
    found = measure_emergence({"a": series["step0"], "b": Analysis.from_dict(record)})
    point = found.network.points[1]
    assert math.isnan(point["E_stderr"])
    assert point["stderr_undefined"] == "the analysis was written without its jackknife replicates"


def test_what_does_not_belong_together_is_refused(series, controls):
    with pytest.raises(UsageError, match="no analyses"):
        measure_emergence([])
    with pytest.raises(UsageError, match="step1 is none of step0, step64, step3000"):
        measure_emergence(series, baseline="step1")
    with pytest.raises(UsageError, match="two analyses have the same source"):
        measure_emergence([series["step0"], series["step0"]])
    other = analyse(TINY / "step64", Protocol(cutoff=100))
    with pytest.raises(UsageError, match="different protocols"):
        measure_emergence(series | {"step64": other})
    with pytest.raises(UsageError, match="whose weights are others"):
        measure_emergence(series, controls={"step64": controls["step3000"]})
    wrong = replace(controls["step0"], protocol=other.protocol)
    with pytest.raises(UsageError, match="under another protocol"):
        measure_emergence(series, controls={"step0": wrong})
