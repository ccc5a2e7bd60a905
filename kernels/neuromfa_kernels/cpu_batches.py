"""Inner loops of counting codes of 8 bits by logic: how many of 512 reach each bound.

A step is 512 weights, a bit of a row each: in each word 64 neurons side by side, or 64 edges of one
neuron. Codes are taken apart, bit by bit, into rows; that they reach a bound is logic on these; and
the answers of step after step are added in binary, with a row for each digit. No weight costs a
store, which is what limits the other types.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neuromfa_kernels.cpu_bits import DIGITS, ROW, WORD, WORDS, add, get, put, reach, reached
from neuromfa_kernels.cpu_jit import inlined, kernel, load, prefetch

U = np.uint64
BATCH = 8
"""Steps whose answers are added at once."""
HIGH = 3
LOW = DIGITS - HIGH
"""Digits of a code: bounds that share the high ones share work."""
LOWS = 2**HIGH + 1
"""Where rows of low digits begin: those of the high ones are 0 to 2^`HIGH`."""
ROWS = (LOWS + 2**LOW) * BATCH
"""Rows that say what the codes of a batch reach."""
FIRST = 3
"""Digits of a sum that a batch adds to; what it carries is kept in two rows for each later one."""
AHEAD = 2
"""Batches between prefetch and use."""


@inlined
def _eight(address: Any) -> Any:
    a = U(ROW)
    return (
        get(address),
        get(address + a),
        get(address + U(2) * a),
        get(address + U(3) * a),
        get(address + U(4) * a),
        get(address + U(5) * a),
        get(address + U(6) * a),
        get(address + U(7) * a),
    )


@inlined
def _reached(above: Any, equal: Any, low: Any) -> Any:
    return (
        reached(above[0], equal[0], low[0]),
        reached(above[1], equal[1], low[1]),
        reached(above[2], equal[2], low[2]),
        reached(above[3], equal[3], low[3]),
        reached(above[4], equal[4], low[4]),
        reached(above[5], equal[5], low[5]),
        reached(above[6], equal[6], low[6]),
        reached(above[7], equal[7], low[7]),
    )


@inlined
def _add_eight(x: Any, total: Any) -> Any:
    """Add eight rows to the first digits of a sum; what is carried."""
    ones, twos, fours = get(total), get(total + U(ROW)), get(total + U(2 * ROW))
    ones, a = add(ones, x[0], x[1])
    ones, b = add(ones, x[2], x[3])
    twos, c = add(twos, a, b)
    ones, a = add(ones, x[4], x[5])
    ones, b = add(ones, x[6], x[7])
    twos, d = add(twos, a, b)
    fours, eights = add(fours, c, d)
    put(ones, total)
    put(twos, total + U(ROW))
    put(fours, total + U(2 * ROW))
    return eights


@inlined
def _carry(row: Any, batch: Any, total: Any) -> None:
    """Add what a batch carries: every second time a digit has two rows to add it to."""
    place = total + U(FIRST * ROW)
    while batch & 1:
        digit, row = add(get(place), get(place + U(ROW)), row)
        put(digit, place)
        place += U(2 * ROW)
        batch >>= 1
    put(row, place + U(ROW))


@inlined
def _fetch(step: Any, word: Any, by_step: Any, by_word: Any) -> Any:
    """Prefetch a word of a step, or its end: words need not begin where lines do. What is next."""
    if word < WORDS:
        prefetch(U(step + word * by_word), 2)
        return step, word + 1
    prefetch(U(step + (WORDS - 1) * by_word + WORD - 1), 2)
    return step + by_step, 0


@kernel
def _add_batch(bounds: Any, rows: Any, sums: Any, batch: Any, ahead: Any) -> None:
    """Add to the sum of each bound how many codes of a batch reach it, and prefetch later ones."""
    size = U(sums.shape[1] * ROW)
    lines = (BATCH * (WORDS + 1) + len(bounds) - 1) // len(bounds)
    step, by_step, by_word = ahead
    word = k = 0
    while k < len(bounds):
        same = bounds[k] >> LOW
        high = rows + U(same) * U(BATCH * ROW)
        above, equal = _eight(high + U(BATCH * ROW)), _eight(high)
        while k < len(bounds) and bounds[k] >> LOW == same:
            for _ in range(lines):
                step, word = _fetch(step, word, by_step, by_word)
            low = rows + U(LOWS + (bounds[k] & (2**LOW - 1))) * U(BATCH * ROW)
            total = U(sums.ctypes.data) + U(k) * size
            _carry(_add_eight(_reached(above, equal, _eight(low)), total), batch, total)
            k += 1


@kernel
def _reach_batch(view: Any, sizes: Any, few: Any, rows: Any) -> None:
    """Say what the codes of a batch reach; lanes without a weight are zero."""
    address, by_step, by_word, gap = view
    steps, words, last_step, last_word = sizes
    for step in range(BATCH):
        at, apart = address + step * by_step, by_word
        n = last_step if step == steps - 1 else (WORD if step < steps else 0)
        if gap != 1 or n < WORD or words < WORDS or last_word < WORD:
            few[:] = 0
            for word in range(words):
                m = min(n, last_word) if word == words - 1 else n
                whole = m // 8 if gap == 1 else 0
                for k in range(whole):
                    few[word, k] = load(U(at + word * by_word + 8 * k), U(0))
                for k in range(8 * whole, m):
                    code = U(load(U(at + word * by_word + k * gap), np.uint8(0)))
                    few[word, k // 8] |= code << U(k % 8 * 8)
            at, apart = np.int64(few.ctypes.data), WORD
        first = rows + U(step * ROW)
        reach(U(at), U(apart), HIGH, first + U(BATCH * ROW), U(BATCH * ROW))


@kernel
def count_batches(view: Any, shape: Any, then: Any, bounds: Any, room: Any, sums: Any) -> None:
    """Count steps of codes into `sums` [bounds, digits, `WORDS`].

    `shape` is steps, words, and weights of the last step's words and of the last word; `then` is
    where the codes of the next call begin.
    """
    address, by_step, by_word, gap = view
    steps, words, last_step, last_word = shape
    few, rows = room
    sums[:] = 0
    batches = (steps + BATCH - 1) // BATCH
    for batch in range(batches):
        first = batch * BATCH
        n = min(BATCH, steps - first)
        at = address + first * by_step
        last = last_step if first + n == steps else WORD
        _reach_batch((at, by_step, by_word, gap), (n, words, last, last_word), few, rows)
        place, later = (address, batch + AHEAD)
        if later >= batches:
            place, later = then, later - batches
        ahead = (place + later * BATCH * by_step, by_step, by_word)
        _add_batch(bounds, rows, sums, batch, ahead)
