"""What a checkpoint says about a tensor before any weight is read."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import ml_dtypes
import numpy as np
import numpy.typing as npt

from neuromfa.errors import UnsupportedError, UsageError

if TYPE_CHECKING:
    from neuromfa.gpu_arrays import GpuArray

_READABLE = {
    dtype.name: dtype
    for dtype in map(
        np.dtype,
        (
            *("float64", "float32", "float16", "complex64", "complex128", "bool"),
            *("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8"),
            ml_dtypes.bfloat16,
            ml_dtypes.float8_e4m3fn,
            ml_dtypes.float8_e5m2,
            ml_dtypes.float8_e4m3fnuz,
            ml_dtypes.float8_e5m2fnuz,
            ml_dtypes.float8_e8m0fnu,
        ),
    )
}
_PACKED_BITS = {"float4_e2m1fn": 4, "float6_e2m3fn": 6, "float6_e3m2fn": 6}


def array_dtype(name: str) -> np.dtype[Any] | None:
    """Return the NumPy type of that name, or None if its values are packed or it is unknown."""
    return _READABLE.get(name)


def is_packed(dtype: str) -> bool:
    """Whether several values share a byte."""
    return dtype in _PACKED_BITS


def bits(dtype: str) -> int:
    """Return the stored bits per value of a type."""
    return _PACKED_BITS.get(dtype) or 8 * _READABLE[dtype].itemsize


def leading_axes(shape: tuple[int, ...], cols: int) -> int | None:
    """Count the axes that make the rows of the 2-D view with so many columns; None: no such view.

    A weight [out, in] has one for cols = in; a convolution [out, in, *k] one for in * prod(k); a
    stack of matrices [experts, out, in] two for cols = in.
    """
    axis = max(len(shape) - 1, 0)
    product = math.prod(shape[axis:])
    while product != cols:
        if axis == 0:
            return len(shape) if cols == 1 else None
        axis -= 1
        product *= shape[axis]
    return axis


@dataclass(frozen=True, slots=True)
class TensorRef:
    """Name, stored type, shape and place of a tensor (definitions, section 1).

    Attributes
    ----------
    name : str
        Name in the checkpoint.
    dtype : str
        NumPy or ml_dtypes name of the stored type, such as ``"bfloat16"``.
    shape : tuple of int
        Shape as stored.
    file : str
        Path of the file it lies in; empty for a tensor in memory.
    offset : int
        First byte in the file; 0 for a tensor in memory.
    gpu : int or None
        Number of the GPU that it lies on; None for a file and for main memory.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: str
    offset: int
    gpu: int | None = None

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        """Stored bytes of one value; 1 for several packed into a byte."""
        return -(-bits(self.dtype) // 8)

    @property
    def nbytes(self) -> int:
        """Stored bytes."""
        return self.size * bits(self.dtype) // 8


class Store(Protocol):
    """Where the bytes are: `MappedFiles` or `Arrays`."""

    def rows(self, ref: TensorRef, start: int, stop: int, cols: int) -> npt.NDArray[Any]:
        """Rows of a 2-D view."""

    def copy_rows(self, ref: TensorRef, start: int, cols: int, out: npt.NDArray[np.uint8]) -> None:
        """Fill a buffer with rows of a 2-D view."""

    def blocks(self, ref: TensorRef) -> Iterable[Any]:
        """Bytes of a tensor in C order, a few at a time."""

    def on_gpu(self, ref: TensorRef) -> GpuArray:
        """A tensor that lies on a GPU."""

    def prefetch(self, ref: TensorRef) -> None:
        """Bring a tensor nearer."""

    def release(self, ref: TensorRef) -> None:
        """Let a tensor's memory go."""

    def close(self) -> None:
        """Let everything go."""


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A file that weights are read from: name relative to the checkpoint, size in bytes."""

    name: str
    size: int


def last_row(ref: TensorRef, start: int, stop: int | None, *, cols: int, source: str) -> int:
    """End of a range of rows of the 2-D view with `cols` columns, once it is known to exist.

    Raises
    ------
    UnsupportedError
        If several values share a byte.
    UsageError
        If there is no such view or no such rows.
    """
    where = f"{ref.file or source}: tensor {shown(ref.name)}"
    if array_dtype(ref.dtype) is None:
        raise UnsupportedError(
            f"{where}: is stored as {ref.dtype}, several values in a byte, which is not read; "
            "give the checkpoint in bfloat16"
        )
    if (axes := leading_axes(ref.shape, cols)) is None:
        raise UsageError(f"{where}: {list(ref.shape)} has no view with {cols} columns")
    rows = math.prod(ref.shape[:axes])
    last = rows if stop is None else stop
    if not 0 <= start <= last <= rows:
        raise UsageError(f"{where}: has {rows} rows, not {start}:{last}")
    return last


def natural_key(name: str) -> tuple[tuple[int, str], ...]:
    """Sort key that puts ``layers.2`` before ``layers.10``; equal only for equal names."""
    parts = re.split(r"([0-9]+)", name)
    # Text stands at even places and digits at odd ones. Digits of any length compare as
    # numbers by their length first: int() refuses more than 4,300 of them.
    key = [(0, part) for part in parts]
    for place in range(1, len(parts), 2):
        digits = parts[place].lstrip("0")
        key[place] = (len(digits), digits)
    return (*key, (0, name))


def shown(name: str) -> str:
    """Return a name as it stands in a message: on one line, printable, not endless."""
    text = name if name.isprintable() and name else ascii(name)
    return text if len(text) <= 200 else f"{text[:200]}..."
