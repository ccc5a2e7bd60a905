"""Lengths of shortest paths in any graph: by SciPy on processors, or by cuGraph on one GPU.

The calls of cuGraph were written after its documentation and the sources in its wheels. They have
never been executed, so a graph of three nodes is tried before any answer is taken.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from neuromfa.devices import Devices, open_lanes
from neuromfa.errors import ResourceError, UnsupportedError
from neuromfa.graphs.adjacency import Adjacency
from neuromfa.multifractal import Float64, Int64

UNREACHED = float(np.finfo(np.float64).max)
"""How far cuGraph says that a node is to which no path leads."""
TRIED = (np.array([0, 1]), np.array([1, 2]), np.array([1.25, 2.5]))
"""A path of three nodes: sources, targets and lengths."""


class Lengths(Protocol):
    """Finds the lengths of shortest paths."""

    def from_nodes(self, nodes: Int64) -> Float64:
        """Lengths [sources, n] from some nodes to all; infinite where no path leads."""


def open_lengths(graph: Adjacency, devices: Devices) -> Lengths:
    """Make ready to find lengths of paths in a graph.

    Raises
    ------
    UnsupportedError
        If several GPUs are asked for.
    ResourceError
        If a GPU or cuGraph cannot be used.
    """
    return _OnGpu(graph, devices) if devices.gpus else _OnProcessors(graph)


class _OnProcessors:
    def __init__(self, graph: Adjacency) -> None:
        self._matrix = graph.matrix()

    def from_nodes(self, nodes: Int64) -> Float64:
        from scipy.sparse.csgraph import dijkstra  # noqa: PLC0415  (optional, slow to import)

        found: Float64 = dijkstra(self._matrix, directed=True, indices=nodes)
        return found


class _OnGpu:
    def __init__(self, graph: Adjacency, devices: Devices) -> None:
        if len(devices.gpus) > 1:
            raise UnsupportedError(
                f"device {devices}: lengths of paths are found on one GPU; name it, as in cuda:0"
            )
        open_lanes(devices)  # a GPU that answers: cuGraph can be imported without one
        try:
            import cupy  # noqa: PLC0415  (optional, slow to import)
            import pylibcugraph  # noqa: PLC0415
        except ImportError as error:
            raise ResourceError(
                f"device {devices}: lengths of paths need cuGraph there ({error}): "
                "pip install 'neuromfa[cugraph]', or use device cpu"
            ) from error
        self._cupy, self._library, self._gpu = cupy, pylibcugraph, devices.gpus[0]
        self._n = graph.nodes
        assert graph.lengths is not None
        starts = np.repeat(np.arange(graph.nodes), np.diff(graph.indptr))
        with self._here(f"{graph.source}: device {devices}"):
            self._handle = pylibcugraph.ResourceHandle()
            tried = self._paths(self._graph(*TRIED), 0, 3)
            if not np.array_equal(tried, [0.0, 1.25, 3.75]):
                raise ResourceError(
                    f"device {devices}: this cuGraph finds the lengths {tried.tolist()} where 0, "
                    "1.25 and 3.75 are right; use device cpu"
                )
            self._own = self._graph(starts, graph.indices, graph.lengths)
        self._where = f"{graph.source}: device {devices}"

    def from_nodes(self, nodes: Int64) -> Float64:
        with self._here(self._where):
            return np.array([self._paths(self._own, int(node), self._n) for node in nodes])

    def _here(self, where: str) -> _OneSentence:
        return _OneSentence(self._cupy.cuda.Device(self._gpu), where)

    def _graph(
        self, starts: npt.NDArray[Any], ends: npt.NDArray[Any], lengths: npt.NDArray[Any]
    ) -> Any:
        """The arcs as cuGraph takes them; every node has an arc, for a component has no other."""
        there = self._cupy.asarray
        return self._library.SGGraph(
            resource_handle=self._handle,
            graph_properties=self._library.GraphProperties(is_symmetric=False, is_multigraph=False),
            src_or_offset_array=there(starts.astype(np.int64)),
            dst_or_index_array=there(ends.astype(np.int64)),
            weight_array=there(lengths.astype(np.float64)),
            store_transposed=False,
            renumber=True,
            do_expensive_check=False,
        )

    def _paths(self, graph: Any, source: int, n: int) -> Float64:
        nodes, lengths, _ = self._library.sssp(
            resource_handle=self._handle,
            graph=graph,
            source=source,
            cutoff=UNREACHED,
            compute_predecessors=True,
            do_expensive_check=False,
        )
        found = np.full(n, np.inf)
        found[self._cupy.asnumpy(nodes)] = self._cupy.asnumpy(lengths)
        found[found == UNREACHED] = np.inf
        return found


class _OneSentence:
    """A GPU made current; what its libraries refuse is told in one sentence."""

    def __init__(self, device: Any, where: str) -> None:
        self._device, self._where = device, where

    def __enter__(self) -> None:
        self._device.__enter__()

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._device.__exit__(kind, error, trace)
        if isinstance(error, MemoryError | RuntimeError):
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ResourceError(f"{self._where}: {first}") from error
