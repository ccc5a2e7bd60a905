"""The analysis of any graph against loops over NetworkX, and against dimensions known exactly."""

import json

import jsonschema
import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp

import naive
import naive_graph
import neuromfa
from neuromfa import GraphProtocol, analyse_graph, structure_distance
from neuromfa.graphs.reading import read_graph

Q = (-10.0, -4.5, -1.0, 0.0, 0.5, 1.0, 3.0, 10.0)
DIGITS = 2
RELATIVE = 1e-9  # the specification's bound on tau and alpha


def with_lengths(graph, seed=0):
    """Lengths of which some round to the same distance, and one to nothing."""
    rng = np.random.default_rng(seed)
    for _, _, data in graph.edges(data=True):
        data["weight"] = float(rng.choice([0.25, 0.5, 1.0, rng.random() + 0.01]))
    next(iter(graph.edges(data=True)))[2]["weight"] = 0.001
    return graph


GRAPHS = {
    "karate club": nx.karate_club_graph(),
    "lattice": nx.grid_2d_graph(7, 9),
    "Barabasi-Albert": nx.barabasi_albert_graph(150, 2, seed=1),
    "Watts-Strogatz": nx.connected_watts_strogatz_graph(120, 4, 0.1, seed=2),
    "flower": naive_graph.flower(2, 2, 3),
    "path": nx.path_graph(30),
    "star": nx.star_graph(12),
}
EVERY_GRAPH = pytest.mark.parametrize("name", GRAPHS)


def assert_equal(analysis, radii, measures):
    tau, alpha = naive_graph.exponents(radii, measures, Q)
    np.testing.assert_allclose(analysis.radii, radii, rtol=1e-15)
    np.testing.assert_allclose(analysis.tau, tau, rtol=RELATIVE, atol=RELATIVE)
    np.testing.assert_allclose(analysis.alpha, alpha, rtol=RELATIVE, atol=RELATIVE)
    np.testing.assert_allclose(analysis.f, np.array(Q) * alpha - tau, rtol=0, atol=1e-7)
    Z, _ = naive_graph.partition_function(measures, Q)
    np.testing.assert_allclose(np.exp(analysis.log_partition_function), Z, rtol=1e-10)
    assert analysis.measured == len(measures)
    assert analysis.alpha_0 == pytest.approx(alpha[Q.index(0.0)], rel=RELATIVE)
    assert analysis.width == pytest.approx(alpha.max() - alpha.min(), rel=1e-7, abs=1e-9)


@EVERY_GRAPH
def test_hops_equal_the_definition(name):
    graph = GRAPHS[name]
    analysis = analyse_graph(graph, GraphProtocol(q=Q))
    assert_equal(analysis, *naive_graph.hop_measures(graph, graph.nodes))
    expected = [naive_graph.hop_dimension(graph, node) for node in graph.nodes]
    np.testing.assert_allclose(analysis.node_dimensions, expected, rtol=1e-12, atol=1e-12)
    assert list(analysis.node_names) == list(graph.nodes)


@EVERY_GRAPH
def test_lengths_equal_the_definition(name):
    graph = with_lengths(GRAPHS[name].copy())
    analysis = analyse_graph(graph, GraphProtocol(q=Q, weighted=True, digits=DIGITS))
    assert_equal(analysis, *naive_graph.length_measures(graph, graph.nodes, DIGITS))
    expected = [naive_graph.length_dimension(graph, node, DIGITS) for node in graph.nodes]
    np.testing.assert_allclose(analysis.node_dimensions, expected, rtol=1e-12, atol=1e-12)


def directed_graph():
    """Weakly connected, with nodes that lead nowhere and some that lead to one other only."""
    graph = nx.gnp_random_graph(60, 0.05, seed=5, directed=True)
    graph = graph.subgraph(max(nx.weakly_connected_components(graph), key=len)).copy()
    sink = max(graph) + 1
    graph.add_edge(next(iter(graph)), sink)
    graph.add_edge(sink + 1, sink)
    return with_lengths(graph)


