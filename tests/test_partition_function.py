"""Partition functions against the definition, and their bits against themselves."""

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import naive
import strategies
from neuromfa_kernels import TILE, partition_function

ACCURACY = 1e-12  # definitions, section 3
DEFAULT_Q = np.round(np.arange(-30, 31) * 0.1, 12)
LISTS = {
    "default": DEFAULT_Q,
    "201 moments": np.round(np.arange(-100, 101) * 0.1, 12),
    "64 and 65 are the ends of a table": np.linspace(-2, 2, 65),
    "one": np.array([1.5]),
    "only zero": np.array([0.0]),
    "two": np.array([-1.0, 2.0]),
    "uneven": np.array([-2.0, -0.5, 0.0, 0.1, 3.0]),
    "large": np.array([-40.0, 0.0, 40.0]),
    "wide steps": np.array([-15.0, 0.0, 15.0]),
}


def random_counts(n_radii, n, seed=0):
    """Neighbour counts [n_radii, n] with empty radii, poor neurons and empty ones."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rng.choice([0.05, 1, 30], size=(n_radii, n)))
    counts[:, rng.random(n) < 0.1] = 0
    return counts.astype(np.uint32)


def summed(device, counts, q, **options):
    """Partition functions, computed on a device, on the host."""
    return device.get(partition_function(device.put(counts), q, **options))


def assert_close(found, expected):
    assert found.shape == expected.shape
    assert (np.abs(found - expected) <= ACCURACY * np.abs(expected)).all()


def assert_same_bits(found, expected):
    for mine, other in zip(found, expected, strict=True):
        assert np.array_equal(mine, other)


def exact_sums(counts, q):
    """Sums of p^q and p^q ln p to 50 digits, for neurons that all count."""
    with localcontext() as context:
        context.prec = 50
        Z, Z_log = np.zeros((2, len(q), len(counts)))
        for r in range(len(counts)):
            within, total = counts[: r + 1].sum(axis=0) + 1, counts.sum(axis=0) + 1
            logs = [(Decimal(int(a)) / int(b)).ln() for a, b in zip(within, total, strict=True)]
            for k, moment in enumerate(q):
                powers = [(Decimal(float(moment)) * log).exp() for log in logs]
                Z[k, r] = sum(powers)
                Z_log[k, r] = sum(p * log for p, log in zip(powers, logs, strict=True))
    return Z, Z_log


@pytest.mark.parametrize("name", LISTS)
def test_equals_the_definition(device, name):
    q, counts = LISTS[name], random_counts(19, 60)
    found = summed(device, counts, q)
    Z, Z_log, counted, observed = naive.partition_function(counts, q)
    assert_close(found.Z[0], Z)
    assert_close(found.Z_log[0], Z_log)
    assert found.counted == counted
    assert found.observed.tolist() == observed.tolist()
    assert (found.Z[0][q == 0] == counted).all()


@settings(max_examples=60)
@given(
    q=strategies.q_lists() | st.integers(1, 9).map(lambda n: tuple(np.linspace(-3, 3, n))),
    n_radii=st.integers(1, 20),
    n=st.integers(0, 40),
    min_neighbours=st.integers(0, 30),
    seed=st.integers(0, 99),
)
def test_equals_the_definition_for_any_settings(device, q, n_radii, n, min_neighbours, seed):
    counts = random_counts(n_radii, n, seed)
    found = summed(device, counts, q, min_neighbours=min_neighbours)
    Z, Z_log, counted, observed = naive.partition_function(counts, q, min_neighbours)
    assert_close(found.Z.sum(axis=0), Z)
    assert_close(found.Z_log.sum(axis=0), Z_log)
    assert found.counted == counted
    assert found.observed.tolist() == observed.tolist()


@pytest.mark.parametrize("edges", [40, 3000, 131_000, 2_000_000, 4_000_000_000])
@pytest.mark.parametrize("name", ["default", "uneven"])
def test_logarithms_keep_their_precision_next_to_one(device, name, edges):
    q = LISTS[name][::6]
    counts = np.array([[edges - 12, edges - 1, 1], [1, 1, 1], [0, 0, 5], [11, 0, edges // 2]])
    counts = counts.astype(np.uint32)
    found = summed(device, counts, q, min_neighbours=0)
    Z, Z_log = exact_sums(counts.astype(np.int64), q)
    assert_close(found.Z[0], Z)
    assert_close(found.Z_log[0], Z_log)


def test_a_measure_of_one_is_exactly_one(device):
    counts = np.zeros((5, 30), np.uint32)
    counts[1] = np.arange(11, 41)
    for q in LISTS.values():
        found = summed(device, counts, q)
        assert (found.Z[0, :, 1:] == 30).all()
        assert (found.Z_log[0, :, 1:] == 0).all()


@pytest.mark.parametrize("name", [name for name in LISTS if name not in ("uneven", "large")])
def test_every_device_has_the_bits_of_the_cpu(device, name):
    q, counts = LISTS[name], random_counts(37, TILE + 60)
    assert_same_bits(summed(device, counts, q), partition_function(counts, q))


SIZES = pytest.mark.parametrize("n", [1, TILE - 1, TILE, TILE + 1, 3 * TILE + 5])
BOTH_WAYS = pytest.mark.parametrize("name", ["default", "uneven"])


@SIZES
@BOTH_WAYS
def test_threads_change_no_bit(name, n):
    q, counts = LISTS[name], random_counts(37, n)
    whole = partition_function(counts, q, threads=1)
    for threads in (2, 3, 8):
        assert_same_bits(partition_function(counts, q, threads=threads), whole)


@SIZES
@BOTH_WAYS
def test_splits_change_no_bit(device, name, n):
    q, counts = LISTS[name], random_counts(37, n)
    whole = summed(device, counts, q)
    assert whole.Z.shape == whole.Z_log.shape == (-(-n // TILE), len(q), 37)
    parts = [summed(device, counts[:, a : a + TILE], q) for a in range(0, n, TILE)]
    assert np.array_equal(np.concatenate([p.Z for p in parts]), whole.Z)
    assert np.array_equal(np.concatenate([p.Z_log for p in parts]), whole.Z_log)
    assert sum(p.counted for p in parts) == whole.counted
    assert np.array_equal(sum(p.observed for p in parts), whole.observed)


@BOTH_WAYS
def test_bits_do_not_depend_on_other_radii_moments_or_memory_order(device, name):
    q, counts = LISTS[name], random_counts(50, 700)
    whole = summed(device, counts, q)
    assert_same_bits(summed(device, np.asfortranarray(counts), q), whole)
    # radii beyond the last edge change nothing: they only repeat p = 1
    longer = summed(device, np.concatenate([counts, np.zeros((9, 700), np.uint32)]), q)
    assert np.array_equal(longer.Z[..., :50], whole.Z)
    assert np.array_equal(longer.Z_log[..., :50], whole.Z_log)


@BOTH_WAYS
def test_neurons_that_are_not_counted_add_nothing(device, name):
    q = LISTS[name]
    counts = random_counts(20, 500)
    counts = counts[:, counts.sum(axis=0) > 10]
    spread = np.zeros((20, 2 * counts.shape[1]), np.uint32)
    spread[:, ::2] = counts
    spread[3, 1::2] = 10  # one edge short
    assert_same_bits(summed(device, spread, q), summed(device, counts, q))
    nobody = summed(device, spread[:, 1::2], q)
    assert nobody.counted == 0
    assert (nobody.Z == 0).all()
    assert (nobody.Z_log == 0).all()


def test_a_neuron_with_very_many_edges_changes_no_other_tile(device):
    counts = random_counts(20, TILE + 3)
    alone = summed(device, counts, DEFAULT_Q)
    counts[4, -1] = 3_000_000
    assert np.array_equal(summed(device, counts, DEFAULT_Q).Z[0], alone.Z[0])


def test_powers_are_looked_up_for_the_largest_neuron_wherever_it_stands(device):
    large = np.random.default_rng(9).poisson(1000, (25, 1)).astype(np.uint32)
    poor = np.zeros_like(large)
    alone = summed(device, large, DEFAULT_Q)
    for counts in (np.hstack([large, poor]), np.hstack([poor, large])):
        found = summed(device, counts, DEFAULT_Q)
        assert_same_bits((found.Z, found.Z_log), (alone.Z, alone.Z_log))


def test_summation_is_sequential_with_one_rounding_per_term(device):
    counts = random_counts(6, 200, seed=3)
    counts = counts[:, counts.sum(axis=0) > 10]
    q = np.array([0.0, 1.0])
    whole = summed(device, counts, q)
    terms = [summed(device, counts[:, [i]], q) for i in range(counts.shape[1])]
    total = np.zeros(6)
    for term in terms:  # v_1 = p and u_0 = 1 are exact factors: each fused step is one addition
        total = total + term.Z[0, 1]
    assert np.array_equal(whole.Z[0, 1], total)
    assert not math.isclose(total[0], 0)


COUNTS = np.ones((4, 3), np.uint32)
WRONG = {
    "empty q": (COUNTS, {"q": []}, ValueError, "at least one"),
    "two-dimensional q": (COUNTS, {"q": [[0.0, 1.0]]}, ValueError, r"shape \(1, 2\)"),
    "equal q": (COUNTS, {"q": [0, 0]}, ValueError, "strictly increasing"),
    "falling q": (COUNTS, {"q": [1, 0]}, ValueError, "strictly increasing"),
    "infinite q": (COUNTS, {"q": [0, np.inf]}, ValueError, "finite"),
    "NaN among q": (COUNTS, {"q": [np.nan]}, ValueError, "finite"),
    "signed counts": (COUNTS.astype("i8"), {}, TypeError, "int64; must be uint32"),
    "swapped counts": (COUNTS.astype(">u4"), {}, TypeError, ">u4"),
    "a list": ([[1]], {}, TypeError, "not an array"),
    "one neuron's counts": (COUNTS[0], {}, ValueError, r"shape \(3,\)"),
    "no radii": (COUNTS[:0], {}, ValueError, r"shape \(0, 3\)"),
    "few is negative": (COUNTS, {"min_neighbours": -1}, ValueError, "min_neighbours -1"),
    "few is broken": (COUNTS, {"min_neighbours": 2.5}, TypeError, "min_neighbours 2.5"),
    "no threads": (COUNTS, {"threads": 0}, ValueError, "threads 0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_refuses(case):
    counts, options, error, message = WRONG[case]
    with pytest.raises(error, match=message):
        partition_function(counts, **{"q": DEFAULT_Q, **options})
