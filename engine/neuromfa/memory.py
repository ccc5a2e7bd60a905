"""Tensors that are in memory already, of this machine or of its GPUs: read without a copy."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from neuromfa.errors import BadInputError, UnsupportedError, UsageError
from neuromfa.gpu_arrays import GpuArray, lies_on_gpu, take
from neuromfa.mapped_files import BLOCK_BYTES
from neuromfa.tensors import TensorRef, array_dtype, is_packed, leading_axes, natural_key, shown
from neuromfa_kernels.arrays import as_array

_EXTRA_STATE = "_extra_state"
"""Last part of the names under which torch modules save what is not a tensor."""

_COMPILED = "_orig_mod"
"""What a compiled module calls the one that it wraps."""
_WRAPPED = {_COMPILED, "_checkpoint_wrapped_module"}
"""Parts of names that come from wrappers."""


class Arrays:
    """Tensors in memory, as arrays that share it.

    Parameters
    ----------
    tensors : mapping of str to array or tensor
        What to read: NumPy and CuPy arrays, torch tensors on the CPU or on NVIDIA GPUs, anything
        with ``__dlpack__`` that lies there. Torch is not imported for it.
    source : str
        What messages call it.

    Raises
    ------
    UsageError
        If a value is neither.
    BadInputError
        If a tensor has no values, or there is none.
    UnsupportedError
        If a tensor is on a device of another kind, not dense, or of a type that is not known.
    ResourceError
        If a tensor is on a GPU that cannot be used.
    """

    def __init__(self, tensors: Mapping[str, Any], source: str) -> None:
        self._arrays: dict[str, npt.NDArray[Any]] = {}
        self._on_gpus: dict[str, GpuArray] = {}
        self.refs: dict[str, TensorRef] = {}
        for name, tensor in tensors.items():
            if not isinstance(name, str):
                raise UsageError(f"{source}: has the key {name!r}; give names of tensors")
            if name.rpartition(".")[2] == _EXTRA_STATE:
                continue
            array, dtype = _as_array(tensor, f"{source}: tensor {shown(name)}")
            if isinstance(array, GpuArray):
                self._on_gpus[name] = array
                shape = tuple(map(int, array.array.shape))
                self.refs[name] = TensorRef(name, dtype, shape, "", 0, array.driver.device)
                continue
            shape = array.shape
            if is_packed(dtype) and array.dtype == np.uint8:
                shape = (*shape[:-1], 2 * shape[-1])  # torch counts bytes of two values
            array = array.view()
            array.flags.writeable = False
            self._arrays[name] = array
            self.refs[name] = TensorRef(name, dtype, shape, "", 0)
        if not self.refs:
            raise BadInputError(f"{source}: has no tensors; give a state dict or a module")

    def aliases(self) -> dict[str, str]:
        """Names of tied tensors, each with the first (in natural order) that is the same memory."""
        first: dict[tuple[Any, ...], str] = {}
        tied = {}
        for name in sorted(self.refs, key=natural_key):
            if not self.refs[name].size:
                continue
            if name in self._on_gpus:
                place = self._on_gpus[name].place
            else:
                array = self._arrays[name]
                place = (array.__array_interface__["data"][0], array.shape, array.strides)
            if (same := first.setdefault((*place, self.refs[name].dtype), name)) != name:
                tied[name] = same
        return tied

    def rows(self, ref: TensorRef, start: int, stop: int, cols: int) -> npt.NDArray[Any]:
        """Rows of a 2-D view; a copy of them if the tensor is not contiguous, or on a GPU."""
        if ref.gpu is not None:
            return _read_only(self._on_gpus[ref.name].to_host(start, stop, cols))
        return _rows(self._arrays[ref.name], start, stop, cols)

    def blocks(self, ref: TensorRef) -> Iterator[npt.NDArray[np.uint8]]:
        """Bytes of a tensor in C order, a few at a time."""
        if ref.gpu is None:
            shape: tuple[int, ...] = self._arrays[ref.name].shape  # that of bytes, if packed
        else:
            shape = ref.shape
        if not ref.size:
            return
        cols = shape[-1] if shape else 1
        step = max(1, BLOCK_BYTES // (cols * ref.itemsize))
        n = math.prod(shape) // cols
        for start in range(0, n, step):
            yield self.rows(ref, start, min(start + step, n), cols).reshape(-1).view(np.uint8)

    def copy_rows(self, ref: TensorRef, start: int, cols: int, out: npt.NDArray[np.uint8]) -> None:
        """Fill a buffer with the bytes of rows of a 2-D view."""
        stop = start + out.size // (cols * ref.itemsize)
        rows = self.rows(ref, start, stop, cols)
        out[:] = np.ascontiguousarray(rows).reshape(-1).view(np.uint8)

    def on_gpu(self, ref: TensorRef) -> GpuArray:
        """Return a tensor that lies on a GPU."""
        return self._on_gpus[ref.name]

    def prefetch(self, ref: TensorRef) -> None:
        """Nothing: it is in memory."""

    def release(self, ref: TensorRef) -> None:
        """Nothing: its owner needs it."""

    def close(self) -> None:
        """Let go of the tensors."""
        self._arrays.clear()
        self._on_gpus.clear()


def is_module(source: object) -> bool:
    """Whether something is a torch module; without torch nothing is."""
    torch: Any = sys.modules.get("torch")
    return torch is not None and isinstance(source, torch.nn.Module)


def read_module(module: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tensors of a module, and what is known of them: source, config, kinds of modules.

    Raises
    ------
    UnsupportedError
        If its weights are in flat parameters (FSDP1).
    """
    module = unwrapped(module)
    name = type(module).__name__
    fsdp: Any = sys.modules.get("torch.distributed.fsdp")
    if fsdp and any(isinstance(part, fsdp.FullyShardedDataParallel) for part in module.modules()):
        raise UnsupportedError(
            f"{name}: has its weights in the flat parameters of FullyShardedDataParallel; shard it "
            "with fully_shard, or give its state_dict() of type SHARDED_STATE_DICT on a mesh"
        )
    tensors = plain_names(module.state_dict())
    kinds = module_kinds(module, [n for n in tensors if n.rpartition(".")[2] != _EXTRA_STATE])
    return tensors, {"source": name, "config": module_config(module), "kinds": kinds}


