"""Neighbour counts against the definition: every code, every bound, every layout."""

import os
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import naive
import strategies
from neuromfa_kernels import NeighbourCounts, count_neighbours, radius_table
from neuromfa_kernels.arrays import as_array
from neuromfa_kernels.cpu_jit import kernel
from strategies import DTYPES


def one_byte_off(weights):
    room = np.empty(weights.nbytes + 1, np.uint8)
    moved = np.ndarray(weights.shape, weights.dtype, room.data, offset=1)
    moved[...] = weights
    return moved


LAYOUTS = {
    "as stored": lambda w: w,
    "transposed": np.asfortranarray,
    "every third column": lambda w: np.repeat(w, 3, axis=1)[:, ::3],
    "every second row": lambda w: np.repeat(w, 2, axis=0)[::2],
    "rows reversed": lambda w: w[::-1].copy()[::-1],
    "columns reversed": lambda w: w[:, ::-1].copy()[:, ::-1],
    "columns of a wider matrix": lambda w: np.concatenate([w[:, :1], w], axis=1)[:, 1:],
    "one byte off": one_byte_off,
}


def empty(table, n):
    counts = np.zeros((n, table.n_radii), np.uint32).T
    return NeighbourCounts(counts, np.zeros((2, n), np.uint32), np.zeros(4, np.int64))


def counted(device, weights, table, axis, *, into=None):
    """Count on a device and bring the counts back."""
    there = device.put(weights)
    found = count_neighbours(there, table, neuron_axis=axis, into=into)
    assert into is None or found is into
    return device.get(found)


def assert_same(found, expected):
    for mine, other in zip(found, expected, strict=True):
        assert np.array_equal(mine, other)


@cache
def class_of_code(dtype, cutoff):
    values = np.arange(1 << (8 * dtype.itemsize), dtype=f"u{dtype.itemsize}").view(dtype)
    with np.errstate(invalid="ignore"):
        return [naive.radius(w, cutoff) for w in values.astype(np.float64).tolist()]


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("cutoff", [1.5, 150, 150.5, 4000])
@pytest.mark.parametrize("dtype", [d for d in DTYPES if d.itemsize <= 2], ids=str)
def test_every_code(device, dtype, cutoff, axis):
    table = radius_table(dtype, cutoff)
    size = 1 << (4 * dtype.itemsize)  # a square matrix of all codes
    codes = np.arange(size * size, dtype=f"u{dtype.itemsize}").reshape(size, size)
    classes = np.array(class_of_code(dtype, cutoff), object).reshape(size, size)
    neurons = classes.T if axis == 1 else classes
    found = counted(device, codes.view(dtype), table, axis)
    for i in range(size):
        radii = [r for r in neurons[i] if not isinstance(r, str)]
        expected = np.bincount(np.array(radii, int), minlength=table.n_radii + 1)[1:]
        assert np.array_equal(found.counts[:, i], expected)
        assert found.near[:, i].sum() == (neurons[i] == "below").sum()
    names = ["below", "above", "zero", "nonfinite"]
    assert found.dropped.tolist() == [int((classes == name).sum()) for name in names]


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("cutoff", [1.0001, 2, 150, 150.5, 150.500001, 1000, 4000])
@pytest.mark.parametrize("dtype", [np.dtype("f4"), np.dtype("f8")], ids=str)
def test_every_bound_and_its_neighbours(device, dtype, cutoff, axis):
    table = radius_table(dtype, cutoff)
    at = table.bounds.astype(f"u{dtype.itemsize}").view(dtype)
    at = at[np.isfinite(at) & (at > 0)]
    # a neuron of the values just below, one of the bounds, one just above
    weights = np.stack([np.nextafter(at, 0), at, -np.nextafter(at, np.inf, dtype=dtype)], axis=1)
    weights = weights.astype(dtype)
    found = counted(device, weights if axis == 1 else weights.T, table, axis)
    assert_same(found, naive.neighbour_counts(weights, cutoff, 1))


