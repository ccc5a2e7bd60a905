"""Shortest paths over one more layer on the CPU: a pruned (min,+) product.

A path through unit m is at least as long as the way to m plus the shortest edge that leaves it.
Once every target has been reached, most m are too far away to shorten any way, so units are taken
in shells of growing distance, and the largest distance of any target decides when to stop. All
comparisons are made on the float64 sums themselves, whose rounding is monotone: what is passed over
could not have changed a bit.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from neuromfa_kernels.cpu_jit import kernel
from neuromfa_kernels.cpu_threads import spread

SHELL = 1.25
"""Ratio of the radii of neighbouring shells."""
PER_JOB = 16


@kernel
def _extend(span: Any, ways: Any, edges: Any, cutoff: Any, out: Any) -> None:
    """Shortest sums out [S, J] of a way [S, M] and an edge [M, J], for the sources first:last."""
    first, last = span
    lengths, least = edges
    n, targets = lengths.shape
    for s in range(first, last):
        row = out[s]
        row[:] = math.inf
        inner, outer = 0.0, math.inf
        for m in range(n):
            outer = min(outer, ways[s, m])
        outer *= SHELL
        furthest = math.inf
        while inner < min(furthest, cutoff):
            for m in range(n):
                way = ways[s, m]
                if way <= inner or way > outer:
                    continue
                best = way + least[m]
                if best >= furthest or best > cutoff:
                    continue
                for j in range(targets):
                    length = way + lengths[m, j]
                    row[j] = length if length < row[j] else row[j]
            furthest = 0.0
            for j in range(targets):
                furthest = max(furthest, row[j])
            inner = outer
            outer *= SHELL


@kernel
def _count(span: Any, ways: Any, cutoff: Any, counts: Any) -> None:
    """Add the units within the cutoff to counts [S, R], by radius."""
    first, last = span
    for s in range(first, last):
        for j in range(ways.shape[1]):
            if ways[s, j] <= cutoff:
                counts[s, np.int64(np.rint(ways[s, j])) - 1] += 1


def extend_paths(
    ways: npt.NDArray[np.float64],
    lengths: npt.NDArray[np.float64],
    cutoff: float,
    threads: int,
) -> npt.NDArray[np.float64]:
    """Shortest ways [S, J] over one more layer; what is beyond the cutoff may be anything above."""
    out = np.empty((len(ways), lengths.shape[1]))
    edges = (lengths, lengths.min(axis=1, initial=np.inf))

    def extend(first: int) -> None:
        _extend((first, min(first + PER_JOB, len(ways))), ways, edges, cutoff, out)

    spread(extend, range(0, len(ways), PER_JOB), threads)
    return out


def count_paths(
    ways: npt.NDArray[np.float64], cutoff: float, counts: npt.NDArray[np.uint32], threads: int
) -> None:
    """Add the units that are reached to counts [S, R]."""

    def count(first: int) -> None:
        _count((first, min(first + PER_JOB, len(ways))), ways, cutoff, counts)

    spread(count, range(0, len(ways), PER_JOB), threads)
