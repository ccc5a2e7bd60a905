"""Graphs of other libraries and of files, as arrays."""

from __future__ import annotations

import os
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromfa.errors import BadInputError, ResourceError, UnsupportedError, UsageError
from neuromfa.graphs.adjacency import Adjacency, from_edges, scipy_sparse

if TYPE_CHECKING:
    import pyarrow as pa

ENDS = (("source", "target"), ("src", "dst"), ("from", "to"), ("u", "v"), ("i", "j"))
"""Headers by which the columns of an edge list are recognised; else they are the first two."""
SUFFIXES = (".csv", ".tsv", ".txt", ".edges", ".parquet", ".mtx", ".mtx.gz", ".graphml", ".npz")
WEIGHT = "weight"


def read_graph(
    graph: Any, *, weighted: bool = False, weight: str = WEIGHT, directed: bool | None = None
) -> Adjacency:
    """Read a graph, whatever holds it.

    Parameters
    ----------
    graph : path, networkx.Graph, SciPy sparse matrix or array, cugraph.Graph
        A file is told by its ending: an edge list ``.csv``, ``.tsv``, ``.txt``, ``.edges`` or
        ``.parquet``, Matrix Market ``.mtx``, ``.graphml``, SciPy's ``.npz``.
    weighted : bool
        Whether lengths are wanted.
    weight : str
        Edge attribute or column that holds them; a matrix is its own.
    directed : bool, optional
        By default what NetworkX and cuGraph graphs say of themselves, and False for the others.

    Raises
    ------
    BadInputError
        If a file is missing or broken, or lengths are missing or not positive.
    UnsupportedError
        If it is no such graph.
    ResourceError
        If the package that reads it is not installed.
    """
    wanted = weight if weighted else None
    if isinstance(graph, str | os.PathLike):
        return _from_file(Path(graph), wanted, directed=directed)
    library = type(graph).__module__.partition(".")[0]
    if library == "scipy" and hasattr(graph, "tocoo"):
        return _from_matrix(graph, wanted, directed=directed, source="SciPy matrix")
    if library == "cugraph":
        own = bool(graph.is_directed()) if directed is None else directed
        # the columns are source, target and, in a weighted graph, the weight; on the GPU till here
        table = graph.view_edge_list().to_arrow()
        return _from_table(
            table, "weights" if wanted else None, directed=own, source="cuGraph graph"
        )
    if hasattr(graph, "is_directed") and hasattr(graph, "edges"):
        return _from_networkx(graph, wanted, directed=directed, source="NetworkX graph")
    raise UnsupportedError(
        f"a graph can be a file, a NetworkX or cuGraph graph or a SciPy sparse matrix, not "
        f"{type(graph).__module__}.{type(graph).__name__}"
    )


