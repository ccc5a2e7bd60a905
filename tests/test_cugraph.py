"""Lengths of paths by cuGraph: our calls against its sources, and against a double of SciPy.

No GPU has run them. Where its wheel is installed, even without what it depends on, its sources say
what the calls take; `pip install --no-deps pylibcugraph-cu13` is enough.
"""

import importlib.util
import re
import sys
import types
from contextlib import nullcontext
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.csgraph import dijkstra

import neuromfa
from neuromfa import GraphProtocol, analyse_graph, devices
from neuromfa.graphs import lengths
from simulated_gpus import LateDriver
from test_graph_gpu import numbers

Q = neuromfa.q_grid(-2, 2, 1)
WEIGHTED = GraphProtocol(q=Q, weighted=True, digits=2)
SPEC = importlib.util.find_spec("pylibcugraph")


class Asked:
    """A class or function that notes which names it was called with."""

    def __init__(self, seen, name, work):
        self.seen, self.name, self.work = seen, name, work

    def __call__(self, **given):
        self.seen[self.name] = set(given)
        return self.work(**given)


def double(seen, *, wrong=0.0):
    """pylibcugraph, as far as it is called, over SciPy."""

    def sssp(*, graph, source, cutoff, **_):
        found = dijkstra(graph, indices=source)
        order = np.random.default_rng(source).permutation(len(found))  # vertices in any order
        found[np.isinf(found)] = cutoff
        return order, found[order] + wrong, order

    def graph(*, src_or_offset_array, dst_or_index_array, weight_array, **_):
        n = int(max(src_or_offset_array.max(), dst_or_index_array.max())) + 1
        return sp.csr_array((weight_array, (src_or_offset_array, dst_or_index_array)), shape=(n, n))

    return types.SimpleNamespace(
        ResourceHandle=Asked(seen, "ResourceHandle", object),
        GraphProperties=Asked(seen, "GraphProperties", dict),
        SGGraph=Asked(seen, "SGGraph", graph),
        sssp=Asked(seen, "sssp", sssp),
    )


@pytest.fixture
def gpu(monkeypatch):
    """A machine with two simulated GPUs and doubles of CuPy and cuGraph."""

    def build(**settings):
        seen = {}
        cupy = types.SimpleNamespace(
            asarray=np.asarray,
            asnumpy=np.asarray,
            cuda=types.SimpleNamespace(Device=lambda _: nullcontext()),
        )
        monkeypatch.setitem(sys.modules, "cupy", cupy)
        monkeypatch.setitem(sys.modules, "pylibcugraph", double(seen, **settings))
        monkeypatch.setattr(devices, "device_count", lambda: 2)
        monkeypatch.setattr(devices, "Driver", LateDriver)
        return seen

    return build


def random_graph(*, directed):
    graph = nx.gnp_random_graph(60, 0.06, seed=4, directed=directed)
    rng = np.random.default_rng(0)
    for edge in graph.edges.values():
        edge["weight"] = float(rng.uniform(0.5, 3))
    return graph


@pytest.mark.parametrize("directed", [False, True])
def test_the_record_is_that_of_the_processors(gpu, directed):
    seen = gpu()
    graph = random_graph(directed=directed)
    on_gpu = analyse_graph(graph, WEIGHTED, device="cuda:1")
    assert numbers(on_gpu) == numbers(analyse_graph(graph, WEIGHTED))
    assert on_gpu.provenance["device"] == "cuda:1"
    assert set(seen) == {"ResourceHandle", "GraphProperties", "SGGraph", "sssp"}


def test_refusals(gpu, monkeypatch):
    gpu(wrong=0.5)
    graph = random_graph(directed=False)
    with pytest.raises(neuromfa.ResourceError, match=r"where 0, 1\.25 and 3\.75 are right"):
        analyse_graph(graph, WEIGHTED, device="cuda:0")
    with pytest.raises(neuromfa.UnsupportedError, match="on one GPU; name it"):
        analyse_graph(graph, WEIGHTED, device="cuda")
    gpu()

    def fail(**_):
        raise RuntimeError("non-success value returned from cugraph_sssp\nand more")

    monkeypatch.setattr(sys.modules["pylibcugraph"], "sssp", fail)
    with pytest.raises(neuromfa.ResourceError, match=r"device cuda:0: non-success [^\n]*sssp$"):
        analyse_graph(graph, WEIGHTED, device="cuda:0")
    monkeypatch.setitem(sys.modules, "pylibcugraph", None)
    with pytest.raises(neuromfa.ResourceError, match=r"need cuGraph there .*\[cugraph\]"):
        analyse_graph(graph, WEIGHTED, device="cuda:0")


def declared(folder, file, name):
    """Parameters of a function, or of a class's constructor, and which have a default."""
    text = (folder / file).read_text(encoding="utf-8")
    body = text[text.index(name) :]
    inside = re.search(r"\((.*?)\):", body[body.index("(") :], re.DOTALL)[1]
    inside = re.sub(r"#[^\n]*", "", inside)
    parameters = [part.strip() for part in inside.split(",") if part.strip()]
    return {re.split(r"[\s=]", p.partition("=")[0].strip())[-1]: "=" in p for p in parameters}


@pytest.mark.skipif(SPEC is None, reason="the wheel of pylibcugraph is not installed")
def test_our_calls_are_those_of_its_sources(gpu):
    folder = Path(SPEC.submodule_search_locations[0])
    seen = gpu()
    analyse_graph(random_graph(directed=True), WEIGHTED, device="cuda:0")
    for name, (file, at) in {
        "sssp": ("sssp.pyx", "def sssp"),
        "SGGraph": ("graphs.pyx", "def __cinit__"),
        "GraphProperties": ("graph_properties.pyx", "def __cinit__"),
        "ResourceHandle": ("resource_handle.pyx", "def __cinit__"),
    }.items():
        known = declared(folder, file, at)
        known.pop("self", None)
        assert seen[name] <= set(known), name
        assert {p for p, has_default in known.items() if not has_default} <= seen[name], name
    assert "class SGGraph" in (folder / "graphs.pyx").read_text(encoding="utf-8")
    said = (folder / "sssp.pyx").read_text(encoding="utf-8")
    assert "the maximum value of the data type" in re.sub(r"\s+", " ", said)
    assert np.finfo(np.float64).max == lengths.UNREACHED
