"""Torch pickles: read only if allowed, and then only what torch unpickles without running code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from neuromfa.errors import BadInputError, ResourceError, UnsupportedError
from neuromfa.safetensors_file import file_size, unreadable

_OLDEST_TORCH = (2, 10)
_WRAPPERS = ("state_dict", "model_state_dict", "model", "module")
"""Keys under which training frameworks keep the weights."""


def read_pickle(path: Path) -> dict[str, Any]:
    """Load the tensors of a torch file, mapped into memory where its format allows it.

    Raises
    ------
    ResourceError
        If torch is not there, or so old that a crafted file can do harm.
    BadInputError
        If it is not a torch file, is damaged, or has no tensors.
    UnsupportedError
        If it holds objects that only running code can make.
    """
    file_size(path)
    torch = _torch(path)
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"PK"  # files of torch before 1.6 cannot be mapped
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except OSError as error:
        raise unreadable(path, error) from None
    except UnpicklingError as error:
        if "Weights only load failed" not in str(error):
            raise _damaged(path) from None
        raise UnsupportedError(
            f"{path}: holds objects that are not tensors, and only tensors are loaded; "
            "convert it to safetensors"
        ) from None
    except Exception:  # a damaged pickle fails in any way there is
        raise _damaged(path) from None
    for wrapper in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
            break
    tensors = loaded.items() if isinstance(loaded, Mapping) else ()
    found = {name: value for name, value in tensors if isinstance(value, torch.Tensor)}
    if not found:
        raise BadInputError(f"{path}: has no named tensors; give a file with a state dict")
    return found


def _torch(path: Path) -> Any:
    try:
        import torch  # noqa: PLC0415  (optional, and slow)
    except ImportError:
        raise ResourceError(
            f"{path}: torch is not installed; install it: pip install 'neuromfa[torch]'"
        ) from None
    release = tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2])
    if release < _OLDEST_TORCH:
        oldest = ".".join(map(str, _OLDEST_TORCH))
        raise ResourceError(
            f"{path}: torch {torch.__version__} lets a crafted pickle corrupt memory "
            f"(GHSA-63cw-57p8-fm3p); install torch {oldest} or newer, or convert it to safetensors"
        )
    return torch


def _damaged(path: Path) -> BadInputError:
    return BadInputError(f"{path}: is not a torch file or is damaged; write or download it again")
