"""One NVIDIA GPU through CuPy: compile, launch, allocate, copy.

The only place that talks to a GPU. The launchers see nothing but this interface, so that the tests
can put a driver of their own behind it that runs the same `.cu` files on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

SOURCES = Path(__file__).parent
"""Where the `.cu` files lie."""
OPTIONS = ("-std=c++17", "-lineinfo")
"""Never fast-math: sums are defined to the last bit."""
OLDEST = 80
"""Oldest architecture whose instructions are enough."""
PLAIN_SHARED_MEMORY = 48 << 10
"""Dynamic shared memory that a kernel gets without asking."""

Shape = int | tuple[int, ...]


def source_text(name: str) -> str:
    """Text of a `.cu` file with the headers of this package in it, each once.

    CuPy keeps compiled code under a hash of the text: a header that is only named would go stale.
    """
    seen: set[str] = set()

    def read(name: str) -> Iterator[str]:
        yield f'#line 1 "{name}"'
        lines = (SOURCES / name).read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, 1):
            if not line.startswith('#include "'):
                yield "" if line == "#pragma once" else line
                continue
            if (header := line.split('"')[1]) not in seen:
                seen.add(header)
                yield from read(header)
            yield f'#line {number + 1} "{name}"'

    return "\n".join(read(name)) + "\n"


class Driver:
    """A GPU, and the stream on which its kernels run.

    Arrays are CuPy arrays on this GPU; results stay there until `to_host`.

    Parameters
    ----------
    device : int
        Number of the GPU.
    stream : int, optional
        Address of a CUDA stream (torch's current one, say); CuPy's current stream if None.

    Attributes
    ----------
    device : int
        Number of the GPU.
    name : str
        As messages call it.
    multiprocessors : int
        Streaming multiprocessors.
    shared_memory : int
        Largest dynamic shared memory of one block, bytes.
    architecture : int
        Compute capability, 90 for 9.0.
    """

    def __init__(self, device: int, stream: int | None = None, *, owner: Any = None) -> None:
        self.device, self._stream = device, stream
        self._owner = owner  # keeps a stream of our own alive
        self.name = f"cuda:{device}"
        with self._here("asking for its properties"):
            found = _properties(device)
        self.name, self.multiprocessors, self.shared_memory, self.architecture = found
        if self.architecture < OLDEST:
            raise RuntimeError(
                f"{self.name}: has compute capability {self.architecture / 10}; must be at least "
                f"{OLDEST / 10}"
            )

    @contextmanager
    def _here(self, doing: str) -> Iterator[Any]:
        """Make GPU and stream current; what goes wrong is told in one sentence."""
        import cupy

        try:
            with ExitStack() as stack:
                stack.enter_context(cupy.cuda.Device(self.device))
                if self._stream is not None:
                    stack.enter_context(cupy.cuda.Stream.from_external(_Stream(self._stream)))
                yield cupy
        except cupy.cuda.memory.OutOfMemoryError as error:
            raise MemoryError(f"{self.name}: not enough memory for {doing}: {error}") from error
        except cupy.cuda.compiler.CompileException as error:
            first = str(error).strip().splitlines()[0]
            raise RuntimeError(f"{self.name}: {doing}: does not compile: {first}") from error
        except (cupy.cuda.driver.CUDADriverError, cupy.cuda.runtime.CUDARuntimeError) as error:
            raise RuntimeError(f"{self.name}: {doing}: {error}") from error

    def kernel(
        self, source: str, name: str, *, defines: Mapping[str, int] | None = None
    ) -> Callable[..., None]:
        """Compile a `.cu` file of this package, once, and return one of its kernels."""
        with self._here(f"{name} of {source}"):
            return _module(source, tuple(sorted((defines or {}).items()))).get_function(name)  # type: ignore[no-any-return]

    def launch(
        self,
        kernel: Callable[..., None],
        args: Sequence[Any],
        *,
        grid: Shape,
        block: int,
        shared: int = 0,
    ) -> None:
        """Launch a kernel: device arrays become pointers; numbers must be NumPy scalars."""
        if shared > self.shared_memory:
            raise ValueError(
                f"shared memory of {shared} bytes: {self.name} has {self.shared_memory} a block"
            )
        name = getattr(kernel, "name", "kernel")
        with self._here(f"launch of {name} with {grid} blocks of {block}"):
            if shared > PLAIN_SHARED_MEMORY:
                kernel.max_dynamic_shared_size_bytes = shared  # type: ignore[attr-defined]
            blocks = grid if isinstance(grid, tuple) else (grid,)
            kernel(blocks, (block,), tuple(args), shared_mem=shared)

    def empty(self, shape: Shape, dtype: npt.DTypeLike) -> Any:
        """Allocate an array [shape], row-major, of any content."""
        with self._here(_room(shape, dtype)) as cupy:
            return cupy.empty(shape, dtype)

    def zeros(self, shape: Shape, dtype: npt.DTypeLike) -> Any:
        """Allocate an array [shape], row-major, of zeros."""
        with self._here(_room(shape, dtype)) as cupy:
            return cupy.zeros(shape, dtype)

    def from_host(self, array: npt.NDArray[Any]) -> Any:
        """Copy a NumPy array of a plain dtype to this GPU."""
        with self._here(_room(array.shape, array.dtype)) as cupy:
            return cupy.asarray(np.ascontiguousarray(array))

    def receive(self, source: Any) -> Any:
        """View an array of another library on this GPU as a CuPy array, without a copy."""
        with self._here("taking an array") as cupy:
            return cupy.from_dlpack(source)

    def to_host(self, array: Any) -> npt.NDArray[Any]:
        """Wait for an array and copy it to the host."""
        with self._here("copy to the host") as cupy:
            found: npt.NDArray[Any] = cupy.asnumpy(array)
            return found

    def lane(self) -> Driver:
        """Make a driver of the same GPU with a stream of its own, which waits for no other."""
        with self._here("another stream") as cupy:
            stream = cupy.cuda.Stream(non_blocking=True)
        return Driver(self.device, stream.ptr, owner=stream)

    def pinned(self, nbytes: int) -> npt.NDArray[np.uint8]:
        """Allocate page-locked memory on the host, which `copy_in` reads while others work."""
        with self._here(f"{nbytes:,} bytes of page-locked memory") as cupy:
            memory = cupy.cuda.alloc_pinned_memory(nbytes)
            return np.frombuffer(memory, np.uint8, nbytes)

    def copy_in(self, array: Any, host: npt.NDArray[Any]) -> None:
        """Copy page-locked memory to an array of the same shape and type, on this stream."""
        with self._here(f"copy of {host.nbytes:,} bytes"):
            array.data.copy_from_host_async(host.ctypes.data, host.nbytes)

    def mark(self) -> Any:
        """Mark what this stream has been given so far."""
        with self._here("event") as cupy:
            event = cupy.cuda.Event(block=True, disable_timing=True)
            event.record()
            return event

    def after(self, mark: Any) -> None:
        """Let what this stream is given from now on wait for a mark."""
        with self._here("wait for an event") as cupy:
            cupy.cuda.get_current_stream().wait_event(mark)

    def wait(self, mark: Any) -> None:
        """Wait here until what is marked is done."""
        with self._here("wait for an event"):
            mark.synchronize()

    def free_memory(self) -> int:
        """Bytes that can be allocated on this GPU now."""
        with self._here("free memory") as cupy:
            return int(cupy.cuda.runtime.memGetInfo()[0])

    def address(self, array: Any) -> int:
        """Address of the first element of an array, for pointers inside structures."""
        return int(array.data.ptr)


class _Stream:
    """A stream of another library, as CuPy asks for it."""

    def __init__(self, address: int) -> None:
        self.address = address

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.address


def _room(shape: Shape, dtype: npt.DTypeLike) -> str:
    return f"{int(np.prod(shape)) * np.dtype(dtype).itemsize:,} bytes"


def device_count() -> int:
    """Count the GPUs that can be used.

    Raises
    ------
    RuntimeError
        If there is none, with the reason.
    """
    try:
        import cupy
    except ImportError as error:
        raise RuntimeError(f"CuPy cannot be imported ({error})") from error
    try:
        return int(cupy.cuda.runtime.getDeviceCount())
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise RuntimeError(f"CUDA finds no device ({error})") from error


@lru_cache(maxsize=64)
def _module(source: str, defines: tuple[tuple[str, int], ...]) -> Any:
    import cupy

    options = (*OPTIONS, *(f"-D{name}={value}" for name, value in defines))
    return cupy.RawModule(code=source_text(source), options=options, backend="nvrtc")


@lru_cache(maxsize=64)
def _properties(device: int) -> tuple[str, int, int, int]:
    import cupy

    found = cupy.cuda.runtime.getDeviceProperties(device)
    name = f"cuda:{device} ({found['name'].decode()})"
    shared = int(found["sharedMemPerBlockOptin"])
    return name, int(found["multiProcessorCount"]), shared, 10 * found["major"] + found["minor"]
