"""The launchers of partition functions and fractal dimensions: every shape and split, same bits."""

import subprocess
import sys

import numpy as np
import pytest

from neuromfa_kernels import (
    TILE,
    cuda_dimension,
    cuda_partition,
    fractal_dimension,
    partition_function,
)
from neuromfa_kernels.cuda_driver import source_text
from simt import SimtDriver, SimtError, needs_compiler, sanitized_environment

pytestmark = needs_compiler
EVEN = np.round(np.arange(-30, 31) * 0.1, 12)
MANY = np.round(np.arange(-35, 36) * 0.1, 12)
UNEVEN = np.array([-2.0, -0.5, 0.0, 0.1, 3.0])
LISTS = pytest.mark.parametrize("q", [EVEN, MANY, EVEN[27:32], UNEVEN], ids=len)
FEW = 10


def random_counts(n_radii, n, seed=0):
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rng.choice([0.05, 1, 30], size=(n_radii, n)))
    counts[:, rng.random(n) < 0.1] = 0
    return counts.astype(np.uint32)


def assert_same_bits(found, expected):
    for pair in zip(found, expected, strict=True):
        mine, other = map(np.asarray, pair)
        assert mine.shape == other.shape
        assert mine.dtype == other.dtype
        assert mine.tobytes() == other.tobytes()


def launched(driver):
    return {name for name, *_ in driver.launches}


@LISTS
@pytest.mark.parametrize("n", [1, TILE - 1, TILE + 33])
@pytest.mark.parametrize("multiprocessors", [1, 132])
def test_has_the_bits_of_the_cpu_in_every_shape(q, n, multiprocessors):
    driver, counts = SimtDriver(multiprocessors=multiprocessors), random_counts(150, n)
    found = cuda_partition.partition_function(counts, q, FEW, driver)
    assert_same_bits(found, partition_function(counts, q))


@pytest.mark.parametrize("order", ["reverse", "random"])
@LISTS
def test_order_of_threads_changes_no_bit(q, order):
    counts = random_counts(40, 300)
    found = cuda_partition.partition_function(counts, q, FEW, SimtDriver(order=order))
    assert_same_bits(found, partition_function(counts, q))


def test_wide_and_narrow_shapes_are_both_tried():
    blocks = set()
    for multiprocessors in (1, 132):
        driver = SimtDriver(multiprocessors=multiprocessors)
        cuda_partition.partition_function(random_counts(150, TILE), EVEN, FEW, driver)
        assert launched(driver) == {"cumulate", "invert", "sum_factorised"}
        blocks |= {block for name, _, block, _ in driver.launches if name == "sum_factorised"}
    assert blocks == {cuda_partition.WIDE["BLOCK"], cuda_partition.NARROW["BLOCK"]}


@LISTS
def test_working_memory_changes_no_bit(q, monkeypatch):
    counts = random_counts(37, 3 * TILE + 5)
    driver = SimtDriver()
    whole = cuda_partition.partition_function(counts, q, FEW, driver)
    once = len(driver.launches)
    monkeypatch.setattr(cuda_partition, "WORKING_MEMORY", 2 * 4 * 37 * TILE)
    assert_same_bits(cuda_partition.partition_function(counts, q, FEW, driver), whole)
    assert len(driver.launches) == 3 * once
    assert_same_bits(whole, partition_function(counts, q))


@LISTS
def test_two_devices_and_one_give_the_same_bits(q):
    counts = random_counts(37, 4 * TILE + 5)
    devices = SimtDriver(multiprocessors=1), SimtDriver(multiprocessors=132, order="reverse")
    parts = [
        cuda_partition.partition_function(
            counts[:, tile * TILE : (tile + 1) * TILE], q, FEW, devices[tile % 2]
        )
        for tile in range(5)
    ]
    whole = cuda_partition.partition_function(counts, q, FEW, devices[0])
    assert np.concatenate([part.Z for part in parts]).tobytes() == whole.Z.tobytes()
    assert np.concatenate([part.Z_log for part in parts]).tobytes() == whole.Z_log.tobytes()
    assert sum(int(part.counted) for part in parts) == whole.counted
    assert np.array_equal(sum(part.observed for part in parts), whole.observed)


