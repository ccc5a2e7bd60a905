"""Codes of 8 bits on the CPU: any width, place in memory, number of batches and processor."""

import hashlib
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from neuromfa_kernels import NeighbourCounts, count_neighbours, cpu_codes, radius_table
from strategies import DTYPES

BYTES = [d for d in DTYPES if d.itemsize == 1]


def by_table(weights, table, axis):
    """Counts by the table, bin by bin."""
    bins = table.bins(weights.view(np.uint8) & 127)
    bins = bins if axis == 1 else bins.T
    counts = np.array([(bins == b).sum(axis=0) for b in range(table.n_bins)])
    totals = counts.sum(axis=1)
    dropped = [totals[1] + totals[2], totals[table.above], totals[table.zero], totals[0]]
    return NeighbourCounts(counts[3 : table.above], counts[1:3], np.array(dropped))


def every_code(shape, dtype, offset=0):
    """All codes, at an address that is `offset` more than a multiple of 64."""
    n = shape[0] * shape[1]
    room = np.empty(n + 128, np.uint8)
    first = -room.ctypes.data % 64 + offset
    codes = room[first : first + n].reshape(shape)
    codes[:] = np.random.default_rng(n).integers(0, 256, shape)
    return codes.view(dtype)


def assert_same(found, expected):
    for mine, other in zip(found, expected, strict=True):
        assert np.array_equal(mine, other)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("neurons", [1, 7, 8, 9, 64, 65, 511, 512, 513, 1100])
@pytest.mark.parametrize("edges", [1, 63, 64, 65, 200])
def test_any_shape(edges, neurons, axis):
    shape = (edges, neurons) if axis == 1 else (neurons, edges)
    weights = every_code(shape, BYTES[0], offset=(edges + neurons) % 64)
    table = radius_table(BYTES[0], 150)
    found = count_neighbours(weights, table, neuron_axis=axis)
    assert_same(found, by_table(weights, table, axis))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("factor", [1.0, 1e-4, 3e-3, 0.2, 1e3])
@pytest.mark.parametrize("cutoff", [1.5, 20, 150, 4000])
@pytest.mark.parametrize("dtype", BYTES, ids=str)
def test_any_bounds(dtype, cutoff, factor, axis):
    table = radius_table(dtype, cutoff, factor)
    weights = every_code((96, 600) if axis == 1 else (600, 96), dtype)
    found = count_neighbours(weights, table, neuron_axis=axis)
    assert_same(found, by_table(weights, table, axis))


@pytest.mark.parametrize("axis", [0, 1])
def test_sums_that_are_full_are_read_and_begun_again(monkeypatch, axis):
    monkeypatch.setattr(cpu_codes, "MOST_BATCHES", 4)
    weights = every_code((2600, 9) if axis == 1 else (9, 2600), BYTES[0])
    table = radius_table(BYTES[0], 150)
    assert_same(count_neighbours(weights, table, neuron_axis=axis), by_table(weights, table, axis))


def count_every_type():
    """Count some weights of every type; a digest."""
    rng = np.random.default_rng(3)
    seen = hashlib.sha256()
    for dtype in DTYPES:
        weights = (0.05 * rng.standard_normal((300, 530))).astype(dtype)
        for axis in (0, 1):
            for answer in count_neighbours(weights, radius_table(dtype, 150), neuron_axis=axis):
                seen.update(np.ascontiguousarray(answer).tobytes())
    return seen.hexdigest()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="another kind of processor")
def test_a_processor_without_wide_registers_counts_the_same(tmp_path):
    environment = {
        **os.environ,
        "NUMBA_CPU_NAME": "x86-64-v3",
        "NUMBA_CPU_FEATURES": "+avx2,+fma",
        "NUMBA_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": str(Path(__file__).parent),
    }
    program = "import test_cpu_codes; print(test_cpu_codes.count_every_type())"
    command = [sys.executable, "-c", program]
    there = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert there.stdout.strip() == count_every_type()
