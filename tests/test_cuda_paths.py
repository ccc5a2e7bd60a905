"""Shortest paths on GPUs: the CPU's float64 sums, for every type of weights and shape of matrix."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromfa_kernels import cuda_paths
from neuromfa_kernels.hops import count_paths, extend_paths
from simt import AlteredDriver, SimtDriver, SimtError, needs_compiler, sanitized_environment
from strategies import DTYPES, awkward_values

pytestmark = needs_compiler
SHAPES = [(1, 1, 1), (3, 33, 1), (70, 100, 300), (64, 32, 128), (5, 64, 129), (130, 40, 20)]
EVERY_SHAPE = pytest.mark.parametrize("shape", SHAPES, ids=str)


def lengths_of(shape, cutoff, seed=0, scale=0.05):
    with np.errstate(divide="ignore"):
        found = 1 / np.abs(np.random.default_rng(seed).normal(0, scale, shape))
    found[~((found > 1) & (found <= cutoff))] = np.inf
    return found


def plain(ways, lengths):
    """The product in one line: the sums are float64's, and a minimum has no order."""
    return (ways[:, :, None] + lengths[None]).min(axis=1, initial=np.inf)


def extended(ways, lengths, cutoff, driver):
    return cuda_paths.extend_paths(*map(driver.from_host, (ways, lengths)), cutoff, driver)


def assert_paths(found, expected, cutoff):
    near = expected <= cutoff
    assert np.asarray(found)[near].tobytes() == expected[near].tobytes()
    assert (np.asarray(found)[~near] > cutoff).all()


def two_layers(shape, cutoff, seed=0, scale=0.05):
    sources, units, targets = shape
    ways = lengths_of((sources, units), cutoff, seed, scale)
    return ways, lengths_of((units, targets), cutoff, seed + 1, scale)


@EVERY_SHAPE
@pytest.mark.parametrize("cutoff", [12.5, 40.0, 150.0])
def test_every_device_finds_the_same(device, shape, cutoff):
    ways, lengths = two_layers(shape, cutoff)
    ways[0] = np.inf  # a source that leads nowhere
    put = (lambda array: array) if device.name == "cpu" else device.driver.from_host
    found = extend_paths(put(ways), put(lengths), cutoff=cutoff)
    assert_paths(device.get(found), plain(ways, lengths), cutoff)


@settings(max_examples=30)
@given(
    shape=st.tuples(st.integers(1, 80), st.integers(1, 70), st.integers(1, 140)),
    cutoff=st.sampled_from([2.5, 10.0, 33.3, 200.0]),
    scale=st.sampled_from([0.01, 0.1, 1.0]),
    seed=st.integers(0, 1000),
)
def test_paths_equal_the_plain_product(shape, cutoff, scale, seed):
    ways, lengths = two_layers(shape, cutoff, seed, scale)
    found = extended(ways, lengths, cutoff, SimtDriver(order="random"))
    assert_paths(found, plain(ways, lengths), cutoff)


def test_ties_at_the_cutoff_and_sums_that_round():
    ways = np.array([[1.25, 2.5, np.inf], [0.1 + 0.2 + 1, 7.7, 1.5]])
    lengths = np.array([[8.75, 1.1], [7.5, np.inf], [8.5, 8.500000000000002]])
    driver = SimtDriver()
    found = np.asarray(extended(ways, lengths, 10.0, driver))
    assert_paths(found, plain(ways, lengths), 10.0)
    assert found[0, 0] == 10.0  # at the cutoff: counts
    assert found[1, 1] == ways[1, 0] + 1.1


def test_far_units_are_passed_over():
    """What cannot shorten a way is not even read: such edges could be anything."""
    ways = np.full((3, 64), 90.0)
    ways[:, 0] = 2.0
    lengths = np.full((64, 130), 20.0)
    lengths[40:] = np.nan
    lengths[0] = 3.0
    found = np.asarray(extended(ways, lengths, 150.0, SimtDriver()))
    np.testing.assert_array_equal(found, 5.0)


def test_rows_of_the_answer_may_lie_apart():
    driver = SimtDriver()
    ways, lengths = two_layers((20, 40, 90), 150.0)
    room = driver.zeros((20, 200), np.float64)
    cuda_paths.extend_paths(
        *map(driver.from_host, (ways, lengths)), 150.0, driver, out=room[:, 50:140]
    )
    assert_paths(room[:, 50:140], plain(ways, lengths), 150.0)
    assert not room[:, :50].any()
    assert not room[:, 140:].any()