@settings(max_examples=150)
@given(data=st.data(), cutoff=strategies.cutoffs())
def test_equals_the_definition(device, data, cutoff):
    weights = data.draw(strategies.weights(cutoff=cutoff, nonfinite=data.draw(st.booleans())))
    axis = data.draw(st.sampled_from([0, 1]))
    table = radius_table(weights.dtype, cutoff)
    expected = naive.neighbour_counts(weights, cutoff, axis)
    assert_same(counted(device, weights, table, axis), expected)
    cut = data.draw(st.integers(0, weights.shape[1 - axis]))
    first, second = np.split(weights, [cut], axis=1 - axis)
    into = count_neighbours(device.put(first), table, neuron_axis=axis)
    assert_same(counted(device, second, table, axis, into=into), expected)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_any_layout(device, dtype, layout, axis):
    rng = np.random.default_rng(5)
    weights = (0.05 * rng.standard_normal((43, 71))).astype(dtype)
    weights[rng.random(weights.shape) < 0.1] = 0
    view = LAYOUTS[layout](weights)
    assert np.array_equal(view.view(f"u{dtype.itemsize}"), weights.view(f"u{dtype.itemsize}"))
    found = counted(device, view, radius_table(dtype, 150), axis)
    assert_same(found, naive.neighbour_counts(weights, 150, axis))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("shape", [(2100, 333), (333, 2100)])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_threads_and_parts_change_nothing(dtype, shape, axis):
    weights = (0.03 * np.random.default_rng(6).standard_normal(shape)).astype(dtype)
    table = radius_table(dtype, 150)
    alone = count_neighbours(weights, table, neuron_axis=axis, threads=1)
    assert alone.counts.sum(dtype=np.int64) + alone.dropped.sum() == weights.size
    for threads in (2, 7):
        assert_same(count_neighbours(weights, table, neuron_axis=axis, threads=threads), alone)
    n = shape[axis]
    into = empty(table, n)
    for first, last in ((0, 100), (100, 101), (101, n)):
        mine = weights[:, first:last] if axis == 1 else weights[first:last]
        part = slice(first, last)
        some = NeighbourCounts(into.counts[:, part], into.near[:, part], into.dropped)
        count_neighbours(mine, table, neuron_axis=axis, into=some)
    assert_same(into, alone)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("edges", [65_535, 65_536, 4_300_000])
def test_more_edges_of_one_radius_than_16_bits_count(device, dtype, axis, edges):
    if device.name == "simt" and edges > 70_000:
        pytest.skip("takes too long there")
    one = np.full((1, 1), 0.25, dtype)
    weights = np.broadcast_to(one, (edges, 2) if axis == 1 else (2, edges))
    found = counted(device, weights, radius_table(dtype, 150), axis)
    assert found.counts[3].tolist() == [edges, edges]
    assert found.counts.sum(dtype=np.int64) == 2 * edges
    if edges < 70_000:
        found = counted(device, weights.copy(), radius_table(dtype, 150), axis)
        assert found.counts[3].tolist() == [edges, edges]


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (1, 1)])
def test_small_shapes(device, shape, axis):
    found = counted(device, np.full(shape, 0.1), radius_table("f8", 9.9), axis)
    assert found.counts.shape == (10, shape[axis])
    assert found.counts.sum() == 0
    assert found.dropped.tolist() == [0, shape[0] * shape[1], 0, 0]


