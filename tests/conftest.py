"""For all tests: no deadlines; and the devices that kernels run on: CPU, simulated and real GPU."""

import ctypes
import shutil
from functools import cache

import numpy as np
import pytest
from hypothesis import settings

from neuromfa_kernels import arrays, cuda_arrays, door
from neuromfa_kernels.cuda_driver import Driver
from simt import SimtArray, SimtDriver, needs_compiler

settings.register_profile("patient", deadline=None)  # no test depends on how fast a machine is
settings.load_profile("patient")


@cache
def missing_gpu():
    """Why there is no GPU to test on; empty if there is one."""
    try:
        import cupy

        cupy.cuda.runtime.getDeviceCount()
    except ImportError:
        return "CuPy is not installed"
    except RuntimeError as error:
        return f"no GPU: {error}"
    return ""


def pytest_report_header():
    simt = "simt" if shutil.which("g++") else "not simt (no g++)"
    gpu = f"not cuda ({missing_gpu()})" if missing_gpu() else "cuda"
    return f"devices: cpu, {simt}, {gpu}"


class Cpu:
    name = "cpu"

    def put(self, array):
        """Move an array there, strides and alignment as they are."""
        return array

    def get(self, answer):
        """Move an array, or a tuple of them, back."""
        return answer


class Simt:
    """The `.cu` files on the CPU; see simt.py."""

    name, placed = "simt", SimtArray

    def __init__(self):
        self.driver = SimtDriver(multiprocessors=3)

    def put(self, array):
        return array.view(SimtArray)

    def get(self, answer):
        if isinstance(answer, tuple):
            return type(answer)(*map(self.get, answer))
        return self._to_host(answer) if hasattr(answer, "shape") else answer

    def _to_host(self, array):
        return np.asarray(array)

    def on_device(self, source):
        return cuda_arrays.OnDevice(source, source.dtype, self.driver)


class Placed:
    """Bytes on a GPU and how to read them, also where CuPy has no such type or alignment."""

    def __init__(self, array, driver):
        import cupy

        first, last = np.lib.array_utils.byte_bounds(array)
        last = max(last, first + 1)  # an array without elements lies somewhere too
        room = np.ctypeslib.as_array((ctypes.c_uint8 * (last - first)).from_address(first))
        at = driver.from_host(room).data + (array.ctypes.data - first)
        self.dtype, self.shape = array.dtype, array.shape
        known = array.dtype.kind in "iuf"  # not bfloat16 and the 8-bit types, of kind V
        kind = array.dtype if known else f"u{array.itemsize}"
        self.array = cupy.ndarray(array.shape, kind, at, array.strides)


class Cuda(Simt):
    """The first NVIDIA GPU."""

    name, placed = "cuda", Placed

    def __init__(self):
        self.driver = Driver(0)

    def put(self, array):
        return Placed(array, self.driver)

    def _to_host(self, array):
        if isinstance(array, Placed):
            return self.driver.to_host(array.array).view(array.dtype)
        return self.driver.to_host(array)

    def on_device(self, source):
        return cuda_arrays.OnDevice(source.array, source.dtype, self.driver)


@pytest.fixture(
    scope="module",
    params=[
        "cpu",
        pytest.param("simt", marks=needs_compiler),
        pytest.param("cuda", marks=pytest.mark.gpu),
    ],
)
def device(request):
    """A device; what was put there is recognised at the door of the kernels."""
    if request.param == "cpu":
        yield Cpu()
        return
    if request.param == "cuda" and missing_gpu():
        pytest.skip(missing_gpu())
    found = Simt() if request.param == "simt" else Cuda()

    def lies_on_gpu(source):
        return isinstance(source, found.placed) or arrays.lies_on_gpu(source)

    def on_device(source, name, original=cuda_arrays.on_device):
        own = isinstance(source, found.placed)
        return found.on_device(source) if own else original(source, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(door, "lies_on_gpu", lies_on_gpu)
        patch.setattr(cuda_arrays, "on_device", on_device)
        yield found
