"""Graphs and paths on simulated GPUs: the records that the processors write, to the last bit."""

import networkx as nx
import numpy as np
import pytest

import neuromfa
from neuromfa import GraphProtocol, analyse_graph, devices
from neuromfa.errors import BadInputError, ResourceError
from neuromfa_kernels import cuda_hops, cuda_paths
from simt import needs_compiler
from simulated_gpus import LateDriver
from test_multihop import MODEL

pytestmark = needs_compiler
Q = neuromfa.q_grid(-3, 3, 0.5)


@pytest.fixture
def machine(monkeypatch):
    """Let this machine have some simulated GPUs, late and of any order of threads."""

    def build(count, **settings):
        made = {}

        def driver(number):
            made.setdefault(number, LateDriver(number, order="random", **settings))
            return made[number]

        monkeypatch.setattr(devices, "device_count", lambda: count)
        monkeypatch.setattr(devices, "Driver", driver)
        return made

    return build


def numbers(analysis):
    """What does not depend on where it was computed."""
    return {k: v for k, v in analysis.to_dict().items() if k != "provenance"}


@pytest.mark.parametrize("device", ["cuda:0", "cuda", "auto", "cuda:2,1"])
def test_graphs_have_the_same_record(machine, device):
    machine(3)
    graph = nx.disjoint_union(nx.barabasi_albert_graph(700, 3, seed=0), nx.path_graph(80))
    for protocol in (GraphProtocol(q=Q), GraphProtocol(q=Q, component=1)):
        on_cpu = analyse_graph(graph, protocol)
        on_gpu = analyse_graph(graph, protocol, device=device)
        assert numbers(on_gpu) == numbers(on_cpu)
        np.testing.assert_array_equal(on_gpu.node_dimensions, on_cpu.node_dimensions)
        assert on_gpu.provenance["device"].startswith("cuda:")
    drawn = GraphProtocol(q=Q, sources=150)
    assert numbers(analyse_graph(graph, drawn, device=device)) == numbers(
        analyse_graph(graph, drawn)
    )


def test_arrows(machine):
    machine(1)
    graph = nx.gnp_random_graph(150, 0.02, seed=3, directed=True)
    on_gpu = analyse_graph(graph, GraphProtocol(q=Q), device="cuda")
    assert numbers(on_gpu) == numbers(analyse_graph(graph, GraphProtocol(q=Q)))


def test_what_a_gpu_cannot_do_is_one_sentence(machine):
    machine(1, free=1000)
    graph = nx.path_graph(400)
    with pytest.raises(ResourceError, match=r"device memory is 900; raise --device-memory"):
        analyse_graph(graph, device="cuda")
    with pytest.raises(ResourceError, match="there is no GPU 1"):
        analyse_graph(graph, device="cuda:1")
    weighted = GraphProtocol(q=Q, weighted=True)
    for edge in graph.edges.values():
        edge["weight"] = 1.5
    with pytest.raises(ResourceError, match=r"need cuGraph there .*neuromfa\[cugraph\]"):
        analyse_graph(graph, weighted, device="cuda")
    assert analyse_graph(graph, weighted, device="auto").provenance["device"] == "cpu"
    enough = cuda_hops.pass_bytes(400, 798)
    found = analyse_graph(graph, GraphProtocol(q=Q), device="cuda", device_memory=enough)
    assert len(found.radii) == 399
    with pytest.raises(ResourceError, match="hops away; raise --memory"):
        analyse_graph(graph, GraphProtocol(q=Q), device="cuda", device_memory=enough,
                      memory=100_000)  # fmt: skip


@pytest.mark.parametrize("device", ["cuda:0", "cuda"])
@pytest.mark.parametrize(
    ("topology", "hops", "layer"),
    [
        ("paper_chain", 3, "3.attention_output"),
        ("residual", 3, "4.attention_output"),
        ("paper_chain", 2, "2.mlp_hidden"),
    ],
)
def test_paths_have_the_same_record(machine, device, topology, hops, layer):
    made = machine(2)
    protocol = neuromfa.Protocol(radii="all", cutoff=60)
    settings = {"layers": [layer], "topology": topology, "share": 0.4}
    on_cpu = neuromfa.analyse_hops(MODEL, hops, protocol, **settings)
    on_gpu = neuromfa.analyse_hops(MODEL, hops, protocol, **settings, device=device)
    assert numbers(on_gpu) == numbers(on_cpu)
    assert on_gpu.provenance["device"] == ("cuda:0,1" if device == "cuda" else device)
    launched = {name for driver in made.values() for name, *_ in driver.simt.launches}
    assert launched >= {"extend", "count", "measure_codes16"}


def test_gate_and_up_and_memory(machine):
    machine(1)
    rng = np.random.default_rng(0)
    shapes = {"gate_proj": (60, 40), "up_proj": (60, 40), "down_proj": (40, 60)}
    state = {
        f"model.layers.0.mlp.{name}.weight": rng.normal(0, 0.3, shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    on_cpu = neuromfa.analyse_hops(state, 2)
    on_gpu = neuromfa.analyse_hops(state, 2, device="cuda", device_memory=170_000)
    assert numbers(on_gpu) == numbers(on_cpu)
    with pytest.raises(ResourceError, match=r"device memory is 9,000; raise --device-memory"):
        neuromfa.analyse_hops(state, 2, device="cuda", device_memory=9000)
    state["model.layers.0.mlp.down_proj.weight"][3, 4] = np.nan
    with pytest.raises(BadInputError, match=r"down_proj.weight is nan at \[3, 4\]"):
        neuromfa.analyse_hops(state, 2, layers=["0.mlp_input"], device="cuda")
    dropped = neuromfa.Protocol(nonfinite="drop")
    assert numbers(neuromfa.analyse_hops(state, 2, dropped, device="cuda")) == numbers(
        neuromfa.analyse_hops(state, 2, dropped)
    )


def test_a_gpu_that_fails_is_one_sentence(machine, monkeypatch):
    machine(1)

    def broken(*_, **__):
        raise RuntimeError("cuda:0: an illegal instruction")

    monkeypatch.setattr(cuda_hops, "count_hops", broken)
    monkeypatch.setattr(cuda_paths, "extend_paths", broken)
    with pytest.raises(ResourceError, match="an illegal instruction"):
        analyse_graph(nx.path_graph(5), device="cuda")
    with pytest.raises(ResourceError, match="an illegal instruction"):
        neuromfa.analyse_hops(MODEL, 2, layers=["0.mlp_input"], device="cuda")
