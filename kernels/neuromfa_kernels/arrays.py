"""Arrays of other libraries as NumPy arrays of the stored type, never copied."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from neuromfa_kernels.radius import DTYPES

DLPACK_CPU = 1


def as_array(source: Any, name: str) -> npt.NDArray[Any]:
    """View an array or tensor in main memory as a NumPy array.

    Parameters
    ----------
    source : array
        A NumPy array, a torch tensor (also one of bfloat16 or 8-bit floats, or one that requires
        a gradient), or anything else with ``__dlpack__``.
    name : str
        What messages call it.

    Raises
    ------
    TypeError
        If it is no array, lies on another device, or has a type that NumPy cannot view.
    """
    if isinstance(source, np.ma.MaskedArray):
        raise TypeError(f"{name}: is a masked array; fill it first")
    if isinstance(source, np.ndarray):
        return source
    torch = sys.modules.get("torch")  # a tensor can only be there if torch is
    if torch is not None and isinstance(source, torch.Tensor):
        return _from_torch(source, name, torch)
    if hasattr(source, "__cuda_array_interface__"):
        raise TypeError(_elsewhere(name, "a GPU"))
    if not hasattr(source, "__dlpack_device__"):
        raise TypeError(f"{name}: is {type(source).__name__}, not an array")
    kind, _ = source.__dlpack_device__()
    if kind != DLPACK_CPU:
        raise TypeError(_elsewhere(name, f"DLPack device type {int(kind)}"))
    try:
        return np.from_dlpack(source)
    except (BufferError, RuntimeError, TypeError) as error:
        raise TypeError(
            f"{name}: NumPy cannot view this {type(source).__name__}: {error}"
        ) from error


def _from_torch(tensor: Any, name: str, torch: Any) -> npt.NDArray[Any]:
    if tensor.device.type != "cpu":
        raise TypeError(_elsewhere(name, str(tensor.device)))
    if tensor.layout != torch.strided:
        raise TypeError(f"{name}: has the layout {tensor.layout}; make it dense first")
    stored = str(tensor.dtype).removeprefix("torch.")
    dtype = next((d for d in DTYPES if d.name == stored), None)
    plain = tensor.detach()
    if dtype is None or dtype.isbuiltin == 1:  # torch and NumPy share these
        found: npt.NDArray[Any] = plain.numpy()
        return found
    codes = plain.view(torch.int16 if dtype.itemsize == 2 else torch.uint8).numpy()
    viewed: npt.NDArray[Any] = codes.view(dtype)
    return viewed


def _elsewhere(name: str, device: str) -> str:
    return f"{name}: lies on {device}; this version computes on the CPU, so move it there first"
