"""The door to the kernels of graphs at large: what is asked of them is checked here."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from neuromfa_kernels.answers import FractalDimension
from neuromfa_kernels.cpu_threads import usable_threads
from neuromfa_kernels.radius import HOP_NODE_BYTES, HOP_SOURCES

__all__ = [
    "HOP_NODE_BYTES",
    "HOP_SOURCES",
    "count_hops",
    "count_paths",
    "extend_paths",
    "node_dimension",
]


def count_hops(
    indptr: Any,
    indices: Any,
    sources: npt.ArrayLike,
    *,
    most_hops: int | None = None,
    threads: int | None = None,
) -> npt.NDArray[np.uint32]:
    """Count the nodes at exactly r hops from each source.

    Parameters
    ----------
    indptr : int64 array, shape (n + 1,)
        Where the arcs of each node begin in `indices`, and where the last ones end.
    indices : uint32 array, shape (n_arcs,)
        Node that each arc leads to; an undirected edge is two arcs.
    sources : array_like of int, shape (n_sources,)
        Nodes to count from, each at most once.
    most_hops : int, optional
        Give up beyond that many hops.
    threads : int, optional
        Threads to use; every core this process may run on if None. Changes no result.

    Returns
    -------
    uint32 array, shape (n_hops, n_sources)
        For r = 1..n_hops, the largest distance from any source. A source's counts are adjacent in
        memory.

    Raises
    ------
    TypeError
        If an array has another dtype than it must.
    ValueError
        If a shape, an index, a source or `threads` makes no sense.
    MemoryError
        If some node is more than `most_hops` hops away.

    References
    ----------
    definitions, section 7.
    """
    for name, array, dtype in (("indptr", indptr, np.int64), ("indices", indices, np.uint32)):
        if not isinstance(array, np.ndarray) or array.dtype != dtype:
            found = getattr(array, "dtype", type(array).__name__)
            raise TypeError(f"{name}: is {found}; must be a {np.dtype(dtype)} array")
        if array.ndim != 1 or not array.flags.c_contiguous:
            raise ValueError(f"{name}: has shape {array.shape}; must be one contiguous row")
    if not len(indptr) or indptr[0] or indptr[-1] != len(indices) or (np.diff(indptr) < 0).any():
        raise ValueError(f"indptr: must rise from 0 to the {len(indices)} arcs")
    n = len(indptr) - 1
    if len(indices) and indices.max() >= n:
        raise ValueError(f"indices: name node {indices.max()} of {n}")
    chosen = np.asarray(sources)
    if chosen.ndim != 1 or not chosen.size or chosen.dtype.kind not in "iu":
        raise ValueError(f"sources: have shape {chosen.shape}; must be a list of node numbers")
    chosen = np.ascontiguousarray(chosen, np.int64)
    if chosen.min() < 0 or chosen.max() >= n:
        raise ValueError(f"sources: {chosen.min()} to {chosen.max()}; the graph has {n} nodes")
    if len(np.unique(chosen)) != len(chosen):
        raise ValueError("sources: a node is named twice")
    from neuromfa_kernels import cpu_hops

    limit = n if most_hops is None else most_hops
    counts = cpu_hops.count_hops((indptr, indices), chosen, limit, _usable(threads))
    if len(counts) > limit:
        raise MemoryError(f"some node is more than {limit:,} hops away")
    return counts


def node_dimension(
    counts: Any, radii: Any, *, own: Any = None, threads: int | None = None
) -> FractalDimension:
    """Fit the dimension of every node: slope of ln M_i(r) on ln r over its own radii.

    Parameters
    ----------
    counts : uint32 array, shape (m, n_nodes)
        Nodes at exactly each of the radii.
    radii : float64 array, shape (m,)
        Positive and increasing.
    own : uint32 array, shape (n_nodes,), optional
        Nodes at distance 0 other than the node itself; giving it, if only zeros, says that the
        node counts itself.
    threads : int, optional
        As for `count_hops`.

    Returns
    -------
    FractalDimension
        `TOO_FEW_EDGES` means that a node reaches no other.

    Raises
    ------
    TypeError, ValueError
        If an array has another dtype or shape than it must.

    References
    ----------
    definitions, section 7.
    """
    for name, array, dtype in (("counts", counts, np.uint32), ("radii", radii, np.float64)):
        if not isinstance(array, np.ndarray) or array.dtype != dtype:
            found = getattr(array, "dtype", type(array).__name__)
            raise TypeError(f"{name}: is {found}; must be a {np.dtype(dtype)} array")
    if counts.ndim != 2 or radii.shape != (len(counts),):
        raise ValueError(f"counts: have shape {counts.shape}, radii {radii.shape}")
    if (np.diff(radii, prepend=0.0) <= 0).any():
        raise ValueError("radii: must be positive and increasing")
    near = np.zeros((2, counts.shape[1]), np.uint32)
    if own is not None:
        near[0] = own
    from neuromfa_kernels import cpu

    nodes = np.ascontiguousarray(counts.T)
    return cpu.fractal_dimension(
        nodes, near, 0, _usable(threads), radii=radii, own=int(own is not None)
    )


def extend_paths(
    ways: Any, lengths: Any, *, cutoff: float, threads: int | None = None
) -> npt.NDArray[np.float64]:
    """Find shortest paths over one more layer: a (min,+) product of lengths up to a cutoff.

    Parameters
    ----------
    ways : float64 array, shape (n_sources, n_units)
        Length of the shortest path from each source to each unit of a layer, above 1/2;
        infinite where there is none.
    lengths : float64 array, shape (n_units, n_targets)
        Lengths of the edges from there on, above 1/2; infinite where there is none.
    cutoff : float
        Longest path that matters.
    threads : int, optional
        As for `count_hops`.

    Returns
    -------
    float64 array, shape (n_sources, n_targets)
        Shortest float64 sum of a way and an edge, exact where it is at most `cutoff`; elsewhere
        anything that is larger.

    Raises
    ------
    TypeError, ValueError
        If an array has another dtype or shape than it must, or is not contiguous.

    References
    ----------
    definitions, section 7.
    """
    _check_lengths(ways, "ways")
    _check_lengths(lengths, "lengths")
    if ways.shape[1] != len(lengths):
        raise ValueError(f"ways: lead to {ways.shape[1]} units and lengths from {len(lengths)}")
    from neuromfa_kernels import cpu_paths

    return cpu_paths.extend_paths(ways, lengths, float(cutoff), _usable(threads))


def count_paths(
    ways: Any, *, cutoff: float, into: npt.NDArray[np.uint32], threads: int | None = None
) -> None:
    """Count the units at each radius from each source, and add them.

    Parameters
    ----------
    ways : float64 array, shape (n_sources, n_units)
        Lengths of shortest paths, above 1/2; a radius is a length rounded half to even.
    cutoff : float
        Longest path that counts.
    into : uint32 array, shape (n_radii, n_sources)
        Counts for the radii 1..n_radii, with those of a source adjacent in memory.
    threads : int, optional
        As for `count_hops`.

    Raises
    ------
    TypeError, ValueError
        If an array has another dtype or shape than it must, or is not contiguous.

    References
    ----------
    definitions, sections 2 and 7.
    """
    _check_lengths(ways, "ways")
    if not isinstance(into, np.ndarray) or into.dtype != np.uint32:
        raise TypeError(f"into: is {getattr(into, 'dtype', type(into).__name__)}; must be uint32")
    if into.shape != (round(cutoff), len(ways)) or not into.T.flags.c_contiguous:
        raise ValueError(
            f"into: has shape {into.shape}; must be {(round(cutoff), len(ways))}, sources adjacent"
        )
    from neuromfa_kernels import cpu_paths

    cpu_paths.count_paths(ways, float(cutoff), into.T, _usable(threads))


def _check_lengths(array: Any, name: str) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != np.float64:
        found = getattr(array, "dtype", type(array).__name__)
        raise TypeError(f"{name}: is {found}; must be a float64 array")
    if array.ndim != 2 or not array.flags.c_contiguous:
        raise ValueError(f"{name}: has shape {array.shape}; must be a contiguous matrix")
    if array.size and not array.min() > 0.5:  # also refuses NaN
        raise ValueError(f"{name}: must be above 1/2, and the least is {array.min()}")


def _usable(threads: int | None) -> int:
    if threads is not None and threads < 1:
        raise ValueError(f"threads {threads}: must be at least 1")
    return usable_threads(threads)
