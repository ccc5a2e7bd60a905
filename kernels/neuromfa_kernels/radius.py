"""The exact map from a stored weight to its radius: the one definition that every kernel uses.

The distance of a stored value w is d = 1/abs(w * factor), one float64 product and one float64
division. It never grows when abs(w) grows, and neither do the bits of abs(w) read as an integer
shrink. So every dtype, cutoff and factor has a short sorted list of codes at which the radius
changes, and a kernel may use any table made of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

TILE = 1024
"""Neurons summed one after another; tiles are added in order (definitions, section 3)."""
HOP_SOURCES = 512
"""Sources that one search of a graph follows at the same time."""
HOP_NODE_BYTES = 3 * HOP_SOURCES // 8 + 8
"""Scratch memory of one search, for each node of the graph."""

TOO_FEW_EDGES, ONE_RADIUS = 1, 2
"""Why a neuron's fractal dimension is undefined."""

MAX_CUTOFF = 4000
"""Largest cutoff: keeps every bin number in 16 bits and a neuron's counts in a cache."""

DTYPES: tuple[np.dtype[Any], ...] = tuple(
    np.dtype(t)
    for t in (
        np.float64,
        np.float32,
        np.float16,
        ml_dtypes.bfloat16,
        ml_dtypes.float8_e4m3fn,
        ml_dtypes.float8_e5m2,
    )
)
"""Stored types whose neighbours can be counted."""

# Bins from the largest abs(w) to the smallest; radius r is bin r + FIRST_RADIUS - 1.
NONFINITE, NEAREST, NEAR, FIRST_RADIUS = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class RadiusTable:
    """Where the radius changes, for one stored type, cutoff and factor (definitions, section 2).

    Every stored value falls into one bin; bins are numbered from the largest abs(w) down:
    0 NaN or infinite, 1 d <= 0.5, 2 0.5 < d <= 1, then r + 2 for the radii r = 1 to `n_radii`,
    then `above` (d > cutoff) and `zero`.

    Attributes
    ----------
    dtype : numpy.dtype
        Stored type of the weights.
    cutoff : float
        Largest distance T that counts, dimensionless.
    n_radii : int
        Largest radius R: the cutoff rounded half to even.
    bounds : uint64 array, shape (n_radii + 4,)
        ``bounds[b]`` is the smallest code (bits of abs(w)) whose bin is at most b; one more than
        the largest code of the type where there is none. Non-increasing.
    factor : float
        What a stored value is multiplied by, in float64, before its distance is taken.
    """

    dtype: np.dtype[Any]
    cutoff: float
    n_radii: int
    bounds: npt.NDArray[np.uint64] = field(compare=False, repr=False)
    factor: float = 1.0

    @property
    def above(self) -> int:
        """Bin of the edges longer than the cutoff."""
        return self.n_radii + FIRST_RADIUS

    @property
    def zero(self) -> int:
        """Bin of the weights that are exactly zero, which are no edges."""
        return self.n_radii + FIRST_RADIUS + 1

    @property
    def n_bins(self) -> int:
        """Number of bins."""
        return self.n_radii + FIRST_RADIUS + 2

    def bins(self, codes: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
        """Bin of each code, the bits of abs(w) as an unsigned integer of any width."""
        smaller = np.searchsorted(self.bounds[::-1], codes.astype(np.uint64), side="right")
        return (self.zero - smaller).astype(np.uint16)


@lru_cache(maxsize=256)
def _radius_table(dtype: np.dtype[Any], cutoff: float, factor: float) -> RadiusTable:
    n_radii = int(np.rint(cutoff))
    bits = 8 * dtype.itemsize - 1
    wanted = np.arange(n_radii + FIRST_RADIUS + 1)
    low = np.zeros(wanted.size, np.uint64)
    high = np.full(wanted.size, 1 << bits, np.uint64)
    for _ in range(bits + 1):  # bisection of all bounds at once
        middle = low + (high - low) // np.uint64(2)
        bins = _bins_by_definition(middle, dtype, cutoff, factor)
        reached = (low < high) & (bins <= wanted)
        open_ = low < high
        high = np.where(reached, middle, high)
        low = np.where(open_ & ~reached, middle + np.uint64(1), low)
    low.setflags(write=False)
    return RadiusTable(dtype, cutoff, n_radii, low, factor)


def _bins_by_definition(
    codes: npt.NDArray[np.uint64], dtype: np.dtype[Any], cutoff: float, factor: float
) -> npt.NDArray[np.int64]:
    """Definitions, section 2, word for word."""
    unsigned = np.dtype(f"u{dtype.itemsize}")
    with np.errstate(all="ignore"):
        size = np.abs(codes.astype(unsigned).view(dtype).astype(np.float64))
        distance = 1.0 / (size * factor)  # infinite where the product underflows: above
        radius = np.rint(distance)
    above = int(np.rint(cutoff)) + FIRST_RADIUS
    return np.select(
        [~np.isfinite(size), size == 0, distance > cutoff, distance > 1, distance > 0.5],
        [NONFINITE, above + 1, above, radius + (FIRST_RADIUS - 1), NEAR],
        NEAREST,
    ).astype(np.int64)


def radius_table(dtype: npt.DTypeLike, cutoff: float, factor: float = 1.0) -> RadiusTable:
    """Return the exact map from stored values to radii, for one dtype, cutoff and factor.

    Parameters
    ----------
    dtype : dtype
        float64, float32, float16, bfloat16, float8_e4m3fn or float8_e5m2 (the last three as
        defined by ml_dtypes), in native byte order.
    cutoff : float
        Largest distance T that counts, dimensionless; above 1 and at most 4,000.
    factor : float
        Multiplies every stored value, widened to float64, before its distance is taken; positive
        and finite. Rescales a tensor without touching it.

    Returns
    -------
    RadiusTable
        Cached: asking again costs nothing.

    Raises
    ------
    TypeError
        If the dtype is not one of these, or the cutoff is not a number.
    ValueError
        If the cutoff or the factor is out of range.

    References
    ----------
    definitions, section 2; NeuroMFA (ICLR 2025, arXiv:2402.09099).

    Examples
    --------
    >>> from neuromfa_kernels import radius_table
    >>> table = radius_table("float16", 150.0)
    >>> table.dtype.name, table.n_radii
    ('float16', 150)
    """
    dtype = np.dtype(dtype)
    if dtype not in DTYPES or not dtype.isnative:
        raise TypeError(
            f"dtype {dtype}: can be {', '.join(map(str, DTYPES))}, in native byte order"
        )
    cutoff = float(cutoff)
    if not (math.isfinite(cutoff) and 1 < cutoff <= MAX_CUTOFF):
        raise ValueError(f"cutoff {cutoff:g}: must be above 1 and at most {MAX_CUTOFF}")
    factor = float(factor)
    if not (math.isfinite(factor) and factor > 0):
        raise ValueError(f"factor {factor:g}: must be positive and finite")
    return _radius_table(dtype, cutoff, factor)
