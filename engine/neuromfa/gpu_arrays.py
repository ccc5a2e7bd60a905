"""Tensors that lie on a GPU already: taken as they are, counted there, never copied whole."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from neuromfa.errors import ResourceError, UnsupportedError
from neuromfa_kernels import arrays, cuda_arrays
from neuromfa_kernels.cuda_driver import Driver


@dataclass(frozen=True, slots=True, eq=False)
class GpuArray:
    """A tensor on a GPU, and when its values are there.

    Attributes
    ----------
    array : device array
        Of a type that CuPy has: codes, where `dtype` is bfloat16 or an 8-bit float.
    dtype : numpy.dtype
        What is stored.
    driver : Driver
        The GPU, and the owner's stream there.
    ready : mark
        What that stream had been given when the tensor was taken: other streams wait for it.
    """

    array: Any
    dtype: np.dtype[Any]
    driver: Driver
    ready: Any

    @property
    def place(self) -> tuple[Any, ...]:
        """Equal for two tensors that are the same memory."""
        array = self.array
        return self.driver.device, self.driver.address(array), array.shape, array.strides

    def matrix(self, cols: int) -> Any:
        """2-D view with so many columns, on the GPU."""
        if self.array.ndim == 2 and self.array.shape[1] == cols:
            return self.array
        return self.array.reshape(-1, cols)  # a view: of more than two axes it is contiguous

    def to_host(self, start: int, stop: int, cols: int) -> npt.NDArray[Any]:
        """Copy rows of a 2-D view to main memory."""
        self.driver.wait(self.ready)  # this thread's stream need not be the owner's
        rows = np.ascontiguousarray(self.driver.to_host(self.matrix(cols)[start:stop]))
        return rows.view(self.dtype)


def lies_on_gpu(tensor: Any) -> bool:
    """Whether an array or tensor of any library lies on an NVIDIA GPU."""
    return arrays.lies_on_gpu(tensor)


def take(tensor: Any, where: str) -> GpuArray:
    """Take a tensor that lies on a GPU; the work that its owner gave to that GPU may go on.

    Only one of three or more axes that is not contiguous is copied, on its GPU: it has no rows.

    Parameters
    ----------
    tensor : torch tensor, CuPy array, or anything with ``__dlpack__``
        It must not be written to before the analysis ends.
    where : str
        What messages call it.

    Raises
    ------
    UnsupportedError
        If CuPy cannot view it.
    ResourceError
        If CuPy is missing, or the GPU cannot be used.
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(tensor, torch.Tensor):
        tensor = tensor.detach()
        if tensor.ndim > 2:
            tensor = tensor.contiguous()
    try:
        array, dtype, driver = cuda_arrays.on_device(tensor, where)
        if array.ndim > 2 and not array.flags.c_contiguous:
            array = array.copy(order="C")
        return GpuArray(array, dtype, driver, driver.mark())
    except (BufferError, TypeError, ValueError) as error:
        raise UnsupportedError(f"{error}; copy it to the host") from error
    except (ImportError, MemoryError, RuntimeError) as error:
        raise ResourceError(f"{error}; or copy it to the host") from error