def test_layers_filled_up_to_tiles_are_summed_in_one_call():
    layers = [random_counts(20, n, seed=n) for n in (TILE + 7, 90)]
    together = np.zeros((20, 3 * TILE), np.uint32)
    together[:, : TILE + 7], together[:, 2 * TILE : 2 * TILE + 90] = layers
    found = cuda_partition.partition_function(together, EVEN, FEW, SimtDriver())
    alone = [partition_function(layer, EVEN) for layer in layers]
    assert np.concatenate([sums.Z for sums in alone]).tobytes() == found.Z.tobytes()
    assert np.concatenate([sums.Z_log for sums in alone]).tobytes() == found.Z_log.tobytes()


VIEWS = {
    "neurons apart": lambda counts: np.ascontiguousarray(counts.T).T,
    "every second neuron": lambda counts: counts[:, ::2],
    "every third radius, backwards": lambda counts: counts[::-3],
    "neurons backwards": lambda counts: np.ascontiguousarray(counts.T)[::-1].T,
}


@pytest.mark.parametrize("view", VIEWS)
def test_takes_any_strides(view):
    counts, near = VIEWS[view](random_counts(70, 300)), random_counts(2, 900)[:, ::3]
    near = near[:, : counts.shape[1]]
    found = cuda_partition.partition_function(counts, EVEN, FEW, SimtDriver())
    assert_same_bits(found, partition_function(counts, EVEN))
    fitted = cuda_dimension.fractal_dimension(counts, near, FEW, SimtDriver())
    assert_same_bits(fitted, fractal_dimension(counts, near))


def test_no_neuron_is_no_launch_of_nothing():
    nobody, driver = np.zeros((9, 0), np.uint32), SimtDriver()
    assert_same_bits(
        cuda_partition.partition_function(nobody, EVEN, FEW, driver),
        partition_function(nobody, EVEN),
    )
    assert_same_bits(
        cuda_dimension.fractal_dimension(nobody, None, FEW, driver), fractal_dimension(nobody)
    )
    assert not driver.launches


def test_any_number_of_neighbours_may_be_too_few():
    counts = random_counts(9, 50)
    none = cuda_partition.partition_function(counts, EVEN, 10**30, SimtDriver())
    assert none.counted == 0
    assert not none.Z.any()
    assert (cuda_dimension.fractal_dimension(counts, None, 10**30, SimtDriver()).reason == 1).all()


def test_tables_are_kept_but_not_without_end(monkeypatch):
    driver, counts = SimtDriver(multiprocessors=3), random_counts(5, 20)
    monkeypatch.setattr(cuda_partition, "_tables", {})
    monkeypatch.setattr(cuda_partition, "MOST_TABLES", 2)
    for q in (EVEN, EVEN[::2], EVEN[::3], EVEN[::3]):
        found = cuda_partition.partition_function(counts, q, FEW, driver)
        assert_same_bits(found, partition_function(counts, q))
    assert len(cuda_partition._tables) == 2


def exercise(build):
    """Every kernel and every branch of it once, in one of the harness's builds."""
    counts = random_counts(40, 200)
    counts[3, 7] = 3_000_000  # beyond the tables
    for q in (EVEN, MANY, UNEVEN):
        for multiprocessors in (1, 132):
            driver = SimtDriver(multiprocessors=multiprocessors, build=build)
            found = cuda_partition.partition_function(counts, q, FEW, driver)
            assert_same_bits(found, partition_function(counts, q))
    near = random_counts(2, 200)
    fitted = cuda_dimension.fractal_dimension(counts, near, FEW, driver)
    assert_same_bits(fitted, fractal_dimension(counts, near))


def test_no_race():
    exercise("race")


class WithoutABarrier(SimtDriver):
    """Runs `cumulate` without the barrier at which a block's counts of neurons meet."""

    def kernel(self, source, name, *, defines=None):
        text = source_text(source)
        assert text.count("    __syncthreads();\n") == 2
        text = text.replace("    __syncthreads();\n", "", 1)
        return self.kernel_of(text, name, defines=defines)


def test_a_missing_barrier_would_be_seen():
    with pytest.raises(SimtError, match="race"):
        cuda_partition.partition_function(
            random_counts(40, 200), EVEN, FEW, WithoutABarrier(build="race")
        )


def test_sanitizers_find_nothing():
    code = "import test_cuda_partition; test_cuda_partition.exercise('sanitized'); print('done')"
    command = [sys.executable, "-c", code]
    run = subprocess.run(
        command, env=sanitized_environment(), capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout == "done\n"