def _from_file(path: Path, weight: str | None, *, directed: bool | None) -> Adjacency:
    name = path.name.lower()
    suffix = next((s for s in SUFFIXES if name.endswith(s)), None)
    if suffix is None:
        raise UnsupportedError(f"{path}: a graph's file ends in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise BadInputError(f"{path}: there is no such file")
    try:
        if suffix == ".graphml":
            graph = _networkx().read_graphml(path)
            return _from_networkx(graph, weight, directed=directed, source=str(path))
        if suffix in (".mtx", ".mtx.gz", ".npz"):
            sparse = scipy_sparse()
            from scipy.io import mmread  # noqa: PLC0415  (optional)

            matrix = sparse.load_npz(path) if suffix == ".npz" else mmread(path, spmatrix=False)
            return _from_matrix(matrix, weight, directed=directed, source=str(path))
        table = _parquet(path) if suffix == ".parquet" else _text(path)
        return _from_table(table, weight, directed=bool(directed), source=str(path))
    except (OSError, ValueError, TypeError, KeyError, SyntaxError) as error:
        what = (str(error) or type(error).__name__).splitlines()[0]
        raise BadInputError(f"{path}: cannot be read as {suffix} ({what})") from error


def _networkx() -> Any:
    if find_spec("networkx") is None:
        raise ResourceError("GraphML needs NetworkX: pip install 'neuromfa[graph]'")
    import networkx  # noqa: PLC0415  (optional, slow to import)

    return networkx


def _from_networkx(
    graph: Any, weight: str | None, *, directed: bool | None, source: str
) -> Adjacency:
    names = list(graph.nodes)
    number = {name: k for k, name in enumerate(names)}
    edges = list(graph.edges(data=weight) if weight else graph.edges())
    ends = np.array([(number[e[0]], number[e[1]]) for e in edges], np.int64).reshape(-1, 2)
    lengths = None
    if weight:
        missing = next((e for e in edges if e[2] is None), None)
        if missing is not None:
            raise BadInputError(
                f"{source}: edge {missing[0]} - {missing[1]} has no attribute {weight!r}; say "
                "which holds lengths (weight), or count hops (not weighted)"
            )
        lengths = np.array([float(e[2]) for e in edges])
    own = bool(graph.is_directed())
    if own and directed is False:
        own = False  # arcs both ways are one edge, the shorter
    elif directed and not own:
        raise UsageError(f"{source}: is not directed; leave out directed, or give a DiGraph")
    return from_edges((ends[:, 0], ends[:, 1]), lengths, names, directed=own, source=source)


def _from_matrix(
    matrix: Any, weight: str | None, *, directed: bool | None, source: str
) -> Adjacency:
    """Row i, column j is an arc from i to j; without direction the two ways are one edge."""
    found = matrix.tocsr().tocoo()  # as SciPy says, entries stored twice are one, their sum
    if not hasattr(matrix, "shape") or len(matrix.shape) != 2 or len(set(matrix.shape)) != 1:
        raise BadInputError(f"{source}: has shape {matrix.shape}; a graph's matrix is square")
    kept = found.data != 0
    ends = (found.row[kept], found.col[kept])
    lengths = found.data[kept].astype(np.float64) if weight else None
    graph = from_edges(
        ends, lengths, range(matrix.shape[0]), directed=bool(directed), source=source
    )
    return replace(graph, parallel_edges=0)  # a symmetric matrix stores every edge twice


def _parquet(path: Path) -> pa.Table:
    import pyarrow.parquet as pq  # noqa: PLC0415  (slow to import)

    return pq.read_table(path)


def _text(path: Path) -> pa.Table:
    """Columns parted by commas, tabs or blanks; lines that begin with # or % at the head."""
    from pyarrow import csv  # noqa: PLC0415  (slow to import)

    skipped, first = 0, ""
    with path.open(encoding="utf-8") as file:
        for line in file:
            first = line.strip()
            if first and first[0] not in "#%":
                break
            skipped += 1
    delimiter = next((mark for mark in (",", "\t", ";") if mark in first), " ")
    columns = [column.strip().strip('"') for column in first.split(delimiter)]
    header = tuple(column.lower() for column in columns[:2]) in ENDS
    reading = csv.ReadOptions(
        skip_rows=skipped,
        column_names=None if header else [f"column {k + 1}" for k in range(len(columns))],
    )
    return csv.read_csv(path, reading, csv.ParseOptions(delimiter=delimiter))


def _from_table(table: pa.Table, weight: str | None, *, directed: bool, source: str) -> Adjacency:
    import pyarrow as pa  # noqa: PLC0415  (slow to import)
    import pyarrow.compute as pc  # noqa: PLC0415

    if table.num_columns < 2:
        raise BadInputError(f"{source}: has one column; an edge list has a source and a target")
    lower = {name.lower(): name for name in reversed(table.column_names)}
    pair = next((p for p in ENDS if p[0] in lower and p[1] in lower), None)
    first, second = (lower[p] for p in pair) if pair else table.column_names[:2]
    columns = [table.column(first), table.column(second)]
    if any(column.null_count for column in columns):
        raise BadInputError(f"{source}: an edge lacks its source or its target")
    if columns[0].type != columns[1].type:
        columns = [column.cast(pa.string()) for column in columns]
    both = pa.chunked_array([*columns[0].chunks, *columns[1].chunks], type=columns[0].type)
    codes = both.combine_chunks().dictionary_encode()
    order = pc.sort_indices(codes.dictionary)  # nodes in the order of their names, not of edges
    rank = np.empty(len(order), np.int64)
    rank[order.to_numpy()] = np.arange(len(order))
    numbers = rank[codes.indices.to_numpy()]
    half = table.num_rows
    lengths = _lengths(table, weight, source, {first, second}) if weight else None
    names = codes.dictionary.take(order).to_pylist()
    return from_edges(
        (numbers[:half], numbers[half:]), lengths, names, directed=directed, source=source
    )


def _lengths(table: pa.Table, weight: str, source: str, ends: set[str]) -> Any:
    """Column of lengths: by its name, or the third of three that have none."""
    others = [name for name in table.column_names if name not in ends]
    unnamed = len(others) == 1 and (others[0].startswith("column ") or weight == "weights")
    name = weight if weight in others else others[0] if unnamed else None
    if name is None:
        raise BadInputError(
            f"{source}: has no column {weight!r} (but {', '.join(others) or 'no third one'}); say "
            "which holds lengths (weight), or count hops (not weighted)"
        )
    column = table.column(name)
    if column.null_count:
        raise BadInputError(f"{source}: column {name} lacks the length of an edge")
    return column.to_numpy().astype(np.float64)
