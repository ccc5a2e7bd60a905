"""Launchers of neighbour counts: every kernel, shape, split and pass gives the same integers."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

import strategies
from neuromfa_kernels import NeighbourCounts, count_neighbours, cuda_counts, radius_table
from neuromfa_kernels.cuda_driver import source_text
from simt import ORDERS, SimtDriver, SimtError, needs_compiler, sanitized_environment
from strategies import DTYPES

pytestmark = needs_compiler
BLOCK_LIMITS = (101_376, 166_912, 232_448)
"""Shared memory of a block: compute capability 8.6 and 12.0, 8.0, 9.0 and 10.0."""
FP8 = DTYPES[4]


def sample(dtype, shape, seed=0):
    """Normal weights with all that is awkward among them."""
    rng = np.random.default_rng(seed)
    with np.errstate(all="ignore"):
        weights = (0.1 * rng.standard_normal(shape)).astype(dtype)
        wrong = np.array([np.nan, np.inf, -np.inf]).astype(dtype)
        pool = np.concatenate([strategies.awkward_values(dtype, 150), wrong])
    awkward = rng.random(shape) < 0.1
    weights[awkward] = rng.choice(pool, size=int(awkward.sum()))
    return weights


def empty(table, n):
    counts = np.zeros((table.n_radii, n), np.uint32)
    return NeighbourCounts(counts, np.zeros((2, n), np.uint32), np.zeros(4, np.int64))


def assert_same(found, expected):
    for mine, other in zip(found, expected, strict=True):
        assert np.array_equal(mine, other)


def counted(weights, table, axis=1, *, driver=None, out=None):
    out = empty(table, weights.shape[axis]) if out is None else out
    cuda_counts.add_neighbours(weights, table, axis, out=out, driver=driver or SimtDriver())
    return out


def kernels(driver):
    return [name for name, *_ in driver.launches if not name.startswith("check_")]


def moved(weights, by):
    """The same matrix, `by` bytes further."""
    room = np.empty(weights.nbytes + by + 64, np.uint8)
    start = -room.ctypes.data % 64 + by
    there = np.ndarray(weights.shape, weights.dtype, room.data, offset=start)
    there[...] = weights
    return there


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("multiprocessors", [1, 5, 132])
def test_launch_shape_and_splits_change_nothing(dtype, axis, multiprocessors):
    table = radius_table(dtype, 150)
    weights = sample(dtype, (1100, 260) if axis == 1 else (37, 1303))
    driver = SimtDriver(multiprocessors=multiprocessors)
    assert_same(
        counted(weights, table, axis, driver=driver),
        count_neighbours(weights, table, neuron_axis=axis),
    )
    blocks = [grid[0] for _, grid, *_ in driver.launches]
    assert max(blocks) > 1


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("axis", [0, 1])
def test_order_of_threads_changes_nothing(dtype, axis, order):
    table = radius_table(dtype, 20)
    weights = sample(dtype, (70, 61))
    found = counted(weights, table, axis, driver=SimtDriver(order=order))
    assert_same(found, count_neighbours(weights, table, neuron_axis=axis))


@pytest.mark.parametrize("limit", BLOCK_LIMITS)
@pytest.mark.parametrize("cutoff", [150, 777.7, 1000, 4000])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_passes_over_the_radii(dtype, axis, cutoff, limit):
    table = radius_table(dtype, cutoff)
    rng = np.random.default_rng(3)
    distance = rng.uniform(0.3, cutoff + 2, (130, 67))
    weights = (rng.choice([-1, 1], distance.shape) / distance).astype(dtype)
    weights[:5] = sample(dtype, (5, 67))
    driver = SimtDriver(shared_memory=limit)
    found = counted(weights, table, axis, driver=driver)
    assert_same(found, count_neighbours(weights, table, neuron_axis=axis))
    assert all(shared <= limit for *_, shared in driver.launches)
    if cutoff == 4000 and dtype.itemsize > 1:
        assert len(kernels(driver)) > 1


WAYS = {
    "aligned": (0, lambda w: w, ["x4"]),
    "odd columns": (0, lambda w: w[:, :-1], ["x4", "x1"]),
    "columns of a wider matrix": (0, lambda w: w[:, 4:20], ["x4"]),
    "two columns further": (0, lambda w: w[:, 2:], ["x1"]),
    "odd row pitch": (0, lambda w: w[:, :-1].copy(), ["x1"]),
    "every second row": (0, lambda w: w[::2], ["x4"]),
    "rows backwards": (0, lambda w: w[::-1], ["x4"]),
    "one row for all": (0, lambda w: np.broadcast_to(w[:1], w.shape), ["x4"]),
    "one column": (0, lambda w: w[:, :1].copy(), ["x1"]),
    "one row": (0, lambda w: w[:1], ["x4"]),
    "transposed": (0, np.asfortranarray, ["rows"]),
    "columns backwards": (0, lambda w: w[:, ::-1], ["any"]),
    "every second column": (0, lambda w: w[:, ::2], ["any"]),
    "one byte further": (1, lambda w: w, ["any"]),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("way", WAYS)
def test_layout_chooses_the_kernel(dtype, way):
    shift, layout, expected = WAYS[way]
    weights = layout(moved(sample(dtype, (45, 64)), shift))
    if dtype.itemsize == 8:
        expected = ["any"]
    elif dtype.itemsize == 1 and shift:
        expected = ["x1"]  # bytes are never unaligned
    table = radius_table(dtype, 150)
    driver = SimtDriver()
    found = counted(weights, table, driver=driver)
    assert_same(found, count_neighbours(weights, table, neuron_axis=1))
    used = kernels(driver)
    assert len(used) == len(expected)
    assert all(part in name for name, part in zip(used, expected, strict=True))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("axis", [0, 1])
def test_more_edges_than_16_bits_count(dtype, axis):
    edges = 70_003
    weights = np.full((edges, 5) if axis == 1 else (5, edges), 0.25, dtype)
    found = counted(weights, radius_table(dtype, 5), axis, driver=SimtDriver(multiprocessors=1))
    assert found.counts[3].tolist() == [edges] * 5
    assert found.counts.sum() == 5 * edges


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rows_of_any_length(dtype, axis):
    table = radius_table(dtype, 12)
    for edges in (1, 15, 16, 17, 255, 256, 257, 511, 513, 1025, 1600):
        weights = sample(dtype, (edges, 3) if axis == 1 else (3, edges), seed=edges)
        assert_same(
            counted(weights, table, axis), count_neighbours(weights, table, neuron_axis=axis)
        )


def test_matrices_in_one_launch_are_matrices_one_by_one():
    table = radius_table("float32", 150)
    shapes = [(64, 256), (512, 256), (33, 31), (0, 7), (90, 256)]
    weights = [sample("float32", shape, seed=k) for k, shape in enumerate(shapes)]
    shared = empty(table, 256)  # two matrices of one layer
    outs = [shared, shared, empty(table, 31), empty(table, 7), empty(table, 256)]
    driver = SimtDriver()
    cuda_counts.add_many(zip(weights, outs, strict=True), table, 1, driver=driver)
    assert len(kernels(driver)) == 2  # aligned columns, and the others
    expected = [count_neighbours(w, table, neuron_axis=1) for w in weights]
    assert_same(shared, [a + b for a, b in zip(*expected[:2], strict=True)])
    for k in (2, 3, 4):
        assert_same(outs[k], expected[k])


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_two_devices_have_the_sum_of_one(dtype, axis):
    table = radius_table(dtype, 150)
    weights = sample(dtype, (301, 90) if axis == 1 else (90, 301))
    halves = np.array_split(weights, 2, axis=1 - axis)
    devices = SimtDriver(multiprocessors=7), SimtDriver(shared_memory=BLOCK_LIMITS[0])
    found = [
        counted(half, table, axis, driver=device)
        for half, device in zip(halves, devices, strict=True)
    ]
    assert_same([a + b for a, b in zip(*found, strict=True)], counted(weights, table, axis))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_any_table_is_followed(dtype, axis):
    plain = radius_table(dtype, 60)
    # each bound at another code, as rescaled distances would have it
    bounds = np.maximum(plain.bounds[np.newaxis] // np.uint64(2), 1).reshape(-1)
    table = dataclasses.replace(plain, bounds=bounds)
    weights = sample(dtype, (90, 40))
    driver = SimtDriver()
    found = counted(weights, table, axis, driver=driver)
    codes = weights.view(f"u{dtype.itemsize}") & ((1 << (8 * dtype.itemsize - 1)) - 1)
    bins = table.bins(codes)
    for i in range(weights.shape[axis]):
        own = np.bincount(np.take(bins, i, axis), minlength=table.n_bins)
        assert found.counts[:, i].tolist() == own[3 : 3 + table.n_radii].tolist()
        assert found.near[:, i].tolist() == own[1:3].tolist()
    every = np.bincount(bins.reshape(-1), minlength=table.n_bins)
    dropped = [every[1] + every[2], every[table.above], every[table.zero], every[0]]
    assert found.dropped.tolist() == dropped
    used = "any" if dtype.itemsize > 1 else "codes8"
    assert all(used in name for name in kernels(driver))


# ---- races and addresses

SHAPES = [((70, 66), 1), ((35, 300), 0)]


def count_everything(**options):
    """Every kernel once: layouts, passes, remainders."""
    for dtype in DTYPES:
        for shape, axis in SHAPES:
            for cutoff, limit in ((9.5, 40_000 + 64 * 1024), (900, 101_376)):
                table = radius_table(dtype, cutoff)
                driver = SimtDriver(multiprocessors=2, shared_memory=limit, **options)
                weights = sample(dtype, shape)
                expected = count_neighbours(weights, table, neuron_axis=axis)
                assert_same(counted(weights, table, axis, driver=driver), expected)
                if cutoff < 10:
                    backwards = weights[:, ::-1]
                    expected = count_neighbours(backwards, table, neuron_axis=axis)
                    assert_same(counted(backwards, table, axis, driver=driver), expected)


@pytest.mark.parametrize("order", ORDERS)
def test_no_races(order):
    count_everything(build="race", order=order)


MUTATIONS = {
    "counters are used before all are cleared": (
        "make_uint4(0, 0, 0, 0);\n  __syncthreads();",
        "make_uint4(0, 0, 0, 0);",
    ),
    "counters are added up before all have counted": (
        "count_item<S, C, LATER, U>(item, pass, place, totals);\n    __syncthreads();",
        "count_item<S, C, LATER, U>(item, pass, place, totals);",
    ),
    "the number of an item is read too soon": (
        "taken = atomicAdd(ticket, 1u);\n  __syncthreads();",
        "taken = atomicAdd(ticket, 1u);",
    ),
    "counting is not atomic": (
        "row : place.trash) + 128 * j), 1u);",
        "row : place.trash) + 128 * j), 1u), ++*counter(place.trash);",
    ),
}


class Mutant(SimtDriver):
    def __init__(self, old, new):
        super().__init__(multiprocessors=1, build="race")
        self.old, self.new = old, new

    def kernel(self, source, name, *, defines=None):
        text = source_text(source)
        if not name.startswith("check_"):
            assert self.old in text
            text = text.replace(self.old, self.new)
        return self.kernel_of(text, name, defines=defines)


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_race_check_sees_a_missing_barrier(mutation):
    with pytest.raises(SimtError, match="race in shared memory"):
        counted(
            sample("float32", (600, 256)),
            radius_table("f4", 9),
            driver=Mutant(*MUTATIONS[mutation]),
        )


def test_no_bad_addresses():
    code = "from test_cuda_counts import *\ncount_everything(build='sanitized')\nprint('DONE')"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=sanitized_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert "DONE" in run.stdout
