"""Where nodes are counted hop by hop: on the processors of this machine, or on GPUs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from neuromfa.devices import CPU, Devices, open_lanes, smallest_free_memory
from neuromfa.errors import ResourceError
from neuromfa.graphs.adjacency import Adjacency
from neuromfa.multifractal import Int64
from neuromfa_kernels import cuda_hops
from neuromfa_kernels.cuda_driver import Driver
from neuromfa_kernels.hops import HOP_NODE_BYTES, HOP_SOURCES, count_hops

Counts = npt.NDArray[np.uint32]


class Resources(NamedTuple):
    """What may be used: threads, bytes of private memory, GPUs, and bytes of each."""

    threads: int
    memory: int
    devices: Devices = CPU
    device_memory: int | None = None


class Search(Protocol):
    """Counts nodes hop by hop.

    Attributes
    ----------
    at_once : int
        Sources that are followed together.
    memory : int
        Bytes of main memory that this takes.
    """

    at_once: int
    memory: int

    def counts(self, nodes: Int64, most_hops: int) -> Counts:
        """Count the nodes at each number of hops from some, [hops, nodes].

        Raises
        ------
        MemoryError
            If some node is more than `most_hops` hops away.
        """


def open_search(graph: Adjacency, resources: Resources) -> Search:
    """Make ready to count the nodes of a graph.

    Raises
    ------
    ResourceError
        If memory does not suffice, or a GPU cannot be used.
    """
    if not resources.devices.gpus:
        return _OnProcessors(graph, resources)
    try:
        return _OnGpus(graph, resources)
    except (MemoryError, RuntimeError) as error:
        raise ResourceError(f"{graph.source}: {error}") from error


class _OnProcessors:
    def __init__(self, graph: Adjacency, resources: Resources) -> None:
        self._graph = graph
        each = graph.nodes * HOP_NODE_BYTES
        self._threads = min(resources.threads, resources.memory // each)
        if self._threads < 1:
            raise ResourceError(
                f"{graph.source}: a search in {graph.nodes:,} nodes takes {each:,} bytes and "
                f"memory is {resources.memory:,}; raise --memory"
            )
        self.at_once, self.memory = self._threads * HOP_SOURCES, self._threads * each

    def counts(self, nodes: Int64, most_hops: int) -> Counts:
        graph = self._graph
        return count_hops(
            graph.indptr, graph.indices, nodes, most_hops=most_hops, threads=self._threads
        )


class _OnGpus:
    """Every GPU has the graph; passes go to whichever is free."""

    memory = 0

    def __init__(self, graph: Adjacency, resources: Resources) -> None:
        self._source = graph.source
        needed = cuda_hops.pass_bytes(graph.nodes, len(graph.indices))
        limit = resources.device_memory or smallest_free_memory(resources.devices)
        if needed > limit:
            raise ResourceError(
                f"{graph.source}: a search in {graph.nodes:,} nodes takes {needed:,} bytes of a "
                f"GPU and device memory is {limit:,}; raise --device-memory, or use device cpu"
            )
        self._lanes: SimpleQueue[tuple[Driver, cuda_hops.Graph]] = SimpleQueue()
        self._gpus = len(resources.devices.gpus)
        for lane in open_lanes(resources.devices):
            there = cuda_hops.Graph(lane.from_host(graph.indptr), lane.from_host(graph.indices))
            self._lanes.put((lane, there))
        self.at_once = self._gpus * HOP_SOURCES

    def counts(self, nodes: Int64, most_hops: int) -> Counts:
        def search(part: Int64) -> Counts:
            driver, graph = lane = self._lanes.get()
            try:
                return cuda_hops.count_hops(graph, part, most_hops, driver)
            finally:
                self._lanes.put(lane)

        step = cuda_hops.SOURCES
        parts = [nodes[k : k + step] for k in range(0, len(nodes), step)]
        try:
            with ThreadPoolExecutor(self._gpus) as executor:
                found = list(executor.map(search, parts))
        except (MemoryError, RuntimeError) as error:
            raise ResourceError(f"{self._source}: {error}") from error
        counts = np.zeros((len(nodes), max(map(len, found))), np.uint32).T
        for k, part in enumerate(found):
            counts[: len(part), k * step : k * step + part.shape[1]] = part
        if len(counts) > most_hops:
            raise MemoryError(f"some node is more than {most_hops:,} hops away")
        return counts