@pytest.mark.parametrize("cutoff", [12.5, 40.0, 4000.0])
def test_every_device_counts_the_same(device, cutoff):
    rng = np.random.default_rng(0)
    ways = rng.uniform(0.6, 1.2 * cutoff, (7, 300))
    ways[0, :20] = [0.500001, 1.5, 2.5, 3.5, cutoff, np.nextafter(cutoff, 9e9), *[np.inf] * 14]
    expected = np.zeros((round(cutoff), 7), np.int64)
    for i, row in enumerate(ways):
        for way in row[row <= cutoff]:
            expected[round(way) - 1, i] += 1  # Python rounds half to even
    expected += 5
    into = np.full((7, round(cutoff)), 5, np.uint32).T
    if device.name == "cpu":
        count_paths(ways, cutoff=cutoff, into=into)
    else:
        into = device.driver.from_host(np.ascontiguousarray(into))
        count_paths(device.driver.from_host(ways), cutoff=cutoff, into=into)
    np.testing.assert_array_equal(device.get(into), expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("turned", [False, True])
def test_lengths_of_weights_as_stored(dtype, turned):
    rng = np.random.default_rng(0)
    weights = rng.normal(0, 0.05, (50, 70)).astype(dtype)
    awkward = awkward_values(dtype, 40.0)
    awkward = awkward[np.isfinite(awkward.astype(np.float64))][:40]
    weights[: len(awkward), 3] = awkward
    given = weights.T if turned else weights
    driver = SimtDriver()
    wrong = driver.zeros(1, np.uint32)
    found = cuda_paths.edge_lengths(given, 40.0, wrong, driver)
    with np.errstate(divide="ignore", over="ignore"):
        expected = 1 / np.abs(given.astype(np.float64))
    expected[~((expected > 1) & (expected <= 40))] = np.inf
    assert np.asarray(found).tobytes() == np.ascontiguousarray(expected).tobytes()
    assert not wrong[0]
    weights[7, 9] = np.nan
    room = driver.zeros((50, 100), np.float64)
    cuda_paths.edge_lengths(weights, 40.0, wrong, driver, out=room[:, 20:90])
    assert wrong[0]
    assert room[7, 29] == np.inf
    assert not room[:, :20].any()
    assert not room[:, 90:].any()


def test_nearer_ways_are_kept():
    driver = SimtDriver()
    both = driver.from_host(lengths_of((9, 100), 150.0))
    third = driver.from_host(lengths_of((9, 50), 150.0, seed=1))
    for halves in ((both[:, :50], both[:, 50:]), (both[:, ::2], both[:, 1::2])):
        found = cuda_paths.nearest([*halves, third], driver)
        np.testing.assert_array_equal(found, np.minimum(np.minimum(*halves), third))
        assert found.flags.c_contiguous


def test_nothing_is_nothing(device):
    put = (lambda array: array) if device.name == "cpu" else device.driver.from_host
    for shape in ((0, 3, 4), (3, 4, 0), (3, 0, 4)):
        ways, lengths = np.ones(shape[:2]), np.ones(shape[1:])
        found = device.get(extend_paths(put(ways), put(lengths), cutoff=9.0))
        assert found.shape == (shape[0], shape[2])
        assert np.isinf(found).all()


def test_the_door(device):
    put = (lambda array: array) if device.name == "cpu" else device.driver.from_host
    ways, lengths = two_layers((3, 4, 5), 40.0)
    short, nan = ways.copy(), ways.copy()
    short[1, 2], nan[2, 3] = 0.5, np.nan
    for wrong, error, message in (
        ((ways.astype(np.float32), lengths), TypeError, "ways: is float32"),
        ((ways, lengths[0]), ValueError, "lengths: has shape"),
        ((ways[:, :3].copy(), lengths), ValueError, "lead to 3 units and lengths from 4"),
        ((short, lengths), ValueError, "above 1/2"),
        ((nan, lengths), ValueError, "above 1/2"),
    ):
        with pytest.raises(error, match=message):
            extend_paths(*map(put, wrong), cutoff=40.0)
    with pytest.raises(ValueError, match="into: has shape"):
        count_paths(put(ways), cutoff=40.0, into=put(np.zeros((39, 3), np.uint32)))
    with pytest.raises(TypeError, match="into: is int64"):
        count_paths(put(ways), cutoff=40.0, into=put(np.zeros((40, 3), np.int64)))


def exercise(build):
    """Every kernel and every branch of it once, in one of the harness's builds."""
    driver = SimtDriver(build=build, order="random")
    for shape in SHAPES:
        ways, lengths = two_layers(shape, 40.0)
        found = extended(ways, lengths, 40.0, driver)
        assert_paths(found, plain(ways, lengths), 40.0)
        counts = driver.zeros((40, shape[0]), np.uint32)
        cuda_paths.count_paths(found, 40.0, counts, driver)
        assert counts.sum() == (plain(ways, lengths) <= 40).sum()
    for dtype in DTYPES:
        weights = np.random.default_rng(0).normal(0, 0.05, (40, 33)).astype(dtype)
        weights[0, 0] = np.nan
        wrong = driver.zeros(1, np.uint32)
        cuda_paths.edge_lengths(weights, 40.0, wrong, driver)
        assert wrong[0]
        cuda_paths.edge_lengths(weights.T, 40.0, wrong, driver)
    cuda_paths.nearest([found[:, ::2], found[:, 1::2]], driver)


def test_no_race():
    exercise("race")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("best < state.furthest && best <= cutoff", "best < state.furthest - 9 && best <= cutoff"),
        ("way > state.inner && way <= state.outer", "way > state.inner && way < state.outer - 1"),
        ("furthest = larger(furthest, best[r][c])", "furthest = best[r][c]"),
        ("mine |= inner < smaller(furthest, cutoff)", "mine |= false"),
        ("mask; mask &= mask - 1", "mask; mask = 0"),
    ],
)
def test_a_wrong_product_would_be_seen(old, new):
    ways, lengths = two_layers((70, 100, 300), 40.0)
    found = np.asarray(extended(ways, lengths, 40.0, AlteredDriver(old, new)))
    near = plain(ways, lengths) <= 40
    assert (found[near] != plain(ways, lengths)[near]).any()


def test_a_missing_barrier_would_be_seen():
    old = "infinity();\n      }\n      __syncthreads();"
    driver = AlteredDriver(old, old.replace("      __syncthreads();", ""), build="race")
    with pytest.raises(SimtError, match="race"):
        extended(*two_layers((70, 100, 300), 40.0), 40.0, driver)


def test_sanitizers_find_nothing():
    code = "import test_cuda_paths; test_cuda_paths.exercise('sanitized'); print('done')"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=sanitized_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout == "done\n"
