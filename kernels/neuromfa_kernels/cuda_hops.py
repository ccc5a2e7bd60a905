"""Hop counts on a GPU: the launcher of `hops.cu`, the CPU's integers.

A pass follows 64 sources. After each hop the host reads two numbers, how many nodes were reached
and into how many pieces their arcs are cut, which decide whether and how wide to go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from neuromfa_kernels.cuda_driver import Driver

SOURCE = "hops.cu"
SOURCES = 64
"""Sources of a pass: bits of a word."""
THREADS = 256
PIECE = 64
"""Most arcs that a group of lanes takes at a time."""
DEFINES: Mapping[str, int] = {"THREADS": THREADS, "GROUP": 8, "PIECE": PIECE}
VARIANTS = ((SOURCE, DEFINES),)
"""Everything that is ever compiled."""
BLOCKS_OF_A_MULTIPROCESSOR = 8
HOPS_KEPT = 64
"""Hops whose counts are on the device at a time."""
NODE_BYTES = 3 * 8 + 2 * 4 + 2 * 8
"""Memory of a pass for each node; beside it, 16 bytes for every `PIECE` arcs."""


class Graph(NamedTuple):
    """A graph on a GPU: where the arcs of each node begin, and where they lead."""

    indptr: Any
    indices: Any

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return int(self.indptr.shape[0]) - 1

    @property
    def arcs(self) -> int:
        """Number of arcs."""
        return int(self.indices.shape[0])


def pass_bytes(nodes: int, arcs: int) -> int:
    """Memory of the GPU that a search takes, the graph itself included."""
    return nodes * (NODE_BYTES + 8) + 4 * arcs + 16 * (arcs // PIECE) + (1 << 20)


def check_graph(graph: Graph, driver: Driver) -> None:
    """Refuse arrays that are no graph.

    Raises
    ------
    ValueError
        If `indptr` does not rise from 0 to the number of arcs, or an arc leads to no node.
    """
    wrong = driver.zeros(1, np.uint32)
    args = (*graph, np.uint64(graph.nodes), np.uint64(graph.arcs), wrong)
    _launch(driver, "check_graph", args, max(graph.nodes, graph.arcs))
    found = int(driver.to_host(wrong)[0])
    if found & 1:
        raise ValueError(f"indptr: must rise from 0 to the {graph.arcs} arcs")
    if found & 2:
        raise ValueError(f"indices: name nodes beyond the {graph.nodes} of the graph")


def count_hops(
    graph: Graph, sources: npt.NDArray[np.int64], most_hops: int, driver: Driver
) -> npt.NDArray[np.uint32]:
    """Count the nodes at exactly 1, 2, ... hops from each source.

    Parameters
    ----------
    graph : Graph
        Arrays on the GPU, int64 and uint32.
    sources : int64 array, shape (n_sources,)
        On the host.
    most_hops : int
        A pass ends one hop after it, which tells the caller that it did.
    driver : Driver
        The GPU on which the graph lies.

    Returns
    -------
    uint32 array, shape (n_hops, n_sources)
        On the host: it was read hop by hop. A source's counts are adjacent in memory.

    References
    ----------
    definitions, section 7.
    """
    passes = [sources[k : k + SOURCES] for k in range(0, len(sources), SOURCES)]
    found = [_search(graph, part, most_hops, driver) for part in passes]
    counts = np.zeros((len(sources), max(map(len, found))), np.uint32).T
    for k, part in enumerate(found):
        counts[: len(part), k * SOURCES : k * SOURCES + part.shape[1]] = part
    return counts


class _Level(NamedTuple):
    """A frontier: its bits by node, its nodes, its pieces, and how many there are."""

    bits: Any
    nodes: Any
    pieces: Any
    n_nodes: int = 0
    n_pieces: int = 0


def _search(
    graph: Graph, sources: npt.NDArray[np.int64], most_hops: int, driver: Driver
) -> npt.NDArray[np.uint32]:
    """One pass: new nodes of each source after 1, 2, ... hops."""
    n = graph.nodes
    most_pieces = n + graph.arcs // PIECE + 1
    seen = driver.zeros(n, np.uint64)
    now, then = (
        _Level(
            driver.zeros(n, np.uint64),
            driver.empty(max(n, SOURCES), np.uint32),
            driver.empty(most_pieces, np.uint64),
        )
        for _ in range(2)
    )
    kept: list[npt.NDArray[np.uint32]] = []
    counts = control = None
    for hop in range(most_hops + 2):  # at hop 0 the sources reach themselves
        row = hop % HOPS_KEPT
        if row == 0:
            if counts is not None:
                kept.append(driver.to_host(counts))
            counts = driver.zeros((HOPS_KEPT, SOURCES), np.uint32)
            control = driver.zeros((HOPS_KEPT, 2), np.uint32)
        assert counts is not None
        assert control is not None
        if hop == 0:
            args: tuple[Any, ...] = (driver.from_host(sources), np.uint32(len(sources)))
            _launch(driver, "plant", (*args, then.bits, then.nodes, control[row]), 1)
        else:
            args = (*graph, now.pieces, np.uint32(now.n_pieces), now.bits, seen)
            _launch(driver, "step", (*args, then.bits, then.nodes, control[row]),
                    now.n_pieces * DEFINES["GROUP"])  # fmt: skip
        args = (graph.indptr, now.nodes, np.uint32(now.n_nodes), now.bits, then.bits, seen)
        args += (then.nodes, then.pieces, control[row], counts[row])
        _launch(driver, "settle", args, n)
        n_nodes, n_pieces = map(int, driver.to_host(control[row]))
        now, then = then._replace(n_nodes=n_nodes, n_pieces=n_pieces), now
        if not n_nodes:
            break
    else:
        hop += 1
    assert counts is not None
    kept.append(driver.to_host(counts))
    found: npt.NDArray[np.uint32] = np.concatenate(kept)[1:hop, : len(sources)]
    return found


def _launch(driver: Driver, name: str, args: tuple[Any, ...], threads: int) -> None:
    """Launch with that many threads, or as many as the GPU holds: kernels go on in strides."""
    most = BLOCKS_OF_A_MULTIPROCESSOR * driver.multiprocessors
    grid = max(1, min(-(-threads // THREADS), most))
    kernel = driver.kernel(SOURCE, name, defines=DEFINES)
    driver.launch(kernel, args, grid=grid, block=THREADS)
