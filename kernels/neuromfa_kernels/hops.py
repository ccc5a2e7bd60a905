"""The door to the kernels of graphs at large: what is asked of them is checked here."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from neuromfa_kernels.answers import FractalDimension
from neuromfa_kernels.radius import HOP_NODE_BYTES, HOP_SOURCES

__all__ = ["HOP_NODE_BYTES", "HOP_SOURCES", "count_hops", "node_dimension"]


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


def _usable(threads: int | None) -> int:
    if threads is not None and threads < 1:
        raise ValueError(f"threads {threads}: must be at least 1")
    return threads or len(os.sched_getaffinity(0))
