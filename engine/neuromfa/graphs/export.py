"""A model's network as a graph for other tools: an edge list in a file, a matrix, a graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from neuromfa.errors import ResourceError, UsageError
from neuromfa.graphs.adjacency import scipy_sparse
from neuromfa.graphs.network_edges import Edges, NetworkUnit, opened_part
from neuromfa.storage import atomic_file

if TYPE_CHECKING:
    import networkx as nx
    import scipy.sparse as sp

    from neuromfa.scheduler import Source

EDGE_BYTES = 64
"""Memory for an edge while a matrix is built of all."""
FORMATS = (".parquet", ".csv")


class NetworkGraph(NamedTuple):
    """A model's network as a matrix.

    Attributes
    ----------
    matrix : SciPy sparse array, shape (n_units, n_units), float64
        The weight of the edge from unit i to unit j; of several the one of the largest size.
    units : list of NetworkUnit
        What rows and columns stand for.
    """

    matrix: sp.csr_array
    units: list[NetworkUnit]


def export_network(
    source: Source,
    *,
    form: Literal["scipy", "networkx"] = "scipy",
    layers: Sequence[str] = (),
    min_weight: float = 0.0,
    **options: Any,
) -> NetworkGraph | nx.DiGraph:
    """Take a model's network, or a part of it, as a graph for other algorithms.

    An edge leads from a neuron, an input unit of its layer, to an output unit of a tensor. Where
    the outputs of one layer are the inputs of another depends on the architecture, and is not said.

    Parameters
    ----------
    source : path, str, mapping, torch.nn.Module or Checkpoint
        As for `neuromfa.analyse`.
    form : {"scipy", "networkx"}
        A sparse matrix with a list of units; or a directed graph whose nodes are these units and
        whose edges have a ``weight`` and a ``distance``, 1/abs(weight).
    layers : sequence of str
        Names or patterns such as ``"*.mlp_input"``; all by default.
    min_weight : float
        Leave out edges of smaller size; zeros are never edges.
    **options
        Those of `neuromfa.analyse` that say how a checkpoint is opened, and ``memory``.

    Raises
    ------
    UsageError
        If no layer has such a name, or `min_weight` is negative.
    BadInputError
        If a weight is NaN or infinite.
    ResourceError
        If the edges do not fit in memory, or a package is not installed.

    References
    ----------
    Definitions, sections 1 and 7.

    Examples
    --------
    >>> import numpy as np, neuromfa
    >>> graph = neuromfa.export_network({"map": np.array([[0.5, 0.0], [0.1, -2.0]])})
    >>> graph.matrix.nnz, tuple(graph.units[0]), tuple(graph.units[-1])
    (3, ('neuron', 'map', 0), ('output', 'map', 1))
    """
    if form not in ("scipy", "networkx"):
        raise UsageError(f"form {form!r}: must be scipy or networkx")
    sparse = scipy_sparse()
    with opened_part(source, layers, min_weight, options) as part:
        parts: list[Edges] = []
        edges = 0
        for found in part.edges():
            edges += len(found.weight)
            if edges * EDGE_BYTES > part.memory:
                raise ResourceError(
                    f"{part.checkpoint.source}: more than {edges:,} edges do not fit in memory "
                    f"{part.memory:,} bytes; raise min_weight or memory, choose layers, or write "
                    "an edge list to a file"
                )
            parts.append(found)
        units = part.units()
    start, stop, weight = (
        np.concatenate([getattr(p, name) for p in parts]) for name in ("source", "target", "weight")
    )
    order = np.lexsort((-np.abs(weight), stop, start))
    start, stop, weight = start[order], stop[order], weight[order]
    first = np.ones(len(start), bool)
    first[1:] = (np.diff(start) != 0) | (np.diff(stop) != 0)
    entries = (weight[first], (start[first], stop[first]))
    matrix = sparse.csr_array(sparse.coo_array(entries, shape=(len(units), len(units))))
    graph = NetworkGraph(matrix, units)
    return graph if form == "scipy" else _networkx(graph)


def _networkx(graph: NetworkGraph) -> nx.DiGraph:
    try:
        import networkx  # noqa: PLC0415  (optional, slow to import)
    except ModuleNotFoundError as error:
        raise ResourceError("this form needs NetworkX: pip install 'neuromfa[graph]'") from error
    found: nx.DiGraph = networkx.DiGraph()
    found.add_nodes_from(graph.units)
    entries = graph.matrix.tocoo()
    for i, j, w in zip(entries.row, entries.col, entries.data.tolist(), strict=True):
        found.add_edge(graph.units[i], graph.units[j], weight=w, distance=1.0 / abs(w))
    return found


def write_network(
    source: Source,
    path: str | Path,
    *,
    layers: Sequence[str] = (),
    min_weight: float = 0.0,
    **options: Any,
) -> int:
    """Write a model's network, or a part of it, as an edge list, block by block.

    The columns are ``source`` and ``target`` (numbers of units), ``weight``, ``distance``
    (1/abs(weight)), and which units these are: ``layer`` and ``neuron``, ``tensor`` and ``output``.

    Parameters
    ----------
    source, layers, min_weight, **options
        As for `export_network`.
    path : path
        Ends in ``.parquet`` or ``.csv``.

    Returns
    -------
    int
        Number of edges.

    Raises
    ------
    UsageError
        If the ending is not known, no layer has such a name, or `min_weight` is negative.
    BadInputError
        If a weight is NaN or infinite.
    ResourceError
        If the file cannot be written.

    Examples
    --------
    >>> import numpy as np, neuromfa
    >>> weights = np.random.default_rng(0).normal(0, 0.02, (256, 64))
    >>> neuromfa.write_network({"map": weights}, "edges.parquet")
    16384
    """
    import pyarrow.parquet as pq  # noqa: PLC0415  (slow to import)
    from pyarrow import csv  # noqa: PLC0415

    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path}: an edge list's name ends in {' or '.join(FORMATS)}")
    edges = 0
    with opened_part(source, layers, min_weight, options) as part, atomic_file(path) as file:
        tables = part.tables()
        first = next(tables)
        if path.suffix.lower() == ".csv":
            writer: Any = csv.CSVWriter(file, first.schema)
        else:
            writer = pq.ParquetWriter(file, first.schema, compression="zstd")
        with writer:
            for table in (first, *tables):
                writer.write_table(table)
                edges += table.num_rows
    return edges
