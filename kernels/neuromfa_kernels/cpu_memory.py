"""Main memory for results and scratch, used again when nobody holds it any more.

Fresh pages cost up to 3 microseconds each in a virtual machine, and with several threads more than
counting into them. Whether the C library keeps them depends on what else the process has freed.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt

KEPT_BYTES = 64 << 20
"""Most memory that is kept for later."""
_kept: deque[npt.NDArray[np.uint8]] = deque()


class _Lease:
    """What an array and its views hold on to: memory that goes back when the last one is gone."""

    most_bytes = KEPT_BYTES

    def __init__(self, room: npt.NDArray[np.uint8]) -> None:
        self._room, self._kept = room, _kept  # globals are gone when the last ones end
        self.__array_interface__ = room.__array_interface__

    def __del__(self) -> None:
        room = self._room
        if room.nbytes + sum(other.nbytes for other in tuple(self._kept)) <= self.most_bytes:
            self._kept.append(room)


def empty(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return an array of anything."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if not size:
        return np.empty(shape, dtype)
    room = _take(size)
    if room is None:
        room = np.empty(size, np.uint8)
    return np.asarray(_Lease(room))[:size].view(dtype).reshape(shape)


def zeros(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return an array of zeros."""
    array = empty(shape, dtype)
    array.fill(0)
    return array


def _take(size: int) -> npt.NDArray[np.uint8] | None:
    """Take memory that is large enough and at most half idle.

    Without a lock: `__del__` may come at any time, to a thread that holds one as well.
    """
    for _ in range(len(_kept)):
        try:
            room = _kept.popleft()
        except IndexError:  # another thread was faster
            return None
        if size <= room.size <= 2 * size:
            return room
        _kept.append(room)
    return None
