"""The arithmetic of distances on GPUs: exact for every code, or refused by name."""

import numpy as np
import pytest

from conftest import missing_gpu
from neuromfa_kernels import count_neighbours, cuda_counts, radius_table
from neuromfa_kernels.cuda_driver import Driver
from simt import SimtDriver, needs_compiler
from strategies import DTYPES
from test_cuda_counts import assert_same, counted, kernels, sample

pytestmark = needs_compiler


@pytest.fixture
def unchecked(monkeypatch):
    monkeypatch.setattr(cuda_counts, "_checked", set())


PROVEN = [("bfloat16", 4000), ("bfloat16", 150), ("float16", 1024), ("float16", 150)]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("error", [-3, 3])
@pytest.mark.parametrize(("name", "cutoff"), [*PROVEN, ("float32", 4000), ("float32", 150.5)])
def test_arithmetic_is_exact_with_an_inexact_reciprocal(name, cutoff, error):
    dtype = next(d for d in DTYPES if d.name == name)
    driver = SimtDriver(defines={"RECIPROCAL_ERROR": error})
    table = radius_table(dtype, cutoff)
    cuda_counts.check_arithmetic(table, driver)
    weights = sample(dtype, (64, 64))
    expected = count_neighbours(weights, table, neuron_axis=1)
    assert_same(counted(weights, table, driver=driver), expected)


@pytest.mark.parametrize("error", [-3, 3])
@pytest.mark.parametrize("cutoff", [150, 4000])
def test_arithmetic_of_float32_is_exact_beyond_its_bounds(cutoff, error):
    table = radius_table("float32", cutoff)
    codes = np.random.default_rng(4).integers(0, 1 << 31, 20_000).astype(np.uint64)
    first, last = int(table.bounds[table.n_radii + 2]), int(table.bounds[1])
    step = (last - first) // 150_000  # all over the range that counts
    codes = np.concatenate([codes, np.arange(first, last, step, dtype=np.uint64)])
    driver = SimtDriver(defines={"RECIPROCAL_ERROR": error})
    assert cuda_counts.wrong_bins(codes, table, driver) == 0


@pytest.mark.gpu
@pytest.mark.parametrize("cutoff", [150, 1000])
def test_arithmetic_of_float32_is_exact_for_every_value(cutoff):
    if missing_gpu():
        pytest.skip(missing_gpu())
    table = radius_table("float32", cutoff)
    ends = int(table.bounds[table.n_radii + 2]) - 1000, int(table.bounds[1]) + 1000
    for first in range(*ends, 1 << 24):
        codes = np.arange(first, min(first + (1 << 24), ends[1]), dtype=np.uint64)
        assert cuda_counts.wrong_bins(codes, table, Driver(0)) == 0


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ["bfloat16", "float16", "float32"])
def test_a_gpu_that_computes_wrongly_is_named(name):
    dtype = next(d for d in DTYPES if d.name == name)
    driver = SimtDriver(defines={"RECIPROCAL_ERROR": "(1<<21)"})
    with pytest.raises(RuntimeError, match=f"simulated GPU.*{name} values a wrong radius"):
        counted(sample(dtype, (8, 8)), radius_table(dtype, 150), driver=driver)


@pytest.mark.usefixtures("unchecked")
def test_a_gpu_is_checked_once_for_each_table():
    driver = SimtDriver()
    weights = sample("float32", (8, 8))
    for cutoff in (150, 150, 200, 150):
        counted(weights, radius_table("float32", cutoff), driver=driver)
    assert [name for name, *_ in driver.launches].count("check_float32") == 2


def test_large_radii_of_float16_are_looked_up():
    driver = SimtDriver()
    counted(sample("float16", (8, 8)), radius_table("float16", 1025), driver=driver)
    assert kernels(driver) == ["any_2"]
