"""Hop counts of the kernel against NetworkX, and what its door refuses."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromfa_kernels.hops import HOP_SOURCES, count_hops, node_dimension


def arrays(graph):
    matrix = nx.to_scipy_sparse_array(graph, nodelist=sorted(graph), format="csr")
    return matrix.indptr.astype(np.int64), matrix.indices.astype(np.uint32)


def expected(graph, sources):
    counts = [
        np.bincount(list(nx.single_source_shortest_path_length(graph, s).values()))[1:]
        for s in sources
    ]
    found = np.zeros((max(map(len, counts)), len(counts)), np.int64)
    for k, column in enumerate(counts):
        found[: len(column), k] = column
    return found


@settings(max_examples=60)
@given(
    n=st.integers(1, 90),
    share=st.floats(0, 0.2),
    seed=st.integers(0, 2**20),
    directed=st.booleans(),
    data=st.data(),
)
def test_counts_equal_networkx(n, share, seed, directed, data):
    graph = nx.gnp_random_graph(n, share, seed=seed, directed=directed)
    sources = data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=n, unique=True))
    np.testing.assert_array_equal(count_hops(*arrays(graph), sources), expected(graph, sources))


def test_more_sources_than_one_search_and_a_long_way():
    graph = nx.path_graph(HOP_SOURCES + 200)
    sources = np.random.default_rng(0).permutation(len(graph))
    counts = count_hops(*arrays(graph), sources, threads=1)
    np.testing.assert_array_equal(counts, expected(graph, sources))
    for threads in (2, 5):
        again = count_hops(*arrays(graph), sources, threads=threads)
        np.testing.assert_array_equal(counts, again)


def test_counts_that_carry_far():
    """A hub hands on all its bits at once, and tens of thousands of nodes get them."""
    graph = nx.star_graph(70_000)
    counts = count_hops(*arrays(graph), [0, 5, 70_000])
    np.testing.assert_array_equal(counts, [[70_000, 1, 1], [0, 69_999, 69_999]])


def test_the_door():
    indptr, indices = arrays(nx.path_graph(4))
    for wrong, error, message in (
        ((indptr.astype(np.int32), indices, [0]), TypeError, "indptr: is int32"),
        ((indptr, indices.astype(np.int64), [0]), TypeError, "indices: is int64"),
        ((indptr[:-1], indices, [0]), ValueError, "must rise from 0 to the 6 arcs"),
        ((indptr, indices + np.uint32(2), [0]), ValueError, "name node 5 of 4"),
        ((indptr, indices, [4]), ValueError, "the graph has 4 nodes"),
        ((indptr, indices, [-1]), ValueError, "the graph has 4 nodes"),
        ((indptr, indices, [1, 1]), ValueError, "named twice"),
        ((indptr, indices, [0.5]), ValueError, "list of node numbers"),
        ((indptr, indices, []), ValueError, "list of node numbers"),
        ((indptr, indices[::2], [0]), ValueError, "contiguous"),
    ):
        with pytest.raises(error, match=message):
            count_hops(*wrong)
    with pytest.raises(ValueError, match="threads 0"):
        count_hops(indptr, indices, [0], threads=0)
    with pytest.raises(MemoryError, match="more than 2 hops"):
        count_hops(indptr, indices, [0], most_hops=2)
    assert len(count_hops(indptr, indices, [0], most_hops=3)) == 3


def test_node_dimension_door():
    counts = np.ones((2, 3), np.uint32)
    for wrong, error in (
        ((counts.astype(np.int64), np.array([1.0, 2.0])), TypeError),
        ((counts, np.array([1, 2])), TypeError),
        ((counts, np.array([1.0])), ValueError),
        ((counts, np.array([2.0, 1.0])), ValueError),
        ((counts, np.array([0.0, 1.0])), ValueError),
    ):
        with pytest.raises(error):
            node_dimension(*wrong)
    found = node_dimension(counts, np.array([1.0, 2.0]))
    np.testing.assert_allclose(found.values, 1.0)  # 1 node within 1, 2 within 2