@pytest.mark.parametrize("weighted", [False, True], ids=["hops", "lengths"])
def test_directed_graphs(weighted):
    graph = directed_graph()
    analysis = analyse_graph(graph, GraphProtocol(q=Q, weighted=weighted, digits=DIGITS))
    measures = (
        naive_graph.length_measures(graph, graph.nodes, DIGITS)
        if weighted
        else naive_graph.hop_measures(graph, graph.nodes)
    )
    assert_equal(analysis, *measures)
    sinks = [node for node in graph if not graph.out_degree(node)]
    assert sinks
    assert analysis.unreaching == len(sinks)
    assert np.isnan(analysis.node_dimensions[list(graph).index(sinks[0])])
    assert "reach no other" in " ".join(analysis.warnings)


def test_more_sources_than_a_tile_and_than_a_search():
    graph = nx.barabasi_albert_graph(2300, 3, seed=3)
    analysis = analyse_graph(graph, GraphProtocol(q=Q))
    assert_equal(analysis, *naive_graph.hop_measures(graph, graph.nodes))


def record(analysis):
    """Everything but what may differ from run to run."""
    return {k: v for k, v in analysis.to_dict().items() if k != "provenance"}


def test_resources_change_no_bit():
    graph = nx.barabasi_albert_graph(3000, 2, seed=4)
    for protocol in (GraphProtocol(), GraphProtocol(sources=1500, seed=9)):
        first = record(analyse_graph(graph, protocol, threads=1))
        for threads, memory in ((2, 2 << 30), (3, 64 << 20), (7, 8 << 20)):
            assert record(analyse_graph(graph, protocol, threads=threads, memory=memory)) == first
    weighted = GraphProtocol(weighted=True, digits=1, q=Q)
    lengths = with_lengths(nx.barabasi_albert_graph(1300, 2, seed=4))
    one, three = (record(analyse_graph(lengths, weighted, threads=t)) for t in (1, 3))
    assert one == three


def test_memory_that_does_not_suffice_is_said():
    path = nx.path_graph(3000)
    with pytest.raises(neuromfa.ResourceError, match=r"more than [0-9,]+ hops away"):
        analyse_graph(path, threads=1, memory=10 << 20)
    lengths = with_lengths(nx.barabasi_albert_graph(400, 2, seed=1))
    protocol = GraphProtocol(weighted=True, digits=6)
    with pytest.raises(neuromfa.ResourceError, match=r"different distances take .*--digits"):
        analyse_graph(lengths, protocol, memory=20 << 20)
    few = GraphProtocol(weighted=True, digits=1, q=Q)
    tight = record(analyse_graph(lengths, few, memory=4 << 20))  # fewer sources together
    assert tight == record(analyse_graph(lengths, few))


def test_disconnected_graphs_are_said():
    graph = nx.disjoint_union_all([nx.path_graph(5), nx.grid_2d_graph(4, 5), nx.empty_graph(3)])
    giant = analyse_graph(graph, GraphProtocol(q=Q))
    lattice = nx.grid_2d_graph(4, 5)
    assert_equal(giant, *naive_graph.hop_measures(lattice, lattice.nodes))
    assert giant.graph["isolated"] == 3
    assert giant.graph["components"] == 2
    assert (giant.nodes, giant.graph["nodes"]) == (20, 28)
    assert "disconnected" in giant.warnings[0]
    assert "3 nodes without an edge" in giant.warnings[1]
    second = analyse_graph(graph, GraphProtocol(q=Q, component=1))
    path = nx.path_graph(5)
    assert_equal(second, *naive_graph.hop_measures(path, path.nodes))
    with pytest.raises(neuromfa.UsageError, match="component 2: there are 2 of two nodes"):
        analyse_graph(graph, GraphProtocol(component=2))


