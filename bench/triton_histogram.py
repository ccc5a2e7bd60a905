"""A Triton kernel for neighbour counts of columns: the strongest rival that others could write.

In a file of its own because Triton compiles functions from their module's source.
"""

from __future__ import annotations

import triton
import triton.language as tl

COLUMNS = 32
BINS = 256
SIZE = tl.constexpr(COLUMNS * BINS)
WIDTH = tl.constexpr(COLUMNS)
DEPTH = tl.constexpr(BINS)


@triton.jit
def block_histogram(codes, bins, counts, rows, cols, ROWS: tl.constexpr, AT_ONCE: tl.constexpr):
    """Add the counts [columns, bins] of a panel of columns over ROWS rows.

    Elements outside are given the code 0, a zero weight, whose bin nobody reads.
    """
    column = tl.arange(0, WIDTH)
    across = tl.program_id(0) * WIDTH + column
    first = tl.program_id(1) * ROWS
    total = tl.zeros([SIZE], dtype=tl.int32)
    for step in range(0, ROWS, AT_ONCE):
        row = first + step + tl.arange(0, AT_ONCE)
        inside = (row[:, None] < rows) & (across[None, :] < cols)
        place = row[:, None].to(tl.int64) * cols + across[None, :]
        code = tl.load(codes + place, mask=inside, other=0).to(tl.int32) & 0x7FFF
        key = column[None, :] * DEPTH + tl.load(bins + code)
        total += tl.histogram(tl.reshape(key, [AT_ONCE * WIDTH]), SIZE)
    place = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    tl.atomic_add(counts + place, total)
