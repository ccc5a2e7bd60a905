"""A model's network as a graph: every edge where the weights say, and the same counts from it."""

import math
from pathlib import Path

import networkx as nx
import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import torch

import naive
import neuromfa
from neuromfa.graphs import network_edges

MODEL = Path(__file__).parent / "expected" / "tiny-neox" / "step64"
RNG = np.random.default_rng(0)
DOWN = RNG.normal(0, 1, (3, 5)).astype(np.float32)
DOWN[1, 2] = 0
LAYER = "0.mlp_hidden"


def test_edges_are_the_weights_of_a_model():
    with neuromfa.open_checkpoint(MODEL) as checkpoint:
        tensor = "gpt_neox.layers.0.mlp.dense_4h_to_h.weight"
        weights = checkpoint.read(tensor).astype(np.float64)
        graph = neuromfa.export_network(checkpoint, layers=[LAYER], min_weight=0.05)
    out, neurons = weights.shape
    assert [tuple(u) for u in graph.units[:2]] == [("neuron", LAYER, 0), ("neuron", LAYER, 1)]
    assert graph.units[-1] == ("output", tensor, out - 1)
    assert len(graph.units) == out + neurons
    block = graph.matrix.todense()[:neurons, neurons:]
    np.testing.assert_array_equal(block, np.where(abs(weights) >= 0.05, weights, 0).T)
    assert graph.matrix.nnz == (abs(weights) >= 0.05).sum()


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_edge_lists_hold_the_same_edges(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(network_edges, "BLOCK_WEIGHTS", 1000)  # several blocks
    path = tmp_path / f"edges.{suffix}"
    count = neuromfa.write_network(MODEL, path, layers=["0.*", "1.mlp_input"])
    read = pq.read_table if suffix == "parquet" else pyarrow.csv.read_csv
    table = read(path).to_pandas()
    graph = neuromfa.export_network(MODEL, layers=["0.*", "1.mlp_input"])
    assert count == len(table) == graph.matrix.nnz
    matrix = graph.matrix.tocoo()
    ours = dict(zip(zip(matrix.row, matrix.col, strict=True), matrix.data, strict=True))
    for row in table.sample(500, random_state=0).itertuples():
        assert ours[row.source, row.target] == row.weight
        assert row.distance == 1 / abs(row.weight)
        assert graph.units[row.source] == ("neuron", row.layer, row.neuron)
        assert graph.units[row.target] == ("output", row.tensor, row.output)


def test_an_edge_list_can_be_analysed(tmp_path):
    path = tmp_path / "edges.parquet"
    neuromfa.write_network({"down": DOWN}, path)
    analysis = neuromfa.analyse_graph(
        path, neuromfa.GraphProtocol(weighted=True), weight="distance", directed=True
    )
    assert analysis.graph["edges"] == 14
    assert analysis.unreaching == 3  # outputs lead nowhere


def test_tensors_stored_in_out():
    shapes = {"attn.c_attn": (4, 12), "attn.c_proj": (4, 4), "mlp.c_fc": (4, 16)}
    state = {f"h.0.{name}.weight": RNG.normal(0, 1, shape) for name, shape in shapes.items()}
    graph = neuromfa.export_network(state, form="networkx", layers=["0.mlp_input"])
    tensor = "h.0.mlp.c_fc.weight"
    assert isinstance(graph, nx.DiGraph)
    assert graph.number_of_edges() == 4 * 16
    for neuron, output, data in graph.edges(data=True):
        assert (neuron[:2], output[:2]) == (("neuron", "0.mlp_input"), ("output", tensor))
        assert data["weight"] == state[tensor][neuron.position, output.position]
        assert data["distance"] == naive.distance(data["weight"])


def test_neighbour_counts_are_those_of_the_analysis():
    graph = neuromfa.export_network(MODEL, form="networkx", layers=[LAYER])
    analysis = neuromfa.analyse(MODEL)
    group = next(g for g in analysis.layers if g.name == LAYER)
    in_range = [
        sum(1 < data["distance"] <= 150 for *_, data in graph.out_edges(node, data=True))
        for node in graph
        if node.kind == "neuron"
    ]
    assert len(in_range) == group.neurons
    assert sum(in_range) == group.edges_in_range


def test_parallel_edges_of_a_convolution_keep_the_strongest(tmp_path):
    module = torch.nn.Conv1d(3, 2, 4, bias=False)
    kernel = module.weight.detach().numpy().astype(np.float64)
    graph = neuromfa.export_network(module)
    strongest = np.take_along_axis(kernel, abs(kernel).argmax(2)[..., None], 2)[..., 0]
    np.testing.assert_array_equal(graph.matrix.todense()[:3, 3:], strongest.T)
    assert neuromfa.write_network(module, tmp_path / "edges.csv") == kernel.size


def test_refusals(tmp_path):
    state = {"down": DOWN}
    for options, error, message in (
        ({"layers": ["x*"]}, neuromfa.UsageError, r"no layer is called x\*"),
        ({"min_weight": -1}, neuromfa.UsageError, "at least 0"),
        ({"min_weight": math.nan}, neuromfa.UsageError, "at least 0"),
        ({"form": "dense"}, neuromfa.UsageError, "scipy or networkx"),
    ):
        with pytest.raises(error, match=message):
            neuromfa.export_network(state, **options)
    large = {"map": np.ones((1000, 500), np.float32)}
    with pytest.raises(neuromfa.ResourceError, match="do not fit in memory"):
        neuromfa.export_network(large, memory=8 << 20)
    with pytest.raises(neuromfa.UsageError, match=r"\.parquet or \.csv"):
        neuromfa.write_network(state, tmp_path / "edges.txt")
    with pytest.raises(neuromfa.BadInputError, match=r"down is nan at \[1, 1\]"):
        neuromfa.export_network({"down": np.where(DOWN[1, 1] == DOWN, np.nan, DOWN)})
