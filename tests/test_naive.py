"""The oracle itself, against values stored from the authors' own functions and against a pencil."""

import itertools
import json
import math
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from safetensors.numpy import load_file

import naive
import strategies

EXPECTED = Path(__file__).parent / "expected"
CASES = json.loads((EXPECTED / "cases.json").read_text())
FULL = json.loads((EXPECTED / "tiny-neox.full.json").read_text())
CASE_NAMES = sorted(CASES["cases"])

# Two orders of summation and two logarithms: what independent float64 implementations of these
# formulas agree on, with a margin of a factor of a thousand.
ABSOLUTE, RELATIVE = 1e-11, 1e-9


def assert_close(ours, theirs):
    theirs = np.array([float(v) for v in np.atleast_1d(theirs)])  # "nan", "inf" are stored as text
    np.testing.assert_allclose(np.atleast_1d(ours), theirs, rtol=RELATIVE, atol=ABSOLUTE)


def assert_stored_spectrum(counts, q, run):
    Z, _, counted, observed = naive.partition_function(counts, q)
    radii = [r for r in range(1, len(observed) + 1) if observed[r - 1]]
    assert counts.sum() == run["n_edges_in_range"]
    assert (counted, len(radii)) == (run["n_selected"], run["n_radii"])
    assert (radii[0], radii[-1]) == (run["r_min"], run["r_max"])
    at = [CASES["q"].index(v) for v in q]
    tau = naive.mass_exponents(Z, radii, q)
    assert_close(tau, [run["tau"][k] for k in at])
    alpha, f = naive.forward_difference_spectrum(tau, q)
    for k, (here, following) in enumerate(itertools.pairwise(at)):
        if following == here + 1:
            assert_close(alpha[k], run["alpha"][here])
            assert_close(f[k], run["f"][here])
    return alpha


def read(path, name):
    # safetensors' own NumPy reader knows no bfloat16
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    entry = json.loads(raw[8:start])[name]
    dtype = {"F16": np.float16, "F32": np.float32, "BF16": ml_dtypes.bfloat16}[entry["dtype"]]
    first, last = entry["data_offsets"]
    return np.frombuffer(raw[start + first : start + last], dtype).reshape(entry["shape"])


def layer_weights(step, name):
    block, rest = name.split(".", 1)
    checkpoint = EXPECTED / "tiny-neox" / f"step{step}" / "model.safetensors"
    return read(checkpoint, f"gpt_neox.layers.{block}.{rest}.weight")


@pytest.mark.parametrize("cutoff", CASES["thresholds"])
@pytest.mark.parametrize("name", CASE_NAMES)
def test_stored_case(name, cutoff):
    case = CASES["cases"][name]
    run = case["results"][str(cutoff)]
    weights = read(EXPECTED / "cases.safetensors", name)
    assert list(weights.shape) == case["shape"]
    counts, near, dropped = naive.neighbour_counts(weights, cutoff, 1)
    below, above, zeros, nonfinite = dropped
    assert below == run["n_edges_distance_1"] + run["n_edges_distance_lt_1"]
    assert counts.sum() + below + above == run["n_edges"]
    assert (zeros, nonfinite) == (weights.size - run["n_edges"], 0)
    alpha = assert_stored_spectrum(counts, CASES["q"], run)
    assert_close(max(alpha) - min(alpha), run["width"])
    assert_close(alpha[run["alpha0_k"]], run["alpha0"])
    values = naive.fractal_dimension(counts, near)[case["neurons_with_edges"]]
    assert_close(np.nan_to_num(values), run["nfd"])  # the authors store undefined as 0


@pytest.mark.parametrize("run", FULL["runs"], ids=lambda run: f"step{run['step']}")
def test_stored_full_checkpoint(run):
    counts = [
        naive.neighbour_counts(layer_weights(run["step"], name), run["T"], 1)[0]
        for name, _, _ in run["order"]
    ]
    # Every q of the grid takes ten seconds in loops: the ends, and both sides of zero.
    q = [FULL["q"][k] for k in (0, 1, 29, 30, 31, 59, 60)]
    assert_stored_spectrum(np.concatenate(counts, axis=1), q, run)


def test_stored_fractal_dimensions_of_one_layer():
    stored = load_file(EXPECTED / "tiny-neox.full.nfd.safetensors")
    for step in (0, 3000):
        order = next(run["order"] for run in FULL["runs"] if run["step"] == step)
        for name, start, n in (order[1], order[-1]):
            counts, near, _ = naive.neighbour_counts(layer_weights(step, name), 200, 1)
            values = naive.fractal_dimension(counts, near)
            assert_close(values, stored[f"T200/step{step}"][start : start + n])


