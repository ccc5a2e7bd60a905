"""The door to the kernels of graphs at large: what is asked of them is checked here."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from neuromfa_kernels.answers import FractalDimension
from neuromfa_kernels.cpu_threads import usable_threads
from neuromfa_kernels.door import Given, given_array, same_place
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
        Where the arcs of each node begin in `indices`, and where the last ones end. The search
        runs where it lies: on the CPU or on an NVIDIA GPU.
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
    uint32 NumPy array, shape (n_hops, n_sources)
        For r = 1..n_hops, the largest distance from any source. A source's counts are adjacent in
        memory. In the main memory in any case: they are read hop by hop.

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
    given = given_array(indptr, "indptr", threads)
    starts, ends = given.array, same_place(indices, "indices", given.driver)
    for name, array, dtype in (("indptr", starts, np.int64), ("indices", ends, np.uint32)):
        if array.dtype != dtype:
            raise TypeError(f"{name}: is {array.dtype}; must be a {np.dtype(dtype)} array")
        if array.ndim != 1 or not array.flags.c_contiguous:
            raise ValueError(f"{name}: has shape {array.shape}; must be one contiguous row")
    n = len(starts) - 1
    if n < 0:
        raise ValueError(f"indptr: must rise from 0 to the {len(ends)} arcs")
    if given.driver is None:
        _check_graph(starts, ends)
    chosen = _check_sources(sources, n)
    limit = n if most_hops is None else most_hops
    if given.driver is None:
        from neuromfa_kernels import cpu_hops

        counts = cpu_hops.count_hops((starts, ends), chosen, limit, given.threads)
    else:
        from neuromfa_kernels import cuda_hops

        graph = cuda_hops.Graph(starts, ends)
        cuda_hops.check_graph(graph, given.driver)
        counts = cuda_hops.count_hops(graph, chosen, limit, given.driver)
    if len(counts) > limit:
        raise MemoryError(f"some node is more than {limit:,} hops away")
    return counts


def _check_graph(indptr: npt.NDArray[np.int64], indices: npt.NDArray[np.uint32]) -> None:
    if indptr[0] or indptr[-1] != len(indices) or (np.diff(indptr) < 0).any():
        raise ValueError(f"indptr: must rise from 0 to the {len(indices)} arcs")
    n = len(indptr) - 1
    if len(indices) and indices.max() >= n:
        raise ValueError(f"indices: name node {indices.max()} of {n}")


def _check_sources(sources: npt.ArrayLike, n: int) -> npt.NDArray[np.int64]:
    chosen = np.asarray(sources)
    if chosen.ndim != 1 or not chosen.size or chosen.dtype.kind not in "iu":
        raise ValueError(f"sources: have shape {chosen.shape}; must be a list of node numbers")
    chosen = np.ascontiguousarray(chosen, np.int64)
    if chosen.min() < 0 or chosen.max() >= n:
        raise ValueError(f"sources: {chosen.min()} to {chosen.max()}; the graph has {n} nodes")
    if len(np.unique(chosen)) != len(chosen):
        raise ValueError("sources: a node is named twice")
    return chosen


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


def extend_paths(ways: Any, lengths: Any, *, cutoff: float, threads: int | None = None) -> Any:
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
        Where the others lie. Shortest float64 sum of a way and an edge, exact where it is at most
        `cutoff`; elsewhere anything that is larger.

    Raises
    ------
    TypeError, ValueError
        If an array has another dtype or shape than it must, or is not contiguous.

    References
    ----------
    definitions, section 7.
    """
    from_sources = _given_lengths(ways, "ways", threads)
    edges = _given_lengths(lengths, "lengths", threads, beside=from_sources)
    if from_sources.array.shape[1] != len(edges.array):
        raise ValueError(
            f"ways: lead to {from_sources.array.shape[1]} units and lengths from {len(edges.array)}"
        )
    if from_sources.driver is not None:
        from neuromfa_kernels import cuda_paths

        return cuda_paths.extend_paths(
            from_sources.array, edges.array, float(cutoff), from_sources.driver
        )
    from neuromfa_kernels import cpu_paths

    return cpu_paths.extend_paths(
        from_sources.array, edges.array, float(cutoff), from_sources.threads
    )


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
        Counts for the radii 1..n_radii; on the CPU those of a source are adjacent in memory.
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
    given = _given_lengths(ways, "ways", threads)
    counts = same_place(into, "into", given.driver)
    if counts.dtype != np.uint32:
        raise TypeError(f"into: is {counts.dtype}; must be uint32")
    shape = round(cutoff), len(given.array)
    if counts.shape != shape or (given.driver is None and not counts.T.flags.c_contiguous):
        raise ValueError(f"into: has shape {counts.shape}; must be {shape}, sources adjacent")
    if given.driver is not None:
        from neuromfa_kernels import cuda_paths

        cuda_paths.count_paths(given.array, float(cutoff), counts, given.driver)
        return
    from neuromfa_kernels import cpu_paths

    cpu_paths.count_paths(given.array, float(cutoff), counts.T, given.threads)


def _given_lengths(
    source: Any, name: str, threads: int | None, *, beside: Given | None = None
) -> Given:
    """View a matrix of lengths, wherever it lies."""
    if beside is None:
        given = given_array(source, name, threads)
    else:
        array = same_place(source, name, beside.driver)
        given = beside._replace(array=array, dtype=array.dtype)
    array = given.array
    if array.dtype != np.float64:
        raise TypeError(f"{name}: is {array.dtype}; must be a float64 array")
    if array.ndim != 2 or not array.flags.c_contiguous:
        raise ValueError(f"{name}: has shape {array.shape}; must be a contiguous matrix")
    if given.driver is None:
        least = array.min(initial=np.inf)
    else:
        from neuromfa_kernels import cuda_paths

        least = cuda_paths.smallest(array, given.driver)
    if not least > 0.5:  # also refuses NaN
        raise ValueError(f"{name}: must be above 1/2, and the least is {least}")
    return given


def _usable(threads: int | None) -> int:
    if threads is not None and threads < 1:
        raise ValueError(f"threads {threads}: must be at least 1")
    return usable_threads(threads)
