"""Hop counts on the CPU: breadth-first search from many sources at once.

A bit is a source: each node has `WORDS` words, one line of the cache, for those that have seen it
and for those that reach it now. A step from a node hands on all its bits together. How many nodes
each source has reached is counted bit by bit in planes: plane p holds digit p of 64 binary numbers
side by side, so that adding a word is a ripple of carries and no loop over bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from neuromfa_kernels.cpu_jit import kernel
from neuromfa_kernels.cpu_threads import spread
from neuromfa_kernels.radius import HOP_SOURCES

WORDS = HOP_SOURCES // 64
PLANES = 33
"""Binary digits of a count: a graph has fewer than 2^32 nodes."""


@kernel
def _step(graph: Any, nodes: Any, n: Any, bits: Any, reached: Any) -> Any:
    """Hand the bits of the nodes on to their neighbours; how many nodes get new ones."""
    indptr, indices = graph
    seen, now, fresh = bits
    found = 0
    for k in range(n):
        u = nodes[k]
        for e in range(indptr[u], indptr[u + 1]):
            v = indices[e]
            before = new = np.uint64(0)
            for w in range(WORDS):
                x = now[u, w] & ~seen[v, w]
                before |= fresh[v, w]
                new |= x
                fresh[v, w] |= x
            if new != 0 and before == 0:
                reached[found] = v
                found += 1
    for k in range(n):
        for w in range(WORDS):
            now[nodes[k], w] = 0
    return found


@kernel
def _count(nodes: Any, n: Any, bits: Any, planes: Any, out: Any) -> None:
    """Mark the new bits of the nodes as seen, and count them by source."""
    seen, _now, fresh = bits
    planes[:] = 0
    used = 0
    for k in range(n):
        v = nodes[k]
        for w in range(WORDS):
            carry = fresh[v, w]
            seen[v, w] |= carry
            p = 0
            while carry != 0:
                digit = planes[w, p]
                planes[w, p] = digit ^ carry
                carry &= digit
                p += 1
            used = max(used, p)
    for s in range(len(out)):
        total = np.int64(0)
        for p in range(used):
            digit = (planes[s >> 6, p] >> np.uint64(s & 63)) & np.uint64(1)
            total |= np.int64(digit) << p
        out[s] = total


@kernel
def search(graph: Any, sources: Any, most_hops: Any) -> Any:
    """New nodes of each source after 1, 2, ... hops, uint32 [hops, sources].

    Ends one hop after `most_hops`, which tells the caller that it did.
    """
    n = len(graph[0]) - 1
    seen = np.zeros((n, WORDS), np.uint64)
    now = np.zeros((n, WORDS), np.uint64)
    fresh = np.zeros((n, WORDS), np.uint64)
    nodes, reached = np.empty(n, np.uint32), np.empty(n, np.uint32)
    planes = np.zeros((WORDS, PLANES), np.uint64)
    counts = np.zeros((8, len(sources)), np.uint32)
    for s in range(len(sources)):
        bit = np.uint64(1) << np.uint64(s & 63)
        seen[sources[s], s >> 6] |= bit
        now[sources[s], s >> 6] |= bit
        nodes[s] = sources[s]
    active, hops = len(sources), 0
    while hops <= most_hops:
        active = _step(graph, nodes, active, (seen, now, fresh), reached)
        if active == 0:
            break
        if hops == len(counts):
            longer = np.zeros((2 * hops, len(sources)), np.uint32)
            longer[:hops] = counts
            counts = longer
        _count(reached, active, (seen, now, fresh), planes, counts[hops])
        now, fresh = fresh, now
        nodes, reached = reached, nodes
        hops += 1
    return counts[:hops]


def count_hops(
    graph: tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32]],
    sources: npt.NDArray[np.int64],
    most_hops: int,
    threads: int,
) -> npt.NDArray[np.uint32]:
    """Nodes at exactly 1, 2, ... hops from each source, [hops, sources]; see `search`."""
    parts = [sources[i : i + HOP_SOURCES] for i in range(0, len(sources), HOP_SOURCES)]
    found = spread(lambda part: search(graph, part, most_hops), parts, threads)
    counts = np.zeros((len(sources), max(map(len, found))), np.uint32).T
    for i, part in enumerate(found):
        counts[: len(part), i * HOP_SOURCES : i * HOP_SOURCES + part.shape[1]] = part
    return counts
