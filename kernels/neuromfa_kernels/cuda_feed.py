"""Brings weights from the host to a GPU while others are read and others are counted.

A ring of slots, each a page-locked buffer on the host and a buffer on the device. A slot's buffer
is filled by a reader thread, copied on a stream for copies, used on the stream of the kernels, and
only then filled again: three things are under way at the same time, in bounded memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from neuromfa_kernels.cuda_driver import Driver

SLOTS = 4
"""One is read, one is copied, one is counted, and one more makes up for uneven readers."""

Item = TypeVar("Item")


class _Slot:
    def __init__(self, driver: Driver, nbytes: int) -> None:
        self.host = driver.pinned(nbytes)
        self.device = driver.empty(nbytes, np.uint8)
        self.copied: Any = None
        self.used: Any = None


class Fill(NamedTuple):
    """What one chunk needs of the ring.

    Attributes
    ----------
    nbytes : int
        Bytes of the chunk.
    read : callable
        Fills a buffer of that many bytes; called in a reader thread.
    """

    nbytes: int
    read: Callable[[npt.NDArray[np.uint8]], None]


class Feed:
    """A ring of slots between the host and one GPU.

    Parameters
    ----------
    driver : Driver
        Its stream is the one on which the chunks are used.
    nbytes : int
        Bytes of a slot: the largest chunk.
    slots : int
        Slots; at least 2, so that one can be read while another is used.
    """

    def __init__(self, driver: Driver, nbytes: int, slots: int = SLOTS) -> None:
        self.driver, self.nbytes = driver, nbytes
        self._copies = driver.lane()
        self._slots = [_Slot(driver, nbytes) for _ in range(slots)]
        self._copies.after(driver.mark())  # the buffers are there
        self._readers = ThreadPoolExecutor(slots, thread_name_prefix="neuromfa-read")

    def chunks(
        self, items: Iterable[Item], fill: Callable[[Item], Fill]
    ) -> Iterator[tuple[Item, Any]]:
        """Give the items in order, each with its bytes on the device.

        Parameters
        ----------
        items : iterable
            What is to be read.
        fill : callable
            Says for an item how many bytes it has and how to read them.

        Yields
        ------
        tuple
            Item and uint8 device array, which holds the bytes for kernels launched on the stream
            of `driver` before the next item is asked for. The first failure of a reader is raised.
        """
        ahead: deque[tuple[Item, _Slot, int, Future[None]]] = deque()
        source = iter(items)
        free = deque(self._slots)
        try:
            while True:
                while free and (item := next(source, None)) is not None:
                    slot, (nbytes, read) = free.popleft(), fill(item)
                    reading = self._readers.submit(self._read, slot, nbytes, read)
                    ahead.append((item, slot, nbytes, reading))
                if not ahead:
                    return
                item, slot, nbytes, reading = ahead.popleft()
                reading.result()
                yield item, self._copy(slot, nbytes)
                slot.used = self.driver.mark()
                free.append(slot)
        finally:
            for _, _, _, reading in ahead:
                reading.cancel()
                if not reading.cancelled():
                    reading.exception()  # no reader may write to a slot that is used again

    def _read(
        self, slot: _Slot, nbytes: int, read: Callable[[npt.NDArray[np.uint8]], None]
    ) -> None:
        if slot.copied is not None:
            self.driver.wait(slot.copied)
        read(slot.host[:nbytes])

    def _copy(self, slot: _Slot, nbytes: int) -> Any:
        if slot.used is not None:
            self._copies.after(slot.used)
        device = slot.device[:nbytes]
        self._copies.copy_in(device, slot.host[:nbytes])
        slot.copied = self._copies.mark()
        self.driver.after(slot.copied)
        return device

    def close(self) -> None:
        """End the reader threads; the memory goes with the last reference."""
        self._readers.shutdown(cancel_futures=True)
