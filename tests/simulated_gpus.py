"""Simulated GPUs whose streams run late: nothing is done before somebody must wait for it.

A stream is a list of things to do. Waiting for a mark does what the mark needs, and no more; a
missing wait between two streams, or a buffer that is filled too early, gives wrong numbers.
"""

import threading

import numpy as np

from simt import SimtDriver


class Mark:
    def __init__(self, stream):
        self.stream, self.upto = stream, len(stream.given)


class Stream:
    """Work in the order given; done up to some point."""

    one_at_a_time = threading.RLock()

    def __init__(self):
        self.given, self.done = [], 0

    def run(self, upto):
        with self.one_at_a_time:
            while self.done < upto:
                task = self.given[self.done]
                self.done += 1
                task()


class LateDriver:
    """The interface of `neuromfa_kernels.cuda_driver.Driver`, late and on the CPU."""

    def __init__(self, device=0, *, simt=None, stream=None, free=1 << 30, **settings):
        self.simt, self.device = simt or SimtDriver(**settings), device
        self.name = f"{self.simt.name} number {device}"
        self.stream, self.free = stream or Stream(), free
        self.addressed = []
        for name in ("multiprocessors", "shared_memory", "architecture", "kernel"):
            setattr(self, name, getattr(self.simt, name))

    def _later(self, task):
        self.stream.given.append(task)

    def launch(self, kernel, args, **shape):
        self._later(lambda: self.simt.launch(kernel, args, **shape))

    def address(self, array):
        self.addressed.append(array)  # memory is given back in the order of the stream
        return self.simt.address(array)

    def empty(self, shape, dtype):
        return self.simt.empty(shape, dtype)

    def zeros(self, shape, dtype):
        array = self.simt.empty(shape, dtype)
        self._later(lambda: array.fill(0))
        return array

    def from_host(self, array):
        return self.simt.from_host(array)  # pageable memory: the copy has left it on return

    def to_host(self, array):
        self.stream.run(len(self.stream.given))
        return self.simt.to_host(array)

    def lane(self):
        return LateDriver(self.device, simt=self.simt, free=self.free)

    def pinned(self, nbytes):
        return np.full(nbytes, 0xA5, np.uint8)

    def copy_in(self, array, host):
        self._later(lambda: array.__setitem__(slice(None), host))

    def mark(self):
        return Mark(self.stream)

    def after(self, mark):
        self._later(lambda: mark.stream.run(mark.upto))

    def wait(self, mark):
        mark.stream.run(mark.upto)

    def free_memory(self):
        return self.free
