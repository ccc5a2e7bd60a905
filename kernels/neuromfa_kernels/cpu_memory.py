"""Main memory for counts, used again when nobody holds them any more.

Fresh pages cost up to 3 microseconds each in a virtual machine, and with several threads more than
counting into them. Whether the C library keeps them depends on what else the process has freed.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

KEPT_BYTES = 64 << 20
"""Most memory that is kept for later."""
_kept: deque[npt.NDArray[np.uint32]] = deque()


class _Lease:
    """What an array and its views hold on to: memory that goes back when the last one is gone."""

    most_bytes = KEPT_BYTES

    def __init__(self, shape: tuple[int, int], room: npt.NDArray[np.uint32]) -> None:
        self._room, self._kept = room, _kept  # globals are gone when the last ones end
        self.__array_interface__ = {**room.__array_interface__, "shape": shape}

    def __del__(self) -> None:
        room = self._room
        if room.nbytes + sum(other.nbytes for other in tuple(self._kept)) <= self.most_bytes:
            self._kept.append(room)


def zeros(shape: tuple[int, int]) -> npt.NDArray[np.uint32]:
    """Return zeros of type uint32."""
    size = shape[0] * shape[1]
    room = _take(size)
    if room is None:
        room = np.zeros(size, np.uint32)
    else:
        room[:size] = 0
    return np.asarray(_Lease(shape, room)) if size else np.zeros(shape, np.uint32)


def _take(size: int) -> npt.NDArray[np.uint32] | None:
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