@pytest.mark.parametrize("name", sorted(CASES["degenerate"]))
def test_stored_degenerate_lists(name):
    case = CASES["degenerate"][name]
    cutoff = case["T"]
    counts = np.zeros((round(cutoff), len(case["lists"])), dtype=np.int64)
    near = np.zeros((2, len(case["lists"])), dtype=np.int64)
    for i, distances in enumerate(case["lists"]):
        for d in distances:
            if 1 < d <= cutoff:
                counts[round(d) - 1, i] += 1
            elif d <= 1:
                near[0 if d <= 0.5 else 1, i] += 1
    Z, _, counted, observed = naive.partition_function(counts, CASES["q"])
    radii = [r for r in range(1, len(observed) + 1) if observed[r - 1]]
    if case["tau"]:
        tau = naive.mass_exponents(Z, radii, CASES["q"])
        assert_close(tau, case["tau"])
        assert_close(naive.forward_difference_spectrum(tau, CASES["q"])[0], case["alpha"])
    else:
        assert (counted, radii) == (0, [])
    assert_close(np.nan_to_num(naive.fractal_dimension(counts, near)), case["nfd"])


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        (0.0, "zero"),
        (-0.0, "zero"),
        (math.nan, "nonfinite"),
        (-math.inf, "nonfinite"),
        (1.0, "below"),  # strict: d = 1 is outside
        (-2.0, "below"),
        (math.nextafter(1.0, 0.0), 1),
        (1 / 1.5, 2),  # half to even
        (-1 / 2.5, 2),
        (1 / 3.5, 4),
        (float(np.float32(2 / 3)), 1),  # d = 1.49999999553
        (float(np.float16(2 / 3)), 2),  # d = 1.50037
        (1 / 128, 128),
        (1 / 150, 150),  # inclusive: d = T counts
        (math.nextafter(1 / 150, 0.0), 150),  # the quotient decides, and it rounds to 150
        (math.nextafter(math.nextafter(1 / 150, 0.0), 0.0), "above"),
        (5e-324, "above"),  # 1/|w| overflows
    ],
)
def test_radius_by_pencil(weight, expected):
    assert naive.radius(weight, 150) == expected


def test_spectrum_by_pencil():
    # One neuron, N(20) = 7 and N(40) = 12: tau(q) = q ln(12/7)/ln 2, so alpha is constant, f = 0.
    counts = np.zeros((40, 1), dtype=np.int64)
    counts[19], counts[39] = 6, 5
    q = [-1.0, 0.0, 2.0]
    Z, Z_log, counted, observed = naive.partition_function(counts, q)
    exponent = math.log(12 / 7) / math.log(2)
    assert counted == 1
    assert (Z[1] == 1).all()
    assert np.flatnonzero(observed).tolist() == [19, 39]
    assert_close(naive.mass_exponents(Z, [20, 40], q), [-exponent, 0, 2 * exponent])
    alpha, f, alpha_0, width = naive.spectrum(Z, Z_log, [20, 40], q)
    assert_close(alpha, [exponent] * 3)
    assert_close(f, [0, 0, 0])
    assert_close([alpha_0, width], [exponent, 0])
    assert_close(naive.fractal_dimension(counts), exponent)


def test_alpha_is_the_derivative_of_tau():
    counts, _, _ = naive.neighbour_counts(
        read(EXPECTED / "cases.safetensors", "normal.f32"), 150, 1
    )
    step = 1e-4
    q = [-1.5, -1.5 + step, -1.5 + 2 * step]
    Z, Z_log, _, observed = naive.partition_function(counts, q)
    radii = [r for r in range(1, 151) if observed[r - 1]]
    tau = naive.mass_exponents(Z, radii, q)
    alpha = naive.spectrum(Z, Z_log, radii, q)[0]
    # Central difference: truncation step**2/6 tau''' and rounding 1e-15/step, both below 1e-9.
    assert (tau[2] - tau[0]) / (q[2] - q[0]) == pytest.approx(alpha[1], abs=1e-8)


@settings(max_examples=40)
@given(strategies.weights(cutoff=10.0, nonfinite=True))
def test_every_weight_has_one_class(weights):
    for axis in (0, 1):
        counts, near, dropped = naive.neighbour_counts(weights, 10.0, axis)
        assert counts.sum() + dropped.sum() == weights.size
        assert near.sum() == dropped[0]
        assert counts.shape == (10, weights.shape[axis])