def unwrapped(module: Any) -> Any:
    """The module inside the wrappers of compilation and of data-parallel training."""
    torch: Any = sys.modules["torch"]
    parallel = (torch.nn.parallel.DistributedDataParallel, torch.nn.DataParallel)
    while True:
        inner = module.module if isinstance(module, parallel) else getattr(module, _COMPILED, None)
        if inner is None:
            return module
        module = inner


def unwrapped_name(name: str) -> str:
    """Name of a tensor or a part without what compiled parts add to it."""
    return ".".join(part for part in name.split(".") if part not in _WRAPPED)


def plain_names(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Tensors by the names that they have without wrappers, also that of data-parallel training."""
    if not all(isinstance(name, str) for name in tensors):
        return dict(tensors)
    parallel = bool(tensors) and all(name.startswith("module.") for name in tensors)
    names = [unwrapped_name(name.removeprefix("module." * parallel)) for name in tensors]
    if len(set(names)) < len(names):
        return dict(tensors)
    return dict(zip(names, tensors.values(), strict=True))


def module_kinds(module: Any, names: Iterable[str]) -> dict[str, str]:
    """Class name of the module that owns each tensor."""
    owners = {
        unwrapped_name(name): type(part).__name__
        for name, part in module.named_modules(remove_duplicate=False)
    }
    kinds = {name: owners.get(name.rpartition(".")[0]) for name in names}
    return {name: kind for name, kind in kinds.items() if kind is not None}


def module_config(module: Any) -> dict[str, Any]:
    """Return the configuration that transformers models carry; empty for others."""
    to_dict = getattr(getattr(module, "config", None), "to_dict", None)
    config = to_dict() if callable(to_dict) else None
    return dict(config) if isinstance(config, Mapping) else {}


def _rows(array: npt.NDArray[Any], start: int, stop: int, cols: int) -> npt.NDArray[Any]:
    if array.flags.c_contiguous and array.size:
        return array.reshape(-1, cols)[start:stop]
    axes = leading_axes(array.shape, cols) or 0
    if axes < 2:
        rows = np.ascontiguousarray(array[start:stop] if axes else array)
    else:
        rows = array[np.unravel_index(np.arange(start, stop), array.shape[:axes])]
    return _read_only(rows.reshape(stop - start, cols))


def _read_only(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    rows.flags.writeable = False
    return rows


def _as_array(tensor: Any, where: str) -> tuple[npt.NDArray[Any] | GpuArray, str]:
    if isinstance(tensor, np.ndarray):
        if not tensor.dtype.isnative:
            raise UnsupportedError(
                f"{where}: is stored big-endian ({tensor.dtype.str}); convert it: "
                f".astype({tensor.dtype.newbyteorder('=').name!r})"
            )
        return np.asarray(tensor), _known(tensor.dtype.name, where)
    torch: Any = sys.modules.get("torch")
    is_tensor = torch is not None and isinstance(tensor, torch.Tensor)
    if not is_tensor and not hasattr(tensor, "__dlpack_device__") and not lies_on_gpu(tensor):
        raise UsageError(
            f"{where}: is a {type(tensor).__name__}; give a NumPy array or a torch tensor"
        )
    try:
        if is_tensor:
            return _from_torch(tensor, torch, where)
        if lies_on_gpu(tensor):
            return _on_gpu(tensor, where)
        array = as_array(tensor, where)
        return array, _known(array.dtype.name, where)
    except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UnsupportedError(
            f"{where}: is a {type(tensor).__name__} that has no array ({reason}); "
            "give a dense tensor in host memory"
        ) from None


def _on_gpu(tensor: Any, where: str) -> tuple[GpuArray, str]:
    array = take(tensor, where)
    return array, _known(array.dtype.name, where)


def _from_torch(tensor: Any, torch: Any, where: str) -> tuple[npt.NDArray[Any] | GpuArray, str]:
    if tensor.device.type == "meta":
        raise BadInputError(f"{where}: has no values (device meta); load the weights first")
    if tensor.layout != torch.strided:
        raise UnsupportedError(f"{where}: is {tensor.layout}; give it dense: .to_dense()")
    if tensor.is_quantized:
        raise UnsupportedError(f"{where}: is quantised ({tensor.dtype}); give it: .dequantize()")
    kind = type(tensor)
    if hasattr(kind, "__tensor_flatten__") or kind.__name__ == "ShardedTensor":
        raise UnsupportedError(
            f"{where}: is a {kind.__name__}, which stands for other tensors; give it dense and "
            "whole: .dequantize() if it is quantised"
        )
    if tensor.device.type == "cuda":
        return _on_gpu(tensor, where)
    if tensor.device.type != "cpu":
        raise UnsupportedError(
            f"{where}: is on {tensor.device}, which is not read; copy it to the host: .cpu()"
        )
    detached = tensor.detach()
    dtype = str(tensor.dtype).removeprefix("torch.")
    if dtype == "float4_e2m1fn_x2":
        return detached.view(torch.uint8).numpy(), "float4_e2m1fn"
    known = np.dtype(array_dtype(_known(dtype, where)))
    if known.isbuiltin == 1:
        return detached.numpy(), dtype
    # NumPy has no such type of its own: the same bytes under an integer's name, then back.
    carrier = torch.uint16 if known.itemsize == 2 else torch.uint8
    return detached.view(carrier).numpy().view(known), dtype


def _known(dtype: str, where: str) -> str:
    if array_dtype(dtype) is None and not is_packed(dtype):
        raise UnsupportedError(f"{where}: is stored as {dtype}; convert it to float32 or bfloat16")
    return dtype
