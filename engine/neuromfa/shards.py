"""Which part of a tensor a rank holds, and where the rows of a matrix view lie in it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from neuromfa.errors import UnsupportedError
from neuromfa.tensors import leading_axes


class Rows(NamedTuple):
    """Rows of a matrix view that a rank holds, one after another.

    Attributes
    ----------
    row : int
        The first, in the whole tensor.
    start, stop : int
        The same rows in what the rank holds.
    first, last : int
        Their columns, in the whole tensor.
    """

    row: int
    start: int
    stop: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Shard:
    """A box of a tensor.

    Attributes
    ----------
    name : str
        The tensor.
    shape : tuple of int
        Of the whole tensor.
    starts, lengths : tuple of int
        Of the box.
    counts : bool
        Whether this rank answers for it: one rank does for each box that several hold.
    """

    name: str
    shape: tuple[int, ...]
    starts: tuple[int, ...]
    lengths: tuple[int, ...]
    counts: bool

    def columns(self, cols: int) -> int:
        """Columns of the local matrix view, where the whole one has `cols`."""
        return math.prod(self.lengths[self._leading(cols) :])

    def rows(self, cols: int, start: int = 0, stop: int | None = None) -> Iterator[Rows]:
        """Find the rows from `start` to `stop` of the view with `cols` columns in the box.

        Raises
        ------
        UnsupportedError
            If the box holds no stretch of the columns.
        """
        axes = self._leading(cols)
        inner = math.prod(self.shape[axes + 1 :])
        if self.lengths[axes + 1 :] != self.shape[axes + 1 :]:
            raise UnsupportedError(
                f"tensor {self.name} of shape {list(self.shape)}: is cut inside its rows of "
                f"{cols:,} columns; shard it along another axis"
            )
        first = self.starts[axes] * inner if axes < len(self.shape) else 0
        last = first + math.prod(self.lengths[axes:])
        if not math.prod(self.lengths):
            return
        shape, starts, lengths = (x[:axes] for x in (self.shape, self.starts, self.lengths))
        cut = max((k for k in range(axes) if lengths[k] != shape[k]), default=0)
        run = math.prod(lengths[cut:])
        end = math.prod(shape) if stop is None else stop
        for number, place in enumerate(itertools.product(*map(range, lengths[:cut]))):
            at = (*(s + p for s, p in zip(starts, place, strict=False)), *starts[cut:])
            row = int(np.ravel_multi_index(at, shape)) if at else 0
            low, high = max(start, row), min(end, row + run)
            if low < high:
                shift = number * run - row
                yield Rows(low, low + shift, high + shift, first, last)

    def _leading(self, cols: int) -> int:
        axes = leading_axes(self.shape, cols)
        assert axes is not None, f"{self.name}: {self.shape} has no view with {cols} columns"
        return axes


def chunk(length: int, parts: int, index: int) -> tuple[int, int]:
    """Start and length of a part, as torch cuts a tensor into equal chunks and a shorter last."""
    step = -(-length // parts)
    start = min(index * step, length)
    return start, min(step, length - start)