def test_adds_to_counts_in_any_memory_order(device):
    weights = (0.1 * np.random.default_rng(7).standard_normal((30, 20))).astype(np.float32)
    table = radius_table("f4", 50)
    wide = np.zeros((50, 40), np.uint32)
    outputs = (wide[:, ::2], np.zeros((20, 2), np.uint32).T, np.zeros(8, np.int64)[::2])
    into = NeighbourCounts(*map(device.put, outputs))
    for _ in range(2):
        found = counted(device, weights, table, 1, into=into)
    once = count_neighbours(weights, table, neuron_axis=1)
    assert_same(found, [2 * a for a in once])
    assert (wide[:, 1::2] == 0).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_takes_torch_tensors_without_copying(dtype):
    rng = np.random.default_rng(8)
    stored = torch.tensor(rng.standard_normal((40, 30)) / 20).to(getattr(torch, dtype.name))
    if dtype.itemsize > 1:
        stored.requires_grad_()
    for tensor in (stored, stored.T, stored[3:, 1::2]):
        array = as_array(tensor, "weights")
        assert array.dtype == dtype
        assert array.ctypes.data == tensor.data_ptr()
        assert tuple(s // dtype.itemsize for s in array.strides) == tensor.stride()
        expected = naive.neighbour_counts(tensor.detach().double().numpy(), 150, 1)
        assert_same(count_neighbours(tensor, radius_table(dtype, 150), neuron_axis=1), expected)


class Exchanged:
    """An array of another library: nothing but the exchange protocol."""

    def __init__(self, array, device):
        self.array, self.device = array, device

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.device, 0


def test_takes_arrays_of_other_libraries():
    weights = np.random.default_rng(9).random((5, 4))
    assert as_array(Exchanged(weights, 1), "weights").ctypes.data == weights.ctypes.data


TABLE = radius_table("float32", 150)
GOOD = np.zeros((3, 4), np.float32)
WRONG = {
    "a list": ([[1.0]], {}, TypeError, "is list, not an array"),
    "one dimension": (GOOD[0], {}, ValueError, r"shape \(4,\)"),
    "another type": (GOOD.astype("f8"), {}, TypeError, "float64; the table is for float32"),
    "swapped bytes": (GOOD.astype(">f4"), {}, TypeError, ">f4"),
    "another GPU": (Exchanged(GOOD, 10), {}, TypeError, "DLPack device type 10; move it"),
    "a GPU that is not there": (
        Exchanged(GOOD, 2),
        {},
        (ImportError, RuntimeError, TypeError),
        r"neuromfa\[gpu\]|cuda|CuPy cannot",
    ),
    "threads of a GPU": (Exchanged(GOOD, 2), {"threads": 2}, ValueError, "are of the CPU"),
    "into on a GPU": (
        GOOD,
        {"into": empty(TABLE, 4)._replace(near=Exchanged(np.zeros((2, 4), np.uint32), 2))},
        TypeError,
        "into.near: is Exchanged",
    ),
    "no device": (torch.zeros(3, 4, device="meta"), {}, TypeError, "lies on meta"),
    "masked": (np.ma.masked_array(GOOD), {}, TypeError, "masked"),
    "sparse": (torch.zeros(3, 4).to_sparse(), {}, TypeError, "make it dense"),
    "no such axis": (GOOD, {"neuron_axis": 2}, ValueError, "neuron_axis 2"),
    "no threads": (GOOD, {"threads": 0}, ValueError, "threads 0"),
    "half a thread": (GOOD, {"threads": 1.5}, TypeError, "threads 1.5"),
    "into of other neurons": (GOOD, {"into": empty(TABLE, 3)}, ValueError, "into.counts"),
    "into of other radii": (
        GOOD,
        {"into": empty(radius_table("f4", 9), 4)},
        ValueError,
        r"shape \(9, 4\); must be \(150, 4\)",
    ),
    "into of floats": (
        GOOD,
        {"into": empty(TABLE, 4)._replace(near=np.zeros((2, 4)))},
        TypeError,
        "into.near: is float64",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_refuses(case):
    weights, options, error, message = WRONG[case]
    with pytest.raises(error, match=message):
        count_neighbours(weights, TABLE, **{"neuron_axis": 1, **options})


def test_refuses_what_is_no_table():
    with pytest.raises(TypeError, match="radius_table"):
        count_neighbours(GOOD, 150, neuron_axis=1)


def test_numba_waits_for_the_first_call():
    code = "import sys, neuromfa_kernels; assert 'numba' not in sys.modules, 'numba'"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_compiles_where_no_code_can_be_kept():
    names = {}
    exec("def double(x):\n    return 2 * x", names)  # a function without a file has no cache
    assert kernel(names["double"])(3) == 6


def test_a_full_disk_under_the_cache_of_compiled_code_does_no_harm(tmp_path):
    """No file may grow beyond a few bytes, so nothing can be kept; the counts come all the same."""
    code = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))\n"
        "import numpy as np, neuromfa_kernels as nk\n"
        "table = nk.radius_table(np.float32, 10.0)\n"
        "weights = np.full((3, 2), 0.5, np.float32)\n"
        "print(nk.count_neighbours(weights, table, neuron_axis=1).counts[1].tolist())\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "[3, 3]\n", "")
