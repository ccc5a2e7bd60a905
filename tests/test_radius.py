"""The radius table against the definition: every short code, every bound of the long ones."""

import pickle
from functools import cache

import ml_dtypes
import numpy as np
import pytest

import naive
from neuromfa_kernels import radius_table
from strategies import DTYPES

SHORT = [d for d in DTYPES if d.itemsize <= 2]
LONG = [d for d in DTYPES if d.itemsize > 2]
CUTOFFS = (1.0001, 1.5, 2, 149.5, 150, 150.5, 150.500001, 1000, 4000)


def values(codes, dtype):
    with np.errstate(invalid="ignore"):
        return np.asarray(codes, f"u{dtype.itemsize}").view(dtype).astype(np.float64)


@cache
def positive_values(dtype):
    return values(np.arange(1 << (8 * dtype.itemsize - 1)), dtype).tolist()


def bin_by_definition(weight, table):
    radius = naive.radius(weight, table.cutoff)
    if radius == "below":
        return 1 if naive.distance(weight) <= 0.5 else 2
    named = {"nonfinite": 0, "above": table.above, "zero": table.zero}
    return named[radius] if isinstance(radius, str) else radius + 2


@pytest.mark.parametrize("cutoff", CUTOFFS)
@pytest.mark.parametrize("dtype", SHORT, ids=str)
def test_every_short_code(dtype, cutoff):
    table = radius_table(dtype, cutoff)
    expected = [bin_by_definition(w, table) for w in positive_values(dtype)]
    assert table.bins(np.arange(len(expected))).tolist() == expected


@pytest.mark.parametrize("cutoff", CUTOFFS)
@pytest.mark.parametrize("dtype", LONG, ids=str)
def test_every_bound_and_its_neighbours(dtype, cutoff):
    table = radius_table(dtype, cutoff)
    unsigned = np.dtype(f"u{dtype.itemsize}")
    bounds = table.bounds.astype(unsigned)
    codes = np.concatenate([bounds - unsigned.type(1), bounds, bounds + unsigned.type(1)])
    expected = [bin_by_definition(w, table) for w in values(codes, dtype).tolist()]
    assert table.bins(codes).tolist() == expected
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
