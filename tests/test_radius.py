"""The radius table against the definition: every short code, every bound of the long ones."""

import pickle
from functools import cache

import ml_dtypes
import numpy as np
import pytest

import naive
from neuromfa_kernels import count_neighbours, radius_table
from strategies import DTYPES, awkward_values

SHORT = [d for d in DTYPES if d.itemsize <= 2]
LONG = [d for d in DTYPES if d.itemsize > 2]
CUTOFFS = (1.0001, 1.5, 2, 149.5, 150, 150.5, 150.500001, 1000, 4000)
FACTORS = (0.3, 1.7071067811865475, 50.0, 1e-5, 3e4, 1e-46, 1e40, 1e-308, 5e-324, 1.7e308)
"""Near one, as rescaling has them, and so extreme that products underflow, overflow, or no value
of a type is in range."""


def values(codes, dtype):
    with np.errstate(invalid="ignore"):
        return np.asarray(codes, f"u{dtype.itemsize}").view(dtype).astype(np.float64)


@cache
def positive_values(dtype):
    return values(np.arange(1 << (8 * dtype.itemsize - 1)), dtype).tolist()


def bin_by_definition(weight, table):
    radius = naive.radius(weight, table.cutoff, table.factor)
    if radius == "below":
        return 1 if naive.distance(weight, table.factor) <= 0.5 else 2
    named = {"nonfinite": 0, "above": table.above, "zero": table.zero}
    return named[radius] if isinstance(radius, str) else radius + 2


TABLES = pytest.mark.parametrize(
    ("cutoff", "factor"), [*((c, 1.0) for c in CUTOFFS), *((150, f) for f in FACTORS), (1.5, 50.0)]
)


@TABLES
@pytest.mark.parametrize("dtype", SHORT, ids=str)
def test_every_short_code(dtype, cutoff, factor):
    table = radius_table(dtype, cutoff, factor)
    expected = [bin_by_definition(w, table) for w in positive_values(dtype)]
    assert table.bins(np.arange(len(expected))).tolist() == expected


@TABLES
@pytest.mark.parametrize("dtype", LONG, ids=str)
def test_every_bound_and_its_neighbours(dtype, cutoff, factor):
    table = radius_table(dtype, cutoff, factor)
    unsigned = np.dtype(f"u{dtype.itemsize}")
    bounds = table.bounds.astype(unsigned)
    codes = np.concatenate([bounds - unsigned.type(1), bounds, bounds + unsigned.type(1)])
    expected = [bin_by_definition(w, table) for w in values(codes, dtype).tolist()]
    assert table.bins(codes).tolist() == expected
    if factor != 1:  # some classes may have no member: their bound is the next class's
        return
    # one bound between any two classes that have members
    changes = table.bins(bounds - unsigned.type(1)) > table.bins(bounds)
    assert changes.all()
    assert table.bins(np.zeros(1, unsigned))[0] == table.zero


@pytest.mark.parametrize(("cutoff", "n_radii"), [(1.2, 1), (2.5, 2), (3.5, 4), (150.5, 150)])
def test_largest_radius_is_the_cutoff_rounded_half_to_even(cutoff, n_radii):
    assert radius_table("float32", cutoff).n_radii == n_radii == round(cutoff)


def test_is_made_once_frozen_and_survives_a_journey():
    table = radius_table("float32", 150)
    assert radius_table(np.float32, 150.0) is table
    assert not table.bounds.flags.writeable
    with pytest.raises(AttributeError):
        table.cutoff = 2.0
    arrived = pickle.loads(pickle.dumps(table))
    assert arrived == table
    assert hash(arrived) == hash(table)
    assert (arrived.bounds == table.bounds).all()


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_counting_uses_the_factor(dtype, factor):
    with np.errstate(all="ignore"):
        weights = (0.02 / factor * np.random.default_rng(0).normal(size=(64, 5))).astype(dtype)
    weights[~np.isfinite(weights)] = 0
    weights[::7] = np.random.default_rng(1).choice(awkward_values(dtype, 150), size=(10, 5))
    found = count_neighbours(weights, radius_table(dtype, 150, factor), neuron_axis=1)
    expected = naive.neighbour_counts(weights, 150, 1, factor)
    for mine, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine, other)


def test_factor_distinguishes_tables():
    assert radius_table("float32", 150, 2.0) is radius_table("float32", 150, 2)
    assert radius_table("float32", 150, 2.0) != radius_table("float32", 150)


@pytest.mark.parametrize("factor", [0, -1, float("nan"), float("inf")])
def test_refuses_other_factors(factor):
    with pytest.raises(ValueError, match="must be positive and finite"):
        radius_table("float32", 150, factor)


@pytest.mark.parametrize(
    "dtype", ["int8", ">f4", ml_dtypes.float8_e4m3fnuz, "complex64", "longdouble"]
)
def test_refuses_other_types(dtype):
    with pytest.raises(TypeError, match=r"dtype .* can be float64"):
        radius_table(dtype, 150)


@pytest.mark.parametrize("cutoff", [1, 0, -3, 4000.5, float("nan"), float("inf")])
def test_refuses_other_cutoffs(cutoff):
    with pytest.raises(ValueError, match="must be above 1 and at most 4000"):
        radius_table("float32", cutoff)
