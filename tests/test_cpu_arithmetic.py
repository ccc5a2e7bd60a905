"""Distances on the CPU: float32 where it is exact or sure, float64 where it is not."""

import numpy as np
import pytest

from neuromfa_kernels import count_neighbours, cpu_counts, radius_table
from neuromfa_kernels.cpu_slots import LANES
from strategies import DTYPES

HALVES = [d for d in DTYPES if d.itemsize == 2]
INEXACT = 1.7071067811865475
"""With this factor float32 puts some float16 near the cutoff 4,000 into a wrong bin."""


@pytest.fixture(params=["proven", "refused"])
def arithmetic(request, monkeypatch):
    if request.param == "refused":
        monkeypatch.setattr(cpu_counts, "_float32_is_exact", lambda *_: False)
    cpu_counts._plan.cache_clear()
    yield request.param
    cpu_counts._plan.cache_clear()


def assert_bins(found, table, codes):
    bins = np.bincount(table.bins(codes), minlength=table.n_bins)
    assert found.counts[:, 0].tolist() == bins[3 : table.above].tolist()
    assert found.near[:, 0].tolist() == bins[1:3].tolist()
    dropped = [bins[1:3].sum(), bins[table.above], bins[table.zero], bins[0]]
    assert found.dropped.tolist() == dropped


@pytest.mark.parametrize("factor", [1.0, 0.73, 1 / 3, INEXACT, 37.5, 1e-3])
@pytest.mark.parametrize("cutoff", [2, 150, 1000, 4000])
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_every_code_with_any_factor(arithmetic, dtype, cutoff, factor):
    table = radius_table(dtype, cutoff, factor)
    codes = np.arange(1 << 15, dtype=np.uint16)
    found = count_neighbours(codes.view(dtype)[None], table, neuron_axis=0)
    assert_bins(found, table, codes)


@pytest.mark.parametrize("factor", [1.0, 0.73, 1 / 3, INEXACT, 1e-44, 1e-30, 1e38, 1e44])
@pytest.mark.parametrize("cutoff", [1.25, 150, 1000, 4000])
@pytest.mark.parametrize("dtype", [np.dtype("f4"), np.dtype("f8")], ids=str)
def test_near_every_bound_with_any_factor(dtype, cutoff, factor):
    table = radius_table(dtype, cutoff, factor)
    unsigned = np.dtype(f"u{dtype.itemsize}")
    steps = np.arange(-3, 4).astype(np.int64)  # as far as roundings in float32 could lead
    codes = (table.bounds.astype(np.int64)[:, None] + steps).ravel()
    codes = codes[(codes >= 0) & (codes < 1 << (8 * dtype.itemsize - 1))].astype(unsigned)
    # one in a vector, beside a sure one: float64 is used for all of a vector or for none
    alone = np.full((len(codes), LANES), (table.bounds[2] + table.bounds[3]) // 2, unsigned)
    alone[:, 5] = codes
    found = count_neighbours(alone.view(dtype).reshape(1, -1), table, neuron_axis=0)
    assert_bins(found, table, alone.ravel())


def test_a_factor_that_float32_cannot_hold_is_not_held_there():
    assert isinstance(cpu_counts._plan(radius_table("float32", 150, 1e38))[0][1], np.float32)
    for factor in (1e-44, 1e44):
        kind = cpu_counts._plan(radius_table("float32", 150, factor))[0]
        assert isinstance(kind[1], np.float64)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_the_usual_table_needs_no_float64(dtype):
    kind = cpu_counts._plan(radius_table(dtype, 150.0))[0]
    assert isinstance(kind[1], np.float32)


def test_where_float32_is_not_exact_it_is_not_used():
    kind = cpu_counts._plan(radius_table("float16", 4000, INEXACT))[0]
    assert isinstance(kind[1], np.float64)
