"""Tensors in files: mapped into memory, never copied, pages given back when told.

Where a copy is what is wanted (a buffer from which a GPU reads) and where pages come from another
machine, large blocks are read instead.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from neuromfa.errors import BadInputError, ResourceError
from neuromfa.mounts import is_remote
from neuromfa.safetensors_file import file_size
from neuromfa.tensors import TensorRef, array_dtype

BLOCK_BYTES = 8 << 20
"""Bytes handed on at a time where a whole tensor is passed through."""


class MappedFiles:
    """Files that are mapped when first read, and stay so as long as an array of them lives.

    Parameters
    ----------
    sizes : mapping of str to int
        Bytes of each file when its header was read: reading a file that was cut since would
        end the process.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self._sizes = sizes
        self._maps: dict[str, mmap.mmap] = {}
        self._descriptors: dict[str, int] = {}
        self._lock = Lock()

    def rows(self, ref: TensorRef, start: int, stop: int, cols: int) -> npt.NDArray[Any]:
        """Rows of a 2-D view; not aligned in memory if it is not in the file."""
        dtype = np.dtype(array_dtype(ref.dtype))
        flat = np.frombuffer(
            self._map(ref.file),
            dtype,
            count=(stop - start) * cols,
            offset=ref.offset + start * cols * dtype.itemsize,
        )
        return flat.reshape(stop - start, cols)

    def blocks(self, ref: TensorRef) -> Iterator[memoryview]:
        """Bytes of a tensor, a few at a time."""
        whole = memoryview(self._map(ref.file))
        end = ref.offset + ref.nbytes
        for begin in range(ref.offset, end, BLOCK_BYTES):
            yield whole[begin : min(begin + BLOCK_BYTES, end)]

    def copy_rows(self, ref: TensorRef, start: int, cols: int, out: npt.NDArray[np.uint8]) -> None:
        """Fill a buffer with the bytes of rows of a 2-D view, by few large reads."""
        self._read(ref.file, ref.offset + start * cols * ref.itemsize, out.data)

    def on_gpu(self, ref: TensorRef) -> NoReturn:
        """Refuse: nothing in a file lies on a GPU."""
        raise AssertionError(f"tensor {ref.name}: lies in {ref.file}, not on a GPU")

    def prefetch(self, ref: TensorRef) -> None:
        """Bring the pages of a tensor into the system's cache by large reads, if they are remote.

        A mapping would ask for them in small pieces, one after another.
        """
        if not is_remote(ref.file):
            return
        block = memoryview(bytearray(min(BLOCK_BYTES, ref.nbytes)))
        for begin in range(0, ref.nbytes, BLOCK_BYTES):
            wanted = block[: min(BLOCK_BYTES, ref.nbytes - begin)]
            self._read(ref.file, ref.offset + begin, wanted)

    def release(self, ref: TensorRef) -> None:
        """Give back the pages that hold nothing but this tensor."""
        begin = -(-ref.offset // mmap.PAGESIZE) * mmap.PAGESIZE
        end = (ref.offset + ref.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
        self._advise(ref, mmap.MADV_DONTNEED, begin, end)

    def close(self) -> None:
        """Let go of the files; arrays that are still in use keep theirs mapped."""
        with self._lock:
            self._maps.clear()
            for descriptor in self._descriptors.values():
                os.close(descriptor)
            self._descriptors.clear()

    def _read(self, name: str, position: int, out: memoryview) -> None:
        descriptor, done = self._descriptor(name), 0
        while done < len(out):
            try:
                got = os.preadv(descriptor, [out[done : done + BLOCK_BYTES]], position + done)
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise BadInputError(
                    f"{name}: cannot be read at byte {position + done}: {reason}; "
                    "check the storage, then start again"
                ) from error
            if not got:
                raise BadInputError(
                    f"{name}: ends at byte {position + done}, but was {self._sizes[name]} bytes "
                    "when its header was read; open the checkpoint again"
                )
            done += got

    def _descriptor(self, name: str) -> int:
        with self._lock:
            if name not in self._descriptors:
                try:
                    self._descriptors[name] = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
                except OSError as error:
                    reason = (error.strerror or str(error)).lower()
                    raise ResourceError(
                        f"{name}: cannot be opened: {reason}; raise the limit: ulimit -n"
                    ) from None
            return self._descriptors[name]

    def _advise(self, ref: TensorRef, advice: int, begin: int, end: int) -> None:
        if end > begin:
            with suppress(OSError):  # advice only: nothing depends on whether it is taken
                self._map(ref.file).madvise(advice, begin, end - begin)

    def _map(self, name: str) -> mmap.mmap:
        with self._lock:
            if name not in self._maps:
                self._maps[name] = _mapped(Path(name), self._sizes[name])
            return self._maps[name]


def _mapped(path: Path, size: int) -> mmap.mmap:
    if (now := file_size(path)) != size:
        raise BadInputError(
            f"{path}: is {now} bytes, but was {size} when its header was read; "
            "open the checkpoint again"
        )
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise ResourceError(
            f"{path}: cannot be mapped into memory: {(error.strerror or str(error)).lower()}; "
            "raise the limits: ulimit -n, ulimit -v"
        ) from None
