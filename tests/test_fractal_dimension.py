"""Fractal dimensions of single neurons against the definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import naive
from neuromfa_kernels import ONE_RADIUS, TOO_FEW_EDGES, cpu_dimension, fractal_dimension

ACCURACY = 1e-12  # of slopes of order one, from float64 logarithms


def random_counts(n_radii, n, seed):
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rng.choice([0.02, 1, 30], size=(n_radii, n)))
    near = rng.poisson(rng.choice([0, 0.5, 20], size=(2, n)))
    return counts.astype(np.uint32), near.astype(np.uint32)


def fitted(device, counts, near=None, **options):
    """Fractal dimensions, computed on a device, on the host."""
    near = None if near is None else device.put(near)
    return device.get(fractal_dimension(device.put(counts), near, **options))


@settings(max_examples=80)
@given(
    n_radii=st.integers(1, 30),
    n=st.integers(0, 20),
    seed=st.integers(0, 999),
    with_near=st.booleans(),
    min_neighbours=st.integers(0, 20),
)
def test_equals_the_definition(device, n_radii, n, seed, with_near, min_neighbours):
    counts, near = random_counts(n_radii, n, seed)
    near = near if with_near else None
    found = fitted(device, counts, near, min_neighbours=min_neighbours)
    expected = naive.fractal_dimension(counts, near, min_neighbours)
    np.testing.assert_allclose(found.values, expected, rtol=ACCURACY, atol=ACCURACY)
    assert np.array_equal(found.reason > 0, np.isnan(expected))


def neuron(near, *counts):
    return np.array(counts, np.uint32)[:, np.newaxis], np.array(near, np.uint32)[:, np.newaxis]


@pytest.mark.parametrize(
    ("near", "counts", "reason"),
    [
        ((0, 0), (5, 5, 0), TOO_FEW_EDGES),
        ((0, 1), (5, 5, 0), 0),
        ((1, 0), (5, 5, 0), 0),
        ((0, 0), (0, 11, 0), ONE_RADIUS),
        ((11, 0), (0, 0, 0), ONE_RADIUS),
        ((0, 6), (6, 0, 0), ONE_RADIUS),  # 0.5 < d <= 1 is radius 1 as well
        ((9, 1), (0, 1, 0), 0),
        ((0, 0), (0, 0, 0), TOO_FEW_EDGES),
    ],
)
def test_says_why_it_is_undefined(device, near, counts, reason):
    counts, near = neuron(near, *counts)
    found = fitted(device, counts, near)
    assert found.reason.tolist() == [reason]
    assert np.isnan(found.values[0]) == (reason != 0)


def test_a_neuron_on_a_power_law_has_its_exponent(device):
    within = np.arange(1, 41) ** 2  # N(r) = r^2
    counts = np.diff(within, prepend=1)[:, np.newaxis].astype(np.uint32)
    found = fitted(device, counts[1:])
    assert found.values[0] == pytest.approx(naive.fractal_dimension(counts[1:])[0], abs=ACCURACY)
    near = np.array([[0], [0]], np.uint32)
    exact = np.zeros((40, 1), np.uint32)
    exact[1:, 0] = np.diff(within)
    assert fitted(device, exact, near).values[0] == pytest.approx(2, abs=ACCURACY)


def test_a_neuron_depends_on_itself_only(device):
    counts, near = random_counts(25, 1500, 3)
    whole = fitted(device, counts, near)
    part = fitted(device, counts[:, 700:711], near[:, 700:711])
    assert part.values.tobytes() == whole.values[700:711].tobytes()


def test_threads_and_devices_change_no_bit(device):
    counts, near = random_counts(25, 1500, 3)
    whole = fractal_dimension(counts, near, threads=1)
    many = fractal_dimension(np.ascontiguousarray(counts), near, threads=5)
    for again in (many, fitted(device, counts, near)):
        assert again.values.tobytes() == whole.values.tobytes()
        assert np.array_equal(again.reason, whole.reason)


@pytest.mark.parametrize("edges", [32_766, 32_768, 131_070, 131_072, 4_000_000_000])
def test_counts_beyond_the_table_of_logarithms(device, edges):
    counts = np.array([[3], [edges], [0], [40]], np.uint32)
    expected = naive.fractal_dimension(counts)
    np.testing.assert_allclose(fitted(device, counts).values, expected, rtol=ACCURACY)


def test_logarithms_looked_up_and_taken_have_the_same_bits(monkeypatch):
    counts, near = random_counts(40, 300, 4)
    looked_up = fractal_dimension(counts, near)
    monkeypatch.setattr(cpu_dimension, "TABLE", 41)
    taken = fractal_dimension(counts, near)
    assert looked_up.values.tobytes() == taken.values.tobytes()


def test_more_radii_than_the_table_of_logarithms(device):
    n_radii = cpu_dimension.TABLE + 5
    counts = np.zeros((n_radii, 1), np.uint32)
    counts[[0, 9, n_radii - 1]] = 20
    slope = fitted(device, counts).values
    np.testing.assert_allclose(slope, naive.fractal_dimension(counts), rtol=ACCURACY)


COUNTS = np.ones((4, 3), np.uint32)
WRONG = {
    "near of other neurons": (np.zeros((2, 4), np.uint32), {}, ValueError, r"must be \(2, 3\)"),
    "near is signed": (np.zeros((2, 3), np.int64), {}, TypeError, "near: is int64"),
    "near is a number": (3, {}, TypeError, "near: is int, not an array"),
    "few is negative": (None, {"min_neighbours": -1}, ValueError, "min_neighbours -1"),
    "no threads": (None, {"threads": -1}, ValueError, "threads -1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_refuses(case):
    near, options, error, message = WRONG[case]
    with pytest.raises(error, match=message):
        fractal_dimension(COUNTS, near, **options)
