"""A double of CuPy over NumPy and the harness: what `cuda_driver` and `cuda_arrays` use of it.

It lets these two modules run without a GPU. That CuPy has these names is asserted where it is
installed (test_cuda.py).
"""

import types
from contextlib import contextmanager

import numpy as np

from simt import SimtDriver

NAMES = (
    *("asarray", "asnumpy", "empty", "zeros", "from_dlpack", "RawModule"),
    *("cuda.Device", "cuda.Stream.from_external", "cuda.memory.OutOfMemoryError"),
    *("cuda.compiler.CompileException", "cuda.driver.CUDADriverError"),
    *("cuda.runtime.CUDARuntimeError", "cuda.runtime.getDeviceProperties"),
    *("RawKernel.max_dynamic_shared_size_bytes", "RawKernel.name", "ndarray.data"),
    *("ndarray.device", "ndarray.strides"),
)


class OutOfMemoryError(MemoryError):
    pass


class CompileException(Exception):
    pass


class CUDADriverError(RuntimeError):
    pass


class CUDARuntimeError(RuntimeError):
    pass


class Array(np.ndarray):
    """Knows its address and device as CuPy's arrays do."""

    number = 0

    def __array_finalize__(self, source):
        self.number = getattr(source, "number", 0)

    def on(self, number):
        self.number = number
        return self

    data = property(lambda self: types.SimpleNamespace(ptr=self.ctypes.data))
    device = property(lambda self: types.SimpleNamespace(id=self.number))
    __cuda_array_interface__ = property(lambda self: self.__array_interface__)


class Cupy:
    """The module: `sys.modules["cupy"]`."""

    def __init__(self, *, devices=2, room=1 << 30, architecture=(8, 9)):
        self.devices, self.room, self.architecture = devices, room, architecture
        self.entered, self.options, self.current = [], [], 0
        errors = (CUDADriverError, CUDARuntimeError)
        self.cuda = types.SimpleNamespace(
            Device=lambda number: self._enter(("device", number)),
            Stream=types.SimpleNamespace(
                from_external=lambda stream: self._enter(("stream", stream.__cuda_stream__()[1]))
            ),
            memory=types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
            compiler=types.SimpleNamespace(CompileException=CompileException),
            driver=types.SimpleNamespace(CUDADriverError=errors[0]),
            runtime=types.SimpleNamespace(
                CUDARuntimeError=errors[1], getDeviceProperties=self._properties
            ),
        )

    @contextmanager
    def _enter(self, what):
        self.entered.append(what)
        before = self.current
        self.current = what[1] if what[0] == "device" else before
        yield
        self.current = before

    def _properties(self, number):
        if number >= self.devices:
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        return {
            "name": b"Double",
            "sharedMemPerBlockOptin": 101_376,
            "multiProcessorCount": 3,
            "major": self.architecture[0],
            "minor": self.architecture[1],
        }

    def _take(self, shape, dtype):
        if int(np.prod(shape)) * np.dtype(dtype).itemsize > self.room:
            raise OutOfMemoryError("Out of memory allocating")

    def empty(self, shape, dtype):
        self._take(shape, dtype)
        return np.empty(shape, dtype).view(Array).on(self.current)

    def zeros(self, shape, dtype):
        self._take(shape, dtype)
        return np.zeros(shape, dtype).view(Array).on(self.current)

    def asarray(self, array):
        if isinstance(array, Array):
            return array
        return np.array(array).view(Array).on(self.current)

    def asnumpy(self, array):
        return np.array(array)

    def from_dlpack(self, source):
        return source.there().view(Array).on(self.current)

    def RawModule(self, *, code, options, backend):
        self.options.append((options, backend))
        return Module(self, code, options)


class Module:
    def __init__(self, cupy, code, options):
        pairs = (option[2:].split("=") for option in options if option.startswith("-D"))
        self.cupy, self.code, self.defines = cupy, code, dict(pairs)

    def get_function(self, name):
        driver = SimtDriver()
        try:
            kernel = driver.kernel_of(self.code, name, defines=self.defines)
        except KeyError:
            raise CUDADriverError("CUDA_ERROR_NOT_FOUND: named symbol not found") from None
        return Function(self.cupy, name, kernel, driver)


class Function:
    max_dynamic_shared_size_bytes = 48 << 10

    def __init__(self, cupy, name, kernel, driver):
        self.cupy, self.name, self.kernel, self.driver = cupy, name, kernel, driver

    def __call__(self, grid, block, args, *, shared_mem):
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise CUDADriverError("CUDA_ERROR_INVALID_VALUE: invalid argument")
        self.driver.launch(self.kernel, args, grid=grid, block=block[0], shared=shared_mem)