def test_one_radius_has_no_exponents():
    analysis = analyse_graph(nx.complete_graph(5))
    assert "two radii" in analysis.undefined
    assert np.isnan(analysis.tau).all()
    assert analysis.node_dimension["one_radius"] == 5
    assert json.loads(analysis.to_json())["alpha_0"] is None
    assert np.isnan(structure_distance(analysis, analysis))


def test_most_influential_nodes():
    graph = nx.barabasi_albert_graph(205, 3, seed=6)
    hubs = sorted(graph, key=lambda node: -graph.degree[node])[:21]  # ties in the order of nodes
    analysis = analyse_graph(graph, GraphProtocol(q=Q, share=0.1))
    assert sorted(analysis.node_names) == sorted(hubs)
    assert_equal(analysis, *naive_graph.hop_measures(graph, sorted(hubs)))
    scores = nx.closeness_centrality(graph)
    best = sorted(graph, key=lambda node: -scores[node])[:21]
    chosen = analyse_graph(graph, GraphProtocol(q=Q, share=0.1), scores=scores)
    assert sorted(chosen.node_names) == sorted(best)
    as_list = [scores[node] for node in graph]
    again = analyse_graph(graph, GraphProtocol(q=Q, share=0.1), scores=as_list)
    assert record(again) == record(chosen)


def test_a_sample_says_how_far_it_may_be_off():
    graph = nx.connected_watts_strogatz_graph(2000, 6, 0.05, seed=7)
    q = (-2.0, 0.0, 1.0, 2.0)
    exact = analyse_graph(graph, GraphProtocol(q=q))
    held = 0
    for seed in range(20):
        sample = analyse_graph(graph, GraphProtocol(q=q, sources=200, seed=seed))
        assert sample.measured == 200
        assert sample.protocol["seed"] == seed
        span = sample.interval["alpha_0"]
        held += span["low"] <= exact.alpha_0 <= span["high"]
        assert span["stderr"] > 0
    assert held >= 17  # 19 are expected at 95 %
    weighted = GraphProtocol(q=q, sources=50, weighted=True)
    assert "depends on the draw" in analyse_graph(with_lengths(graph.copy()), weighted).warnings[0]
    everything = analyse_graph(graph, GraphProtocol(q=q, sources=2000))
    assert everything.interval is None
    np.testing.assert_array_equal(everything.tau, exact.tau)


def test_forward_differences():
    graph = GRAPHS["karate club"]
    q = neuromfa.q_grid(-3, 3, 0.5)
    analysis = analyse_graph(graph, GraphProtocol(q=q, differences="forward"))
    tau, _ = naive_graph.exponents(*naive_graph.hop_measures(graph, graph.nodes), q)
    alpha, f = naive.forward_difference_spectrum(tau, q)
    np.testing.assert_allclose(analysis.alpha[:-1], alpha, rtol=RELATIVE)
    np.testing.assert_allclose(analysis.f[:-1], f, atol=1e-9)
    assert np.isnan(analysis.alpha[-1])
    tied = np.flatnonzero(f >= f.max() - 1e-9)
    assert analysis.alpha_0 == pytest.approx(alpha[tied[0]], rel=RELATIVE)
    assert analysis.width == pytest.approx(alpha.max() - alpha.min(), rel=RELATIVE)


def test_structure_distance():
    one, other = (
        analyse_graph(GRAPHS[name], GraphProtocol(q=Q)) for name in ("lattice", "karate club")
    )
    gap = one.generalised_dimension - other.generalised_dimension
    assert structure_distance(one, other) == pytest.approx(float(np.sqrt((gap**2).mean())))
    assert structure_distance(one, one) == 0
    fewer = analyse_graph(GRAPHS["karate club"], GraphProtocol(q=(-1.0, 1.0, 2.0)))
    common = np.isin(Q, (-1.0, 1.0))
    assert structure_distance(one, fewer) == pytest.approx(
        float(np.sqrt((gap[common] ** 2).mean()))
    )
    nothing = analyse_graph(GRAPHS["karate club"], GraphProtocol(q=(-2.0, 2.0)))
    assert np.isnan(structure_distance(one, nothing))


