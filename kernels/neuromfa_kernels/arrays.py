"""Arrays of other libraries as NumPy arrays of the stored type, never copied."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from neuromfa_kernels.radius import DTYPES

DLPACK_CPU, DLPACK_CUDA, DLPACK_CUDA_MANAGED = 1, 2, 13


def lies_on_gpu(source: Any) -> bool:
    """Whether an array or tensor lies in the memory of an NVIDIA GPU."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(source, torch.Tensor):
        return bool(source.device.type == "cuda")
    if hasattr(source, "__cuda_array_interface__"):
        return True
    if not hasattr(source, "__dlpack_device__"):
        return False
    return source.__dlpack_device__()[0] in (DLPACK_CUDA, DLPACK_CUDA_MANAGED)


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
        return _from_torch(source, name)
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


def _from_torch(tensor: Any, name: str) -> npt.NDArray[Any]:
    if tensor.device.type != "cpu":
        raise TypeError(_elsewhere(name, str(tensor.device)))
    plain, dtype = plain_tensor(tensor, name)
    found: npt.NDArray[Any] = plain.numpy()
    return found if dtype is None else found.view(dtype)


def plain_tensor(tensor: Any, name: str) -> tuple[Any, np.dtype[Any] | None]:
    """Return a torch tensor without gradient, of a type that NumPy has, and the true dtype.

    The dtype is None unless the tensor holds codes of bfloat16 or 8-bit floats.
    """
    torch = sys.modules["torch"]
    if tensor.layout != torch.strided:
        raise TypeError(f"{name}: has the layout {tensor.layout}; make it dense first")
    stored = str(tensor.dtype).removeprefix("torch.")
    dtype = next((d for d in DTYPES if d.name == stored), None)
    plain = tensor.detach()
    if dtype is None or dtype.isbuiltin == 1:  # torch and NumPy share these
        return plain, None
    return plain.view(torch.int16 if dtype.itemsize == 2 else torch.uint8), dtype


def _elsewhere(name: str, device: str) -> str:
    return f"{name}: lies on {device}; move it to the main memory"
