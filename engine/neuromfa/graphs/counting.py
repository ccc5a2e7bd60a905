"""Counts the nodes around each source and sums them into partition functions.

Sources are cut into groups (one, or those that an interval is found from), and groups into tiles of
1,024; tiles are added in order, so neither threads nor memory can change a bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from neuromfa.devices import Devices
from neuromfa.errors import ResourceError
from neuromfa.graphs.adjacency import Adjacency
from neuromfa.graphs.lengths import open_lengths
from neuromfa.graphs.searches import Counts, Resources, open_search
from neuromfa.graphs.settings import GraphProtocol
from neuromfa.multifractal import Float64, Int64
from neuromfa_kernels import TILE, partition_function
from neuromfa_kernels.hops import node_dimension

MOST_TOGETHER = 64
"""Sources whose weighted distances are held at the same time, if memory allows."""
DISTANCE_BYTES = 40
"""Memory that the distance of one node from one source takes meanwhile."""


@dataclass(slots=True, eq=False)
class GroupSums:
    """Sums over the sources of a group that reach some other node.

    Attributes
    ----------
    Z, Z_log : float64 array, shape (n_q, m)
        Sums of u^q and of u^q ln u at every radius.
    counted : int
        Number of sources in the sums.
    """

    Z: Float64
    Z_log: Float64
    counted: int = 0

    @classmethod
    def empty(cls, n_q: int, n_radii: int = 0) -> GroupSums:
        """Sums over no source."""
        return cls(np.zeros((n_q, n_radii)), np.zeros((n_q, n_radii)))

    def stretch(self, n_radii: int) -> None:
        """Go on to larger radii, where every measure so far is 1."""
        more = n_radii - self.Z.shape[1]
        if more > 0:
            self.Z = np.pad(self.Z, ((0, 0), (0, more)), constant_values=float(self.counted))
            self.Z_log = np.pad(self.Z_log, ((0, 0), (0, more)))

    def add(self, Z: Float64, Z_log: Float64, counted: int) -> None:
        """Add the sums over further sources."""
        self.stretch(Z.shape[1])
        self.Z[:, : Z.shape[1]] += Z
        self.Z[:, Z.shape[1] :] += counted
        self.Z_log[:, : Z.shape[1]] += Z_log
        self.counted += counted


class Counted(NamedTuple):
    """What one pass over the sources gives.

    Attributes
    ----------
    radii : float64 array, shape (m,)
        Hops 1..m, or every distance that occurs.
    groups : list of GroupSums
        All at these radii.
    dimensions : float64 array, shape (n_sources,)
        Node fractal dimension of each source, NaN where undefined.
    unreaching : int
        Sources that reach no other node; they are in no sum.
    """

    radii: Float64
    groups: list[GroupSums]
    dimensions: Float64
    unreaching: int


def count(
    graph: Adjacency,
    sources: list[Int64],
    q: Float64,
    *,
    protocol: GraphProtocol,
    resources: Resources,
) -> Counted:
    """Count around the sources of each group and sum (definitions, section 7).

    Parameters
    ----------
    graph : Adjacency
        One component.
    sources : list of int64 array
        Nodes of each group.
    q : float64 array, shape (n_q,)
        Moments.
    protocol : GraphProtocol
        Hops or lengths, and their rounding.
    resources : Resources
        Changes no bit.

    Raises
    ------
    ResourceError
        If memory does not suffice.
    """
    if protocol.weighted:
        return _count_lengths(graph, sources, q, digits=protocol.digits, resources=resources)
    return _count_hops(graph, sources, q, resources)


class _Tile(NamedTuple):
    group: int
    start: int
    stop: int


def _tiles(sources: list[Int64]) -> list[_Tile]:
    """Tiles of all groups, numbered through the sources of the groups one after another."""
    tiles, first = [], 0
    for group, nodes in enumerate(sources):
        last = first + len(nodes)
        tiles += [_Tile(group, a, min(a + TILE, last)) for a in range(first, last, TILE)]
        first = last
    return tiles


def _blocks(tiles: list[_Tile], least: int) -> Iterator[list[_Tile]]:
    """Runs of whole tiles with at least that many sources."""
    block: list[_Tile] = []
    for tile in tiles:
        block.append(tile)
        if tile.stop - block[0].start >= least:
            yield block
            block = []
    if block:
        yield block


def _count_hops(
    graph: Adjacency, sources: list[Int64], q: Float64, resources: Resources
) -> Counted:
    every = np.concatenate(sources)
    groups = [GroupSums.empty(len(q)) for _ in sources]
    dimensions = np.full(len(every), np.nan)
    search = open_search(graph, resources)
    # a source has a count and every moment two sums, for each hop
    per_hop = 8 * (search.at_once + TILE) + 16 * len(q) * (len(sources) + 2)
    most = max(1, (resources.memory - search.memory) // per_hop)
    unreaching = 0
    for block in _blocks(_tiles(sources), search.at_once):
        first, nodes = block[0].start, every[block[0].start : block[-1].stop]
        try:
            counts = search.counts(nodes, int(most))
        except MemoryError as error:
            raise ResourceError(f"{graph.source}: {error}; raise --memory") from error
        for tile in block:
            own = counts[:, tile.start - first : tile.stop - first]
            reach = own.sum(axis=0, dtype=np.int64)
            unreaching += int((reach == 0).sum())
            groups[tile.group].add(*_sum_hops(own[:, reach > 0], reach[reach > 0], q))
            radii = np.arange(1.0, len(own) + 1)
            dimensions[tile.start : tile.stop] = node_dimension(own, radii).values
    n_radii = max(group.Z.shape[1] for group in groups)
    for group in groups:
        group.stretch(n_radii)
    return Counted(np.arange(1.0, n_radii + 1), groups, dimensions, unreaching)


def _sum_hops(counts: Counts, reach: Int64, q: Float64) -> tuple[Float64, Float64, int]:
    """Z and Z_log of a tile, where a node does not count itself.

    The kernel counts it, so one of the nearest neighbours is taken out in its place. Nothing is
    then left of a node that reaches one other: its measure is 1 throughout.
    """
    if not len(reach):
        return np.zeros((len(q), 0)), np.zeros((len(q), 0)), 0
    others = counts.copy()
    others[0] -= 1
    sums = partition_function(others, q, min_neighbours=0)
    return sums.Z[0] + int((reach == 1).sum()), sums.Z_log[0], len(reach)


def _count_lengths(
    graph: Adjacency, sources: list[Int64], q: Float64, *, digits: int, resources: Resources
) -> Counted:
    every = np.concatenate(sources)
    share = resources.memory // (2 * DISTANCE_BYTES * graph.nodes)
    together = max(1, min(MOST_TOGETHER, share))
    distances = _Distances(graph, digits, together, devices=resources.devices)
    keys = np.empty(0, np.int64)
    for start in range(0, len(every), together):
        found = np.unique(distances.keys(every[start : start + together]))
        keys = np.union1d(keys, found[found > 0])
        needed = 16 * len(q) * (len(keys) + 1) * (len(sources) + 2) + 12 * TILE * (len(keys) + 1)
        needed += DISTANCE_BYTES * together * graph.nodes
        if needed > resources.memory:
            raise ResourceError(
                f"{graph.source}: {len(keys):,} different distances take {needed:,} bytes and "
                f"memory is {resources.memory:,}; round them more (--digits), or raise --memory"
            )
    radii = keys / 10.0**digits
    groups = [GroupSums.empty(len(q), len(keys)) for _ in sources]
    dimensions = np.full(len(every), np.nan)
    unreaching = 0
    for tile in _tiles(sources):
        counts, same = _around(distances, every[tile.start : tile.stop], keys)
        reaching = (counts[:-1].sum(axis=0, dtype=np.int64) + same) > 0
        unreaching += int((~reaching).sum())
        values = node_dimension(counts[:-1], radii, own=same, threads=resources.threads).values
        dimensions[tile.start : tile.stop] = values
        if reaching.any():
            counts = counts[:, reaching]
            counts[0] += same[reaching]
            sums = partition_function(counts, q, min_neighbours=0, threads=resources.threads)
            groups[tile.group].add(sums.Z[0, :, :-1], sums.Z_log[0, :, :-1], sums.counted)
    return Counted(radii, groups, dimensions, unreaching)


class _Distances:
    """Shortest paths from some nodes, as whole numbers of the last decimal."""

    def __init__(self, graph: Adjacency, digits: int, together: int, *, devices: Devices) -> None:
        self.graph, self.scale, self.together = graph, 10.0**digits, together
        self.lengths = open_lengths(graph, devices)

    def keys(self, nodes: Int64) -> Int64:
        """Distances of all nodes from some, int64 [sources, n]; -1 where there is no path."""
        lengths = self.lengths.from_nodes(nodes)
        reached = np.isfinite(lengths)
        scaled = np.rint(np.where(reached, lengths, 0.0) * self.scale)
        if scaled.max() >= 2.0**53:
            raise ResourceError(
                f"{self.graph.source}: a distance of {scaled.max() / self.scale:g} has no "
                f"{round(np.log10(self.scale))} decimals in float64; give fewer --digits"
            )
        keys: Int64 = np.where(reached, scaled, -1.0).astype(np.int64)
        return keys


def _around(distances: _Distances, nodes: Int64, keys: Int64) -> tuple[Counts, Counts]:
    """Nodes at each distance from some, [m + 1, sources], and other nodes at distance 0.

    The last row are the nodes that are not reached: with them every source has all n nodes, by
    which its measure is divided.
    """
    columns = len(keys) + 1
    counts = np.zeros((len(nodes), columns), np.uint32)
    same = np.zeros(len(nodes), np.uint32)
    for start in range(0, len(nodes), distances.together):
        found = distances.keys(nodes[start : start + distances.together])
        for i, row in enumerate(found, start):
            same[i] = (row == 0).sum() - 1
            at = np.searchsorted(keys, row[row > 0])
            counts[i, :-1] = np.bincount(at, minlength=columns - 1)
            counts[i, -1] = (row < 0).sum()
    return counts.T, same
