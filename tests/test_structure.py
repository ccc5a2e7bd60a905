"""Simpler structural measures against the oracle, and that they cost nothing unasked."""

import json
import math

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from safetensors.numpy import save_file

import naive
from neuromfa import Analysis, Protocol, UsageError, analyse, schema
from neuromfa.checkpoint import open_checkpoint
from neuromfa.layers import Map
from neuromfa.spectral_norm import map_norms
from neuromfa.structure import weibull_shape
from neuromfa_kernels import count_neighbours, radius_table
from strategies import weights
from test_controls import model

ROUNDING = 1e-12
LANCZOS = 1e-6
"""What `TOLERANCE` promises for an eigenvalue."""


def measures(tensors, protocol=None, *, full=False, **resources):
    wanted = "full" if full else "simple"
    structure = analyse(tensors, protocol, structure=wanted, **resources).structure
    return structure, {(g["kind"], g["name"]): g for g in structure["groups"]}


@given(matrix=weights(neurons=(2, 3, 31), edges=(11, 40)))
@settings(max_examples=40)
def test_agrees_with_the_oracle(matrix):
    if matrix.dtype == np.float64 or not matrix.any():
        return
    protocol = Protocol(nonfinite="drop")
    _, groups = measures({"a": matrix}, protocol)
    strengths = naive.node_strengths(matrix, 1)
    mean = math.fsum(strengths) / len(strengths)
    variance = math.fsum((s - mean) ** 2 for s in strengths) / (len(strengths) - 1)
    values = matrix.astype(np.float64).ravel().tolist()
    radii = [naive.radius(w, 150) for w in values if w]
    strong = sum(r == "below" or (r != "above" and r <= 10) for r in radii)
    shape = naive.weibull_shape(values, 150)
    for key in (("network", "network"), ("layers", "a")):
        found = groups[key]
        assert found["strength_mean"] == pytest.approx(mean, rel=ROUNDING)
        cv = math.sqrt(variance) / mean
        assert found["strength_cv"] == pytest.approx(cv, rel=1e-6, abs=1e-7)
        assert found["strong_share"] == strong / len(radii)
        if math.isnan(shape):
            assert found["weibull_shape"] is None
        else:
            assert found["weibull_shape"] == pytest.approx(shape, rel=1e-9)


@pytest.mark.parametrize("shape", [0.7, 1.0, 2.0])
def test_weibull_weights_have_their_shape(shape):
    sample = 0.05 * np.random.default_rng(0).weibull(shape, (400_000, 1))
    counts = count_neighbours(sample, radius_table("float64", 150), neuron_axis=1)
    found = weibull_shape(int(counts.dropped[0]), counts.counts[:, 0], len(sample), cutoff=150)
    assert found == pytest.approx(shape, rel=0.02)


def test_normal_weights_lie_above_exponential_ones():
    sample = np.random.default_rng(0).normal(0, 0.05, (400_000, 1))
    counts = count_neighbours(sample, radius_table("float64", 150), neuron_axis=1)
    assert 1 < weibull_shape(0, counts.counts[:, 0], len(sample), cutoff=150) < 1.5


def test_groups_are_those_of_the_analysis_and_add_up():
    tensors = model(0)
    analysis = analyse(tensors, structure="simple")
    keys = [(g["kind"], g["name"]) for g in analysis.structure["groups"]]
    assert keys == [(kind, g.name) for kind, g in analysis.groups()]
    _, groups = measures(tensors)
    per_neuron = [
        s
        for block in range(3)
        for names in (("gate_proj", "up_proj"), ("down_proj",))
        for s in naive.node_strengths(
            np.concatenate([tensors[f"model.layers.{block}.mlp.{n}.weight"] for n in names]), 1
        )
    ]
    found = groups["network", "network"]
    assert found["strength_mean"] == pytest.approx(np.mean(per_neuron))
    sd = np.std(per_neuron, ddof=1)
    assert found["strength_cv"] == pytest.approx(sd / np.mean(per_neuron))


def test_rows_and_columns_are_neurons_as_their_layer_says(tmp_path):
    matrix = np.random.default_rng(0).normal(0, 0.1, (30, 30)).astype(np.float32)
    save_file({"h.0.attn.c_proj.weight": matrix}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')  # stores [in, out]
    _, groups = measures(tmp_path)
    rows = naive.node_strengths(matrix, 0)
    found = groups["roles", "attention_output"]
    cv = np.std(rows, ddof=1) / np.mean(rows)
    assert found["strength_cv"] == pytest.approx(cv, rel=1e-9)


def test_resources_change_no_bit():
    tensors = model(3, neurons=2100)
    one, _ = measures(tensors, threads=1, memory=4 << 20, full=True)
    many, _ = measures(tensors, threads=3, full=True)
    assert one == many


def test_norms_are_those_of_the_matrix():
    tensors = model(0) | {"rows": np.random.default_rng(1).normal(0, 0.1, (200, 17))}
    structure, _ = measures(tensors, full=True)
    assert len(structure["maps"]) == 10
    for entry in structure["maps"]:
        values = np.linalg.svd(tensors[entry["tensor"]].astype(np.float64), compute_uv=False)
        total = float((values**2).sum())
        assert entry["frobenius_norm"] == pytest.approx(math.sqrt(total), rel=ROUNDING)
        assert entry["spectral_norm"] == pytest.approx(values[0], rel=LANCZOS)
        assert entry["stable_rank"] == pytest.approx(total / values[0] ** 2, rel=LANCZOS)


@pytest.mark.parametrize(
    ("matrix", "norm"),
    [
        (np.eye(7), 1.0),
        (np.ones((5, 1)), math.sqrt(5)),
        (np.ones((1, 6)), math.sqrt(6)),
        (np.diag([3.0, 2.0, 0.0]), 3.0),
        (np.zeros((4, 3)), 0.0),
        (np.full((3, 3), 1e-170), 0.0),
        (np.full((3, 3), 1e200), None),
    ],
)
def test_norms_of_hand_made_matrices(matrix, norm):
    with open_checkpoint({"a": matrix}) as checkpoint:
        part = Map("a", 0, len(matrix), matrix.shape[1], 1, 0)
        found = map_norms(checkpoint, part, Protocol())
    assert found["spectral_norm"] == (None if norm is None else pytest.approx(norm, rel=LANCZOS))
    if norm:
        assert found["stable_rank"] == pytest.approx((matrix**2).sum() / norm**2, rel=LANCZOS)
    else:
        assert found["stable_rank"] is None


def test_weights_that_are_not_finite_are_left_out():
    matrix = np.full((20, 5), 0.1)
    matrix[3, 2] = np.nan
    structure, groups = measures({"a": matrix}, Protocol(nonfinite="drop"), full=True)
    assert groups["network", "network"]["strength_mean"] == pytest.approx(0.1 * 99 / 5)
    assert structure["maps"][0]["frobenius_norm"] == pytest.approx(0.1 * math.sqrt(99))


def test_record_has_its_schema_and_survives_it():
    analysis = analyse(model(0), Protocol(distance="relative"), structure="full")
    jsonschema.validate(analysis.to_dict(), schema())
    record = json.loads(analysis.to_json())
    assert Analysis.from_dict(record).to_json() == analysis.to_json()


def test_only_when_asked():
    assert analyse(model(0)).structure is None
    assert analyse(model(0), structure="simple").structure["maps"] is None
    assert set(analyse(model(0), structure="simple").tensor_rms) == set(model(0))
    with pytest.raises(UsageError, match="structure 'some': must be one of simple, full"):
        analyse(model(0), structure="some")
