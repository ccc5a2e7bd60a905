"""Plans cover every neuron once and stay within their memory; answers come in order."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuromfa.errors import ResourceError, UsageError
from neuromfa.network import Coverage, Layer, Map, Network
from neuromfa.protocol import Protocol
from neuromfa.scheduler import run
from neuromfa.units import SHARED_PAGES, plan, tile_bytes
from neuromfa_kernels import TILE

PROTOCOL = Protocol()


def network_of(*shapes):
    """Layers of one tensor [edges, neurons] each."""
    layers = tuple(
        Layer(
            name=f"w{k}",
            block=None,
            role="matrix",
            maps=(
                Map(
                    tensor=f"w{k}", start=0, stop=edges, cols=neurons, neuron_axis=1, first_neuron=0
                ),
            ),
        )
        for k, (edges, neurons) in enumerate(shapes)
    )
    names = tuple(layer.name for layer in layers)
    return Network("generic", layers, Coverage((), {}, names), ()), dict.fromkeys(names, 2)


shapes = st.lists(st.tuples(st.integers(1, 20_000), st.integers(1, 20_000)), min_size=1, max_size=8)


@given(shapes, st.integers(1, 64), st.integers(0, 14))
def test_units_cover_every_neuron_once_in_whole_tiles(sizes, threads, doublings):
    network, itemsizes = network_of(*sizes)
    memory = (2 * tile_bytes(PROTOCOL)) << doublings
    found = plan(network, PROTOCOL, itemsizes, threads=threads, memory=memory)
    assert found.memory_bytes <= memory
    assert found.memory_bytes == 2 * found.threads * found.unit_bytes
    assert 1 <= found.threads <= threads
    assert found.weight_bytes == sum(2 * a * b for a, b in sizes)
    by_layer = itertools.groupby(found.units, key=lambda unit: unit.layer)
    for (index, units), (_, neurons) in zip(by_layer, sizes, strict=True):
        borders = [(u.start, u.stop) for u in units]
        assert borders[0][0] == 0
        assert borders[-1][1] == neurons
        assert all(a[1] == b[0] for a, b in itertools.pairwise(borders))
        assert all(start % TILE == 0 for start, _ in borders), index


def test_a_layer_larger_than_the_pages_it_may_hold_is_read_once():
    rows = SHARED_PAGES // (2 * 4096) + 1
    network, itemsizes = network_of((rows, 4096))
    assert len(plan(network, PROTOCOL, itemsizes, threads=8).units) == 1


def test_too_little_memory_is_said_with_both_numbers():
    network, itemsizes = network_of((10, 10))
    need = 2 * tile_bytes(PROTOCOL)
    with pytest.raises(ResourceError) as raised:
        plan(network, PROTOCOL, itemsizes, memory=need - 1)
    assert f"memory {need - 1:,} bytes" in str(raised.value)
    assert f"takes {need:,} bytes" in str(raised.value)
    assert "--memory" in str(raised.value)


def test_no_threads_is_refused():
    network, itemsizes = network_of((10, 10))
    with pytest.raises(UsageError, match="threads 0: must be at least 1"):
        plan(network, PROTOCOL, itemsizes, threads=0)


@pytest.mark.parametrize("in_flight", [1, 2, 7])
def test_answers_come_in_order_whatever_the_order_of_completion(in_flight):
    first_may_end = threading.Event()

    def work(task):
        if task == 0 and in_flight > 1:
            assert first_may_end.wait(10)
        else:
            first_may_end.set()
        return task * task

    with ThreadPoolExecutor(3) as executor:
        found = list(run(range(20), work, executor, in_flight=in_flight))
    assert found == [(k, k * k) for k in range(20)]


def test_no_more_tasks_are_handed_out_than_may_be_in_flight():
    started, most = set(), 0

    def tasks():
        nonlocal most
        for k in range(30):
            started.add(k)
            yield k

    with ThreadPoolExecutor(2) as executor:
        for k, _ in run(tasks(), lambda k: k, executor, in_flight=4):
            most = max(most, len(started) - k)
    assert most == 4


def test_first_failure_in_order_is_raised_and_the_rest_cancelled():
    done = []

    def work(task):
        if task in (3, 5):
            raise ValueError(f"task {task}")
        done.append(task)
        return task

    with ThreadPoolExecutor(1) as executor, pytest.raises(ValueError, match="task 3"):
        list(run(range(1000), work, executor, in_flight=8))
    assert max(done) < 20