def window(diameter):
    """Radii around the geometric middle of 1 and the diameter: no grain, no border."""
    return (diameter**0.5 / 2, 2 * diameter**0.5)


def test_dimensions_approach_known_values_with_size():
    q = (-5.0, 0.0, 2.0, 3.0, 5.0, 10.0)
    known = {"flower": [naive_graph.flower_dimension(2, 2, x) for x in q], "lattice": [2.0] * 6}
    sizes = {"flower": (3, 5, 7), "lattice": (8, 20, 50)}
    for kind, dimensions in known.items():
        off = []
        for size in sizes[kind]:
            graph = (
                naive_graph.flower(2, 2, size) if kind == "flower" else nx.grid_2d_graph(size, size)
            )
            radii = window(2**size if kind == "flower" else size)
            found = analyse_graph(graph, GraphProtocol(q=q, radii=radii)).generalised_dimension
            off.append(np.abs(found - dimensions).mean())
        assert off[0] > off[1] > off[2], kind
        assert off[2] < (0.1 if kind == "flower" else 0.3)


def test_record_is_read_back():
    analysis = analyse_graph(GRAPHS["lattice"], GraphProtocol(q=Q, sources=30))
    again = neuromfa.GraphAnalysis.from_dict(json.loads(analysis.to_json()))
    assert again.to_dict() == json.loads(analysis.to_json())
    jsonschema.Draft202012Validator.check_schema(neuromfa.schema("graph"))
    for found in (analysis, analyse_graph(nx.complete_graph(5), GraphProtocol(radii=(1, 2)))):
        jsonschema.validate(found.to_dict(), neuromfa.schema("graph"))
    with pytest.raises(jsonschema.ValidationError, match="'nodes' is a required"):
        jsonschema.validate(
            {k: v for k, v in again.to_dict().items() if k != "nodes"}, neuromfa.schema("graph")
        )
    with pytest.raises(neuromfa.BadInputError, match="reads 'graph'"):
        neuromfa.GraphAnalysis.from_dict({"schema_version": "1.0"})
    table = analysis.to_arrow("node_dimensions")
    assert table.num_rows == 30
    assert analysis.to_arrow().column("tau").to_pylist() == list(analysis.tau)


def test_matrices_and_networkx_agree():
    graph = with_lengths(GRAPHS["Barabasi-Albert"].copy())
    matrix = nx.to_scipy_sparse_array(graph)
    for weighted in (False, True):
        protocol = GraphProtocol(q=Q, weighted=weighted, digits=DIGITS)
        expected = record(analyse_graph(graph, protocol)) | {"source": "SciPy matrix"}
        for source in (matrix, matrix.tocoo(), sp.csc_matrix(matrix), sp.triu(matrix)):
            found = record(analyse_graph(source, protocol))
            assert found == expected
    arrows = nx.to_scipy_sparse_array(directed_graph())
    there = analyse_graph(arrows, GraphProtocol(q=Q), directed=True)
    assert (
        record(there)["tau"] == record(analyse_graph(directed_graph(), GraphProtocol(q=Q)))["tau"]
    )


def test_loops_and_parallel_edges_are_counted():
    graph = nx.MultiGraph([(0, 1), (0, 1), (1, 1), (1, 2), (2, 3)])
    lengths = iter((3.0, 1.5, 1.0, 1.0, 1.0))
    for *_, data in graph.edges(data=True):
        data["weight"] = next(lengths)
    found = read_graph(graph, weighted=True)
    assert (found.self_loops, found.parallel_edges, found.edges) == (1, 1, 3)
    assert found.matrix().todense()[0, 1] == 1.5  # the shorter of the two
    facts = analyse_graph(graph).graph
    assert (facts["self_loops"], facts["parallel_edges"]) == (1, 1)
