"""Where paths are found: the same few operations on the processors of this machine and on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from neuromfa_kernels import cuda_paths
from neuromfa_kernels.cuda_driver import Driver
from neuromfa_kernels.hops import count_paths, extend_paths

Weights = npt.NDArray[Any]
Counts = npt.NDArray[np.uint32]


class Products(Protocol):
    """Lengths of edges and ways, wherever their arrays lie; all is float64 and exact."""

    def room(self, sources: int, units: int) -> Any:
        """Ways [sources, units] of any length."""

    def measure(self, weights: Weights, out: Any = None) -> Any:
        """Lengths 1/abs(w) of the edges [units, targets], infinite out of range."""

    def all_finite(self) -> bool:
        """Whether every weight was that was measured since the last call."""

    def extend(self, ways: Any, lengths: Any, out: Any) -> None:
        """Shortest paths over one more layer, into `out` [sources, targets]."""

    def nearest(self, ways: Sequence[Any]) -> Any:
        """Shortest of several ways to the same units, in one piece of memory."""

    def add_counts(self, ways: Any, counts: Counts) -> None:
        """Add the units at each radius to counts [radii, sources] in the main memory."""


class OnProcessors:
    """Paths on the processors of this machine.

    Parameters
    ----------
    cutoff : float
        Longest path that counts.
    threads : int
        Changes no bit.
    """

    def __init__(self, cutoff: float, threads: int) -> None:
        self._cutoff, self._threads, self._finite = cutoff, threads, True

    def room(self, sources: int, units: int) -> Any:
        """Ways [sources, units] of any length."""
        return np.empty((sources, units))

    def measure(self, weights: Weights, out: Any = None) -> Any:
        """Lengths of edges."""
        wide = np.ascontiguousarray(weights, np.float64)
        self._finite = self._finite and bool(np.isfinite(wide).all())
        with np.errstate(divide="ignore", over="ignore"):
            lengths = 1.0 / np.abs(wide)
        lengths[~((lengths > 1) & (lengths <= self._cutoff))] = np.inf
        if out is None:
            return lengths
        out[:] = lengths
        return out

    def all_finite(self) -> bool:
        """Whether every weight was that was measured since the last call."""
        found, self._finite = self._finite, True
        return found

    def extend(self, ways: Any, lengths: Any, out: Any) -> None:
        """Shortest paths over one more layer."""
        out[:] = extend_paths(ways, lengths, cutoff=self._cutoff, threads=self._threads)

    def nearest(self, ways: Sequence[Any]) -> Any:
        """Shortest of several ways."""
        return np.ascontiguousarray(reduce(np.minimum, ways))

    def add_counts(self, ways: Any, counts: Counts) -> None:
        """Count by radius."""
        count_paths(ways, cutoff=self._cutoff, into=counts, threads=self._threads)


class OnGpu:
    """Paths on an NVIDIA GPU.

    Parameters
    ----------
    cutoff : float
        Longest path that counts.
    driver : Driver
        The GPU and the stream.
    """

    def __init__(self, cutoff: float, driver: Driver) -> None:
        self._cutoff, self._driver = cutoff, driver
        self._wrong = driver.zeros(1, np.uint32)

    def room(self, sources: int, units: int) -> Any:
        """Ways [sources, units] of any length."""
        return self._driver.empty((sources, units), np.float64)

    def measure(self, weights: Weights, out: Any = None) -> Any:
        """Lengths of edges."""
        return cuda_paths.edge_lengths(weights, self._cutoff, self._wrong, self._driver, out=out)

    def all_finite(self) -> bool:
        """Whether every weight was that was measured since the last call."""
        found = not self._driver.to_host(self._wrong).any()
        self._wrong = self._driver.zeros(1, np.uint32)
        return found

    def extend(self, ways: Any, lengths: Any, out: Any) -> None:
        """Shortest paths over one more layer."""
        cuda_paths.extend_paths(ways, lengths, self._cutoff, self._driver, out=out)

    def nearest(self, ways: Sequence[Any]) -> Any:
        """Shortest of several ways."""
        if len(ways) == 1 and ways[0].flags.c_contiguous:
            return ways[0]
        return cuda_paths.nearest(ways, self._driver)

    def add_counts(self, ways: Any, counts: Counts) -> None:
        """Count by radius."""
        found = self._driver.zeros(counts.shape, np.uint32)
        cuda_paths.count_paths(ways, self._cutoff, found, self._driver)
        counts += self._driver.to_host(found)
