"""Weights that are in memory already, or come from a pickle: arrays by name."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuromfa.errors import BadInputError, ResourceError, UnsupportedError
from neuromfa.tensors import shown
from neuromfa_kernels.arrays import as_array

Arrays = dict[str, npt.NDArray[Any]]
SAFE_TORCH = (2, 10)
"""First release whose weights_only loading has no known way to run code or corrupt memory."""


def is_module(source: Any) -> bool:
    """Whether `source` is a torch module; torch is not imported for that."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(source, torch.nn.Module)


def module_contents(module: Any) -> tuple[Mapping[str, Any], dict[str, str], dict[str, Any]]:
    """State dict, class of the module that owns each tensor, and configuration of a module."""
    kinds = {
        f"{prefix}.{name}" if prefix else name: type(part).__name__
        for prefix, part in module.named_modules()
        for name, _ in part.named_parameters(recurse=False)
    }
    config = getattr(module, "config", None)
    record = config.to_dict() if hasattr(config, "to_dict") else {}
    return module.state_dict(), kinds, record


def arrays_of(tensors: Mapping[Any, Any], where: str) -> Arrays:
    """View every tensor of a state dict as an array that shares its memory.

    Raises
    ------
    UnsupportedError
        If a tensor is not in main memory, or is sparse or quantised; it is named.
    BadInputError
        If something is no tensor at all.
    """
    arrays: Arrays = {}
    for name, tensor in tensors.items():
        if not isinstance(name, str):
            raise BadInputError(f"{where}: {name!r} is no tensor name; give a state dict")
        device = getattr(getattr(tensor, "device", None), "type", "cpu")
        if device == "meta":
            raise UnsupportedError(
                f"{where}: tensor {shown(name)} is on the meta device and has no weights; load them"
            )
        if getattr(tensor, "is_quantized", False):
            raise UnsupportedError(
                f"{where}: tensor {shown(name)} is quantised by torch; dequantise it first"
            )
        try:
            arrays[name] = as_array(tensor, f"tensor {shown(name)}")
        except TypeError as error:
            raise UnsupportedError(f"{where}: {error}") from error
        if arrays[name].dtype.kind == "O":
            raise BadInputError(f"{where}: {shown(name)} holds Python objects, not numbers")
    if not arrays:
        raise BadInputError(f"{where}: has no tensors; give a model's weights")
    return arrays


def aliases_of(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, str]:
    """Tensors that are another one under a second name, as tied weights are."""
    first: dict[Any, str] = {}
    found = {}
    for name, array in arrays.items():
        key = (array.ctypes.data, array.shape, array.strides, array.dtype)
        if array.size and (owner := first.setdefault(key, name)) != name:
            found[name] = owner
    return found


def read_pickle(path: Path) -> Arrays:
    """Map a PyTorch file, with ``weights_only=True``: no code of the file is ever run.

    Raises
    ------
    ResourceError
        If torch is missing or has a known hole in this kind of loading.
    BadInputError
        If the file is not a plain state dict.
    """
    try:
        import torch  # noqa: PLC0415  (optional, and slow)
    except ImportError as error:
        raise ResourceError(f"{path}: needs torch: pip install 'neuromfa[torch]'") from error
    if tuple(map(int, torch.__version__.split(".")[:2])) < SAFE_TORCH:
        raise ResourceError(
            f"{path}: torch {torch.__version__} has known holes in loading pickles; "
            f"install {'.'.join(map(str, SAFE_TORCH))} or later"
        )
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # what a broken file raises is not specified
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise BadInputError(f"{path}: is not a PyTorch file of plain weights: {reason}") from None
    if isinstance(loaded, Mapping):
        for key in ("state_dict", "model"):
            if isinstance(loaded.get(key), Mapping):
                loaded = loaded[key]
    if not isinstance(loaded, Mapping):
        raise BadInputError(f"{path}: holds a {type(loaded).__name__}, not a state dict")
    return arrays_of({k: v for k, v in loaded.items() if isinstance(v, torch.Tensor)}, str(path))


def read_npy(path: Path) -> Arrays:
    """Map a NumPy file; its only tensor is named after the file.

    Raises
    ------
    BadInputError
        If it is no NumPy file of numbers.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BadInputError(f"{path}: is not a NumPy file of numbers: {error}") from None
    return {path.stem: array}
