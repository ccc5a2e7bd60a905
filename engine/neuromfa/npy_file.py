"""One matrix in NumPy's own format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from neuromfa.errors import BadInputError
from neuromfa.safetensors_file import file_size, unreadable


def open_npy(path: Path) -> np.memmap[Any, Any]:
    """Map the array of an ``.npy`` file; no value is read.

    Raises
    ------
    BadInputError
        If it is not such a file, is cut short, goes on after the array, or holds objects.
    """
    size = file_size(path)
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise unreadable(path, error) from None
    except Exception as error:  # a damaged header fails in many ways
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise BadInputError(
            f"{path}: is not a readable .npy file ({reason}); write or download it again"
        ) from None
    if not isinstance(array, np.memmap):
        array.close()
        raise BadInputError(f"{path}: is an .npz archive; give one array as .npy")
    if array.offset + array.nbytes != size:
        raise BadInputError(
            f"{path}: is {size} bytes, but its header describes {array.offset + array.nbytes}; "
            "write or download it again"
        )
    return array
