"""Arrays of other libraries on an NVIDIA GPU as CuPy arrays, never copied."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np

from neuromfa_kernels.arrays import plain_tensor
from neuromfa_kernels.cuda_driver import Driver


class OnDevice(NamedTuple):
    """An array on a GPU.

    Attributes
    ----------
    array : device array
        Of a type that CuPy has: codes, where `dtype` is bfloat16 or an 8-bit float.
    dtype : numpy.dtype
        What is stored.
    driver : Driver
        The GPU, and the caller's current stream there.
    """

    array: Any
    dtype: np.dtype[Any]
    driver: Driver


def on_device(source: Any, name: str) -> OnDevice:
    """View an array or tensor on a GPU, for work on the caller's current stream.

    Parameters
    ----------
    source : array
        A CuPy array, a torch tensor (on torch's current stream; also one of bfloat16 or 8-bit
        floats, or one that requires a gradient), or anything else with ``__dlpack__`` or
        ``__cuda_array_interface__``.
    name : str
        What messages call it.

    Raises
    ------
    TypeError
        If it has a type or layout that CuPy cannot view.
    ImportError, RuntimeError
        If CuPy is not installed, or finds no GPU.
    """
    try:
        import cupy
    except ImportError as error:
        raise ImportError(
            f"{name}: lies on a GPU, where CuPy is needed: pip install 'neuromfa[gpu]'"
        ) from error
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(source, torch.Tensor):
        plain, dtype = plain_tensor(source, name)
        stream = torch.cuda.current_stream(source.device).cuda_stream
        driver = Driver(source.device.index, stream)
        array = driver.receive(plain)
        return OnDevice(array, array.dtype if dtype is None else dtype, driver)
    try:
        known = hasattr(source, "__cuda_array_interface__")
        array = cupy.asarray(source) if known else cupy.from_dlpack(source)
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise RuntimeError(f"{name}: lies on a GPU that cannot be used: {error}") from error
    except (BufferError, TypeError, ValueError) as error:
        raise TypeError(
            f"{name}: CuPy cannot view this {type(source).__name__}: {error}"
        ) from error
    return OnDevice(array, array.dtype, Driver(array.device.id))
