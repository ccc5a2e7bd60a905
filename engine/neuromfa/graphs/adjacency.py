"""A graph as arrays: the arcs of each node, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuromfa.errors import BadInputError, ResourceError
from neuromfa.multifractal import Float64, Int64

if TYPE_CHECKING:
    import scipy.sparse as sp

MOST_NODES = 1 << 32


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Adjacency:
    """A simple graph; an undirected edge is two arcs.

    Attributes
    ----------
    indptr : int64 array, shape (n + 1,)
        Where the arcs of each node begin.
    indices : uint32 array, shape (n_arcs,)
        Node that each arc leads to, increasing for each node.
    lengths : float64 array, shape (n_arcs,), or None
        Positive; None in a graph without lengths.
    directed : bool
        Whether arcs have no way back.
    names : sequence
        What the nodes are called where the graph comes from.
    source : str
        Where the graph comes from.
    self_loops, parallel_edges : int
        Edges left out: from a node to itself, and all but the shortest between two nodes.
    """

    indptr: Int64
    indices: npt.NDArray[np.uint32]
    lengths: Float64 | None
    directed: bool
    names: Sequence[Any] = field(repr=False)
    source: str
    self_loops: int = 0
    parallel_edges: int = 0

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return len(self.indptr) - 1

    @property
    def edges(self) -> int:
        """Number of edges, those of an undirected graph counted once."""
        return len(self.indices) if self.directed else len(self.indices) // 2

    def degrees(self) -> Int64:
        """Edges at each node; in a directed graph, arcs that leave and arcs that arrive."""
        leaving = np.diff(self.indptr)
        if not self.directed:
            return leaving
        return leaving + np.bincount(self.indices, minlength=self.nodes)

    def matrix(self) -> sp.csr_array:
        """As a SciPy matrix of lengths, 1 where there are none."""
        sparse = scipy_sparse()
        values = np.ones(len(self.indices)) if self.lengths is None else self.lengths
        shape = (self.nodes, self.nodes)
        found: sp.csr_array = sparse.csr_array((values, self.indices, self.indptr), shape=shape)
        return found

    def components(self) -> tuple[Int64, Int64]:
        """Component of each node, where arcs lead both ways, and the components' sizes.

        Components are numbered by size, the largest first, equal ones by their first node.
        """
        scipy_sparse()
        from scipy.sparse import csgraph  # noqa: PLC0415  (optional, slow to import)

        number, label = csgraph.connected_components(self.matrix(), directed=self.directed)
        sizes = np.bincount(label, minlength=number)
        first = np.full(number, self.nodes)
        np.minimum.at(first, label, np.arange(self.nodes))
        order = np.lexsort((first, -sizes))
        rank = np.empty(number, np.int64)
        rank[order] = np.arange(number)
        return rank[label], sizes[order]

    def part(self, nodes: Int64) -> Adjacency:
        """The graph of some nodes, increasing, that have no arcs to others."""
        renumbered = np.zeros(self.nodes, np.uint32)
        renumbered[nodes] = np.arange(len(nodes), dtype=np.uint32)
        degrees = np.diff(self.indptr)
        inside = np.zeros(self.nodes, bool)
        inside[nodes] = True
        arcs = np.repeat(inside, degrees)
        return replace(
            self,
            indptr=np.concatenate([[0], np.cumsum(degrees[nodes])]).astype(np.int64),
            indices=renumbered[self.indices[arcs]],
            lengths=None if self.lengths is None else self.lengths[arcs],
            names=[self.names[i] for i in nodes],
        )


def from_edges(
    ends: tuple[npt.NDArray[Any], npt.NDArray[Any]],
    lengths: Float64 | None,
    names: Sequence[Any],
    *,
    directed: bool,
    source: str,
) -> Adjacency:
    """Build a graph from its edges, in any order.

    Parameters
    ----------
    ends : two arrays of int, shape (n_edges,)
        Nodes from 0.
    lengths : float64 array, shape (n_edges,), or None
        Of the edges.
    names : sequence
        One for each node.
    directed : bool
        Whether edges lead from the first node to the second only.
    source : str
        What messages call the graph.

    Raises
    ------
    BadInputError
        If a length is not positive and finite, or there is no edge.
    ResourceError
        If there are too many nodes.
    """
    start, stop = (np.asarray(end, np.int64) for end in ends)
    n = len(names)
    if n >= MOST_NODES:
        raise ResourceError(f"{source}: {n:,} nodes; at most {MOST_NODES - 1:,} can be numbered")
    if lengths is not None:
        _check_lengths(lengths, (start, stop), names, source)
    loops = start == stop
    kept = ~loops
    start, stop = start[kept], stop[kept]
    lengths = None if lengths is None else np.asarray(lengths, np.float64)[kept]
    if not directed:
        start, stop = np.minimum(start, stop), np.maximum(start, stop)
    # the shortest of parallel edges comes first, and it alone stays
    keys = (stop, start) if lengths is None else (lengths, stop, start)
    order = np.lexsort(keys)
    start, stop = start[order], stop[order]
    new = np.ones(len(start), bool)
    new[1:] = (start[1:] != start[:-1]) | (stop[1:] != stop[:-1])
    parallel = int((~new).sum())
    start, stop = start[new], stop[new]
    lengths = None if lengths is None else lengths[order][new]
    if not len(start):
        raise BadInputError(f"{source}: the graph has {n:,} nodes and no edge between two of them")
    if not directed:
        start, stop = np.concatenate([start, stop]), np.concatenate([stop, start])
        lengths = None if lengths is None else np.concatenate([lengths, lengths])
        order = np.lexsort((stop, start))
        start, stop = start[order], stop[order]
        lengths = None if lengths is None else lengths[order]
    return Adjacency(
        indptr=np.concatenate([[0], np.cumsum(np.bincount(start, minlength=n))]).astype(np.int64),
        indices=stop.astype(np.uint32),
        lengths=lengths,
        directed=directed,
        names=names,
        source=source,
        self_loops=int(loops.sum()),
        parallel_edges=parallel,
    )


def _check_lengths(
    lengths: Float64, ends: tuple[Int64, Int64], names: Sequence[Any], source: str
) -> None:
    wrong = ~(np.isfinite(lengths) & (lengths > 0))
    if wrong.any():
        k = int(np.argmax(wrong))
        edge = f"{names[ends[0][k]]} - {names[ends[1][k]]}"
        raise BadInputError(
            f"{source}: edge {edge} has the length {lengths[k]:g}; lengths must be positive and "
            "finite: mend it, or count hops (not weighted)"
        )


def scipy_sparse() -> Any:
    """SciPy's sparse matrices, which graphs at large need.

    Raises
    ------
    ResourceError
        If SciPy is not installed.
    """
    try:
        import scipy.sparse  # noqa: PLC0415  (optional, slow to import)
    except ModuleNotFoundError as error:
        raise ResourceError("graphs need SciPy: pip install 'neuromfa[graph]'") from error
    return scipy.sparse
