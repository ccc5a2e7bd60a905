"""Types of 16 bits on the CPU: float32 where it is exact, float64 where it is not."""

import numpy as np
import pytest

from neuromfa_kernels import count_neighbours, cpu_counts, radius_table
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


@pytest.mark.parametrize("factor", [1.0, 0.73, 1 / 3, INEXACT, 37.5, 1e-3])
@pytest.mark.parametrize("cutoff", [2, 150, 1000, 4000])
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_every_code_with_any_factor(arithmetic, dtype, cutoff, factor):
    table = radius_table(dtype, cutoff, factor)
    codes = np.arange(1 << 15, dtype=np.uint16)
    found = count_neighbours(codes.view(dtype)[None], table, neuron_axis=0)
    bins = np.bincount(table.bins(codes), minlength=table.n_bins)
    assert found.counts[:, 0].tolist() == bins[3 : table.above].tolist()
    assert found.near[:, 0].tolist() == bins[1:3].tolist()
    assert found.dropped.tolist() == [
        bins[1:3].sum(),
        bins[table.above],
        bins[table.zero],
        bins[0],
    ]


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_the_usual_table_needs_no_float64(dtype):
    kind = cpu_counts._plan(radius_table(dtype, 150.0))[0]
    assert isinstance(kind[1], np.float32)


def test_where_float32_is_not_exact_it_is_not_used():
    kind = cpu_counts._plan(radius_table("float16", 4000, INEXACT))[0]
    assert isinstance(kind[1], np.float64)
