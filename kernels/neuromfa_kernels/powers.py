"""Powers of measures from tables: the one definition that every partition function uses.

p = N_i(r)/N_i(T) is a quotient of whole numbers, so p^h and p^(q_0) are quotients of entries of a
table of k^h and k^(q_0). For equally spaced q, q = q_0 + 8 h m + h n, the rest is products: p^q is
u_m v_n with v_n = p^(h n) and u_m = p^(q_0 + 8 h m).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

COLUMNS = 8
CHUNK = COLUMNS * COLUMNS
"""Moments that share a table, so that errors of p^h do not grow with n_q."""
TABLE_SIZE = 1 << 17
"""Neurons with more edges than this take logarithms; they are few, whatever the model."""
FACTORISED_Q = 15.0
"""Largest abs(q) for which every product stays in the range of float64 (p > 2^-32)."""
LN_GRID = 2.0**40
POWER_H, POWER_Q0, LN_HIGH, LN_LOW = range(4)


@lru_cache(maxsize=8)
def power_table(h: float, q_0: float, size: int) -> npt.NDArray[np.float64]:
    """Table [size, 4] of k^h, k^q_0 and ln k in two parts; an entry does not depend on the size.

    ln k is summed from ln(1 + 1/k); the high part is a whole number of steps of 2^-40, so that
    ln a - ln b keeps its full relative precision also where a/b is next to 1.
    """
    table = np.zeros((size, 4))
    k = np.arange(1, size, dtype=np.longdouble)
    table[1:, POWER_H] = k ** np.longdouble(h)
    table[1:, POWER_Q0] = k ** np.longdouble(q_0)
    steps = np.log1p(1.0 / np.arange(1, size - 1))
    high = np.rint(steps * LN_GRID) / LN_GRID
    table[2:, LN_HIGH] = np.cumsum(high)
    table[2:, LN_LOW] = np.cumsum(steps - high)
    table.setflags(write=False)
    return table


@lru_cache(maxsize=8)
def logarithm_table(size: int) -> npt.NDArray[np.float64]:
    """Return ln k [size], as the C library rounds it; entry 0 is not used."""
    table = np.array([0.0, *(math.log(k) for k in range(1, size))])
    table.setflags(write=False)
    return table


def spacing(q: npt.NDArray[np.float64]) -> float | None:
    """Spacing h of equally spaced q, or None where the factorised powers do not apply."""
    largest = float(np.abs(q).max())
    if largest > FACTORISED_Q:
        return None
    h = float(q[-1] - q[0]) / max(1, len(q) - 1)
    off = np.abs(q - (q[0] + h * np.arange(len(q))))
    return h if off.max() <= 4 * np.spacing(largest) else None
