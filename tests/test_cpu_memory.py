"""Memory of counts: used again when nobody holds it, and never before."""

import gc
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from neuromfa_kernels import count_neighbours, cpu_memory, radius_table
from neuromfa_kernels.cpu_memory import empty, zeros


@pytest.fixture(autouse=True)
def nothing_kept():
    gc.collect()
    cpu_memory._kept.clear()
    yield
    gc.collect()
    cpu_memory._kept.clear()


def address(array):
    return array.__array_interface__["data"][0]


def test_used_again_and_zero():
    first = zeros((30, 50), np.uint32)
    first[:] = 7
    where = address(first)
    del first
    again = zeros((20, 60), np.uint32)
    assert address(again) == where
    assert again.shape == (20, 60)
    assert not again.any()


def test_of_any_type():
    assert zeros((3, 4), np.float64).dtype == np.float64
    assert empty((2, 5, 7), np.int64).shape == (2, 5, 7)


def test_a_view_keeps_it():
    first = zeros((30, 50), np.uint32)
    view = first.T[3:, ::2]
    where = address(first)
    del first
    other = zeros((30, 50), np.uint32)
    assert address(other) != where
    other[:] = 9
    assert not view.any()
    del view
    assert address(zeros((30, 50), np.uint32)) == where


def test_far_too_large_memory_is_left_for_others():
    where = address(zeros((100, 100), np.uint32))
    assert address(zeros((10, 10), np.uint32)) != where
    assert address(zeros((100, 100), np.uint32)) == where


def test_no_more_is_kept_than_promised(monkeypatch):
    monkeypatch.setattr(cpu_memory._Lease, "most_bytes", 10_000)
    held = [zeros((10, 100), np.uint32) for _ in range(5)]
    del held
    assert sum(room.nbytes for room in cpu_memory._kept) == 8_000


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0)])
def test_nothing(shape):
    assert zeros(shape, np.uint32).shape == shape


def test_many_threads_never_share_it():
    def use(k):
        mine = zeros((64, 64), np.uint32)
        mine += np.uint32(k)
        return bool((mine == k).all())

    with ThreadPoolExecutor(8) as executor:
        assert all(executor.map(use, range(1, 2000)))


def test_counts_can_be_sent_elsewhere():
    weights = np.full((20, 30), 0.1, np.float32)
    found = count_neighbours(weights, radius_table("float32", 150), neuron_axis=1)
    sent = pickle.loads(pickle.dumps(found))
    assert np.array_equal(sent.counts, found.counts)
