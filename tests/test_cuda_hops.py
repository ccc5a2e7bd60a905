"""The search on GPUs: the CPU's integers for every graph, order of threads and size of GPU."""

import subprocess
import sys

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromfa_kernels import cuda_hops
from neuromfa_kernels.hops import count_hops
from simt import AlteredDriver, SimtDriver, SimtError, needs_compiler, sanitized_environment
from test_hops import arrays, expected

pytestmark = needs_compiler
GRAPHS = {
    "Barabasi-Albert": nx.barabasi_albert_graph(300, 3, seed=0),
    "long path": nx.path_graph(140),
    "hub with many pieces": nx.star_graph(1000),
    "two parts": nx.disjoint_union(nx.cycle_graph(9), nx.grid_2d_graph(5, 7)),
    "arrows": nx.gnp_random_graph(120, 0.02, seed=1, directed=True),
    "no edge": nx.empty_graph(3),
}
EVERY_GRAPH = pytest.mark.parametrize("name", GRAPHS)


def placed(device, graph):
    """Arrays of a graph where a device has them."""
    own = arrays(graph)
    return own if device.name == "cpu" else tuple(map(device.driver.from_host, own))


def searched(graph, sources, driver, most_hops=None):
    there = cuda_hops.Graph(*map(driver.from_host, arrays(graph)))
    most = len(graph) if most_hops is None else most_hops
    return cuda_hops.count_hops(there, np.asarray(sources, np.int64), most, driver)


def some_sources(graph, seed=0):
    """More than a pass, in any order, where there are so many."""
    return np.random.default_rng(seed).permutation(len(graph))[:90]


@EVERY_GRAPH
def test_every_device_counts_the_same(device, name):
    graph = GRAPHS[name]
    sources = some_sources(graph)
    found = count_hops(*placed(device, graph), sources)
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, expected(graph, range(len(graph)))[: len(found), sources])


@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
@pytest.mark.parametrize("multiprocessors", [1, 132])
@EVERY_GRAPH
def test_neither_order_nor_size_changes_a_number(name, order, multiprocessors):
    graph = GRAPHS[name]
    sources = some_sources(graph, seed=2)
    driver = SimtDriver(order=order, multiprocessors=multiprocessors)
    found = searched(graph, sources, driver)
    np.testing.assert_array_equal(found, count_hops(*arrays(graph), sources))


@settings(max_examples=25)
@given(
    n=st.integers(1, 80),
    share=st.floats(0, 0.2),
    seed=st.integers(0, 2**20),
    directed=st.booleans(),
    data=st.data(),
)
def test_counts_equal_networkx(n, share, seed, directed, data):
    graph = nx.gnp_random_graph(n, share, seed=seed, directed=directed)
    sources = data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=n, unique=True))
    found = searched(graph, sources, SimtDriver(order="random"))
    np.testing.assert_array_equal(found, expected(graph, sources))


def test_a_hub_is_cut_into_pieces():
    driver = SimtDriver(multiprocessors=132)
    searched(nx.star_graph(1000), [0], driver)
    grids = [grid[0] for name, grid, *_ in driver.launches if name == "step"]
    assert grids[0] == 1  # the hub: 16 pieces, 8 lanes each
    assert grids[1] == 1000 * 8 // cuda_hops.THREADS + 1  # every other node has a piece
    assert {name for name, *_ in driver.launches} == {"plant", "step", "settle"}


def test_a_search_gives_up_and_says_so(device):
    graph = nx.path_graph(100)  # longer than what is kept on the device at a time
    own = placed(device, graph)
    with pytest.raises(MemoryError, match="more than 98 hops"):
        count_hops(*own, [0], most_hops=98)
    assert len(count_hops(*own, [0], most_hops=99)) == 99
    assert len(count_hops(*own, [50], most_hops=99)) == 50


def test_memory_is_what_was_promised():
    class Counting(SimtDriver):
        taken = 0

        def empty(self, shape, dtype):
            found = super().empty(shape, dtype)
            self.taken += found.nbytes
            return found

        def zeros(self, shape, dtype):
            found = super().zeros(shape, dtype)
            self.taken += found.nbytes
            return found

        def from_host(self, array):
            self.taken += array.nbytes
            return super().from_host(array)

    for graph in (nx.star_graph(3000), nx.barabasi_albert_graph(500, 20, seed=0)):
        driver = Counting()
        searched(graph, [0, 1], driver)
        assert driver.taken <= cuda_hops.pass_bytes(len(graph), len(arrays(graph)[1]))


def test_the_door(device):
    indptr, indices = arrays(nx.path_graph(4))
    put = (lambda array: array) if device.name == "cpu" else device.driver.from_host
    for wrong, error, message in (
        ((indptr.astype(np.int32), indices), TypeError, "indptr: is int32"),
        ((indptr, indices.astype(np.int64)), TypeError, "indices: is int64"),
        ((indptr[:-1], indices), ValueError, "must rise from 0 to the 6 arcs"),
        ((indptr + 1, indices), ValueError, "must rise from 0 to the 6 arcs"),
        ((indptr[[0, 2, 1, 3, 4]], indices), ValueError, "must rise from 0 to the 6 arcs"),
        ((indptr, indices + np.uint32(2)), ValueError, "indices: name node"),
        ((indptr[:0], indices[:0]), ValueError, "must rise"),
    ):
        with pytest.raises(error, match=message):
            count_hops(*map(put, wrong), [0])
    if device.name != "cpu":
        with pytest.raises(TypeError, match="indices: does not lie in"):
            count_hops(put(indptr), indices, [0])
        with pytest.raises(ValueError, match="threads 2: are of the CPU"):
            count_hops(put(indptr), put(indices), [0], threads=2)


def exercise(build):
    """Every kernel and every branch of it once, in one of the harness's builds."""
    for name in ("hub with many pieces", "arrows", "two parts"):
        graph = GRAPHS[name]
        driver = SimtDriver(build=build, order="random")
        cuda_hops.check_graph(cuda_hops.Graph(*map(driver.from_host, arrays(graph))), driver)
        found = searched(graph, some_sources(graph), driver)
        np.testing.assert_array_equal(found, count_hops(*arrays(graph), some_sources(graph)))


def test_no_race():
    exercise("race")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("bits & ~seen[node]", "bits"),  # goes back where it came from
        ("seen[node] |= bits;", ""),
        ("now[before[i]] = 0;", ""),
        ("transposed(u32(bits >> 32))", "u32(bits >> 32)"),
        ("(indptr[node + 1] - indptr[node] + PIECE - 1)", "(indptr[node + 1] - indptr[node])"),
    ],
)
def test_a_wrong_search_would_be_seen(old, new):
    graph = GRAPHS["Barabasi-Albert"]
    driver = AlteredDriver(old, new)
    try:
        found = searched(graph, some_sources(graph), driver, most_hops=9)
    except (SimtError, ValueError):
        return
    right = count_hops(*arrays(graph), some_sources(graph))
    assert found.shape != right.shape or (found != right).any()


def test_a_plain_write_would_be_seen_as_a_race():
    old = "atomicOr(fresh + node, x) == 0"
    driver = AlteredDriver(old, "(fresh[node] |= x) == 0", build="race")
    with pytest.raises(SimtError, match="race"):
        searched(GRAPHS["Barabasi-Albert"], some_sources(GRAPHS["Barabasi-Albert"]), driver)


def test_sanitizers_find_nothing():
    code = "import test_cuda_hops; test_cuda_hops.exercise('sanitized'); print('done')"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=sanitized_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout == "done\n"
