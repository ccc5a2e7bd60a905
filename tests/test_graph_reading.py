"""Graphs of files and other libraries: the same graph from each, and errors that say what to do."""

import networkx as nx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.io
import scipy.sparse as sp

from neuromfa import BadInputError, ResourceError, UnsupportedError, UsageError
from neuromfa.graphs import adjacency
from neuromfa.graphs.reading import read_graph

EDGES = [("b", "a", 1.5), ("a", "c", 0.5), ("c", "d", 2.0), ("d", "b", 0.25)]
SORTED = ["a", "b", "c", "d"]


def arcs(graph):
    """Arcs with their lengths, by name."""
    found = {}
    for i, name in enumerate(graph.names):
        for e in range(graph.indptr[i], graph.indptr[i + 1]):
            length = 1.0 if graph.lengths is None else float(graph.lengths[e])
            found[name, graph.names[graph.indices[e]]] = length
    return found


def expected(*, directed=False, weighted=True):
    found = {}
    for a, b, length in EDGES:
        found[a, b] = length if weighted else 1.0
        if not directed:
            found[b, a] = found[a, b]
    return found


def lines(separator, *, header=None, lengths=True):
    rows = [separator.join((a, b, str(w)) if lengths else (a, b)) for a, b, w in EDGES]
    return "\n".join(([header] if header else []) + rows) + "\n"


TEXTS = {
    "plain.csv": lines(","),
    "header.csv": lines(",", header="source,target,weight"),
    "other_header.csv": lines(",", header="from,to,weight"),
    "tabs.tsv": "# a comment\n# another\n" + lines("\t"),
    "blanks.edges": "% as in network collections\n" + lines(" "),
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("directed", [False, True])
def test_edge_lists(tmp_path, name, directed):
    path = tmp_path / name
    path.write_text(TEXTS[name])
    found = read_graph(path, weighted=True, directed=directed)
    assert found.names == SORTED
    assert arcs(found) == expected(directed=directed)
    assert found.edges == len(EDGES)
    hops = read_graph(str(path), directed=directed)
    assert arcs(hops) == expected(directed=directed, weighted=False)


def test_numbers_as_names_are_sorted_as_numbers(tmp_path):
    path = tmp_path / "numbers.txt"
    path.write_text("10 9\n9 2\n")
    assert read_graph(path).names == [2, 9, 10]


def test_parquet_by_names_or_by_position(tmp_path):
    first, second, lengths = map(list, zip(*EDGES, strict=True))
    for k, names in enumerate((("weight", "target", "source"), ("x", "y", "weight"))):
        columns = (lengths, second, first) if k == 0 else (first, second, lengths)
        path = tmp_path / f"{k}.parquet"
        pq.write_table(pa.table(dict(zip(names, columns, strict=True))), path)
        assert arcs(read_graph(path, weighted=True, directed=True)) == expected(directed=True)


def test_matrix_files(tmp_path):
    number = {name: k for k, name in enumerate(SORTED)}
    rows, columns = ([number[e[k]] for e in EDGES] for k in (0, 1))
    matrix = sp.coo_array(([e[2] for e in EDGES], (rows, columns)), shape=(4, 4))
    sp.save_npz(tmp_path / "m.npz", matrix.tocsr())
    scipy.io.mmwrite(tmp_path / "m.mtx", matrix)
    for name in ("m.npz", "m.mtx"):
        for directed in (False, True):
            found = arcs(read_graph(tmp_path / name, weighted=True, directed=directed))
            named = {(SORTED[a], SORTED[b]): w for (a, b), w in found.items()}
            assert named == expected(directed=directed)


def test_graphml_keeps_direction(tmp_path):
    for kind in (nx.Graph, nx.DiGraph):
        graph = kind()
        graph.add_weighted_edges_from(EDGES)
        path = tmp_path / "g.graphml"
        nx.write_graphml(graph, path)
        directed = kind is nx.DiGraph
        assert arcs(read_graph(path, weighted=True)) == expected(directed=directed)
        assert arcs(read_graph(graph, weighted=True)) == expected(directed=directed)
    assert arcs(read_graph(graph, weighted=True, directed=False)) == expected()


def test_both_ways_of_an_edge_are_the_shorter_one():
    matrix = sp.csr_array(np.array([[0, 3.0, 0], [1.0, 0, 2.0], [0, 0, 0]]))
    found = arcs(read_graph(matrix, weighted=True))
    assert found == {(0, 1): 1.0, (1, 0): 1.0, (1, 2): 2.0, (2, 1): 2.0}


BROKEN = {
    "one_column.csv": ("a\nb\n", "one column"),
    "no_lengths.csv": ("a,b\nb,c\n", "no column 'weight'"),
    "zero.csv": ("a,b,0\nb,c,1\n", "edge a - b has the length 0; lengths must be positive"),
    "negative.csv": ("a,b,1\nb,c,-1\n", "edge b - c has the length -1"),
    "gap.csv": ("source,target,weight\na,b,1\nb,c,\n", "lacks the length"),
    "words.csv": ("a,b,x\nb,c,y\n", "cannot be read as .csv"),
    "loops.csv": ("a,a,1\nb,b,1\n", "2 nodes and no edge"),
    "ragged.csv": ("a,b,1\nb,c\n", "cannot be read as .csv"),
    "broken.graphml": ("<graphml", "cannot be read as .graphml"),
    "broken.mtx": ("nothing", "cannot be read as .mtx"),
    "broken.parquet": ("nothing", "cannot be read as .parquet"),
    "wide.mtx": ("%%MatrixMarket matrix coordinate real general\n2 3 1\n1 2 1.0\n", "is square"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_named(tmp_path, name):
    text, message = BROKEN[name]
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(BadInputError, match=message) as error:
        read_graph(path, weighted=True)
    assert name in str(error.value)


def test_what_is_no_graph(tmp_path):
    with pytest.raises(BadInputError, match="no such file"):
        read_graph(tmp_path / "absent.csv")
    with pytest.raises(UnsupportedError, match=r"ends in \.csv, \.tsv"):
        read_graph(tmp_path / "graph.pickle")
    with pytest.raises(UnsupportedError, match=r"not builtins\.int"):
        read_graph(3)
    with pytest.raises(UsageError, match="is not directed"):
        read_graph(nx.path_graph(3), directed=True)
    with pytest.raises(BadInputError, match="0 - 1 has no attribute 'length'"):
        read_graph(nx.path_graph(3), weighted=True, weight="length")


def test_absent_packages_are_named(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "scipy.sparse", None)
    with pytest.raises(ResourceError, match=r"neuromfa\[graph\]"):
        adjacency.scipy_sparse()
    monkeypatch.setattr("neuromfa.graphs.reading.find_spec", lambda _: None)
    path = tmp_path / "g.graphml"
    path.write_text("<graphml/>")
    with pytest.raises(ResourceError, match=r"neuromfa\[graph\]"):
        read_graph(path)
