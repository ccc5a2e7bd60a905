"""The header of a safetensors file, believed only after every claim in it has been checked."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from neuromfa.errors import BadInputError, UnsupportedError
from neuromfa.tensors import TensorRef, bits, shown

HEADER_LIMIT = 100_000_000
"""Largest header in bytes: the format's own limit."""

_AGAIN = "write or download the file again"
_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F6_E2M3": "float6_e2m3fn",
    "F6_E3M2": "float6_e3m2fn",
    "F4": "float4_e2m1fn",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "C64": "complex64",
    "BOOL": "bool",
}
_LARGEST = 2**63 - 1


class _RepeatedKeyError(Exception):
    """A key that stands twice in one JSON object."""


def file_size(path: Path) -> int:
    """Return the bytes of a regular file.

    Raises
    ------
    BadInputError
        If there is no such file, it is a broken link, not a file, or out of reach.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        if path.is_symlink():
            raise BadInputError(
                f"{path}: is a link to {path.readlink()}, which does not exist; {_AGAIN}"
            ) from None
        raise BadInputError(f"{path}: no such file; {_AGAIN}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the name
        raise unreadable(path, error) from None
    if not stat.S_ISREG(status.st_mode):
        raise BadInputError(f"{path}: is not a regular file; give a file or a directory of files")
    return status.st_size


def unreadable(path: Path, error: Exception) -> BadInputError:
    """Say that the system refuses to read a file, with its reason."""
    reason = (getattr(error, "strerror", None) or str(error)).lower()
    return BadInputError(f"{path}: cannot be read: {reason}; check the path and its permissions")


def read_object(path: Path, *, repeated_keys: bool = False) -> dict[str, Any]:
    """Read a JSON file that holds one object.

    Raises
    ------
    BadInputError
        If the file is unreadable, above the size of any header, not JSON, not an object, or
        (unless `repeated_keys`) one of its objects has the same key twice.
    """
    if (size := file_size(path)) > HEADER_LIMIT:
        raise BadInputError(f"{path}: is {size} bytes, above the limit of {HEADER_LIMIT}; {_AGAIN}")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None
    return parse_object(data, str(path), repeated_keys=repeated_keys)


def parse_object(data: bytes, where: str, *, repeated_keys: bool = False) -> dict[str, Any]:
    """Parse a JSON object; see `read_object`."""
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=dict if repeated_keys else _without_repeats
        )
    except UnicodeDecodeError as error:
        raise BadInputError(f"{where}: is not UTF-8 at byte {error.start}; {_AGAIN}") from None
    except _RepeatedKeyError as error:
        raise BadInputError(f"{where}: has the key {error} twice; {_AGAIN}") from None
    except json.JSONDecodeError as error:
        raise BadInputError(
            f"{where}: is not JSON at character {error.pos} ({error.msg}); {_AGAIN}"
        ) from None
    except RecursionError:
        raise BadInputError(f"{where}: is nested too deeply; {_AGAIN}") from None
    except ValueError:  # Python refuses to convert more than 4,300 digits
        raise BadInputError(f"{where}: has a number of too many digits; {_AGAIN}") from None
    if not isinstance(value, dict):
        raise BadInputError(f"{where}: is a JSON {_kind(value)}, not an object; {_AGAIN}")
    return value


def read_header(path: Path) -> dict[str, TensorRef]:
    """Read and check the header of a safetensors file; no weight is read.

    The format: 8 bytes with the length of the header, the header (a JSON object of name ->
    type, shape, place), then the tensors, without holes or overlaps up to the end of the file.

    Raises
    ------
    BadInputError
        If the file is not what the format says, with the first fault found.
    UnsupportedError
        If a tensor has a type that this version does not know.
    """
    size = file_size(path)
    try:
        with path.open("rb") as file:
            start = file.read(8)
            length = int.from_bytes(start, "little")
            _check_length(path, size, start, length)
            data = file.read(length)
    except OSError as error:
        raise unreadable(path, error) from None
    header = parse_object(data, f"{path}: the header")
    header.pop("__metadata__", None)
    places = []
    refs = {}
    for name, entry in header.items():
        ref, begin, end = _checked_entry(path, name, entry, data_start=8 + length)
        refs[name] = ref
        places.append((begin, end, name))
    _check_places(path, places, data_size=size - 8 - length)
    return refs


def _check_length(path: Path, size: int, start: bytes, length: int) -> None:
    if start == b"version ":
        raise BadInputError(
            f"{path}: is a Git LFS pointer, not the weights; fetch them: git lfs pull"
        )
    if len(start) < 8:
        raise BadInputError(f"{path}: is {size} bytes, too short for safetensors; {_AGAIN}")
    if length > size - 8:
        raise BadInputError(
            f"{path}: its header should be {length} bytes, but the file is {size} bytes; {_AGAIN}"
        )
    if length > HEADER_LIMIT:
        raise BadInputError(
            f"{path}: its header is {length} bytes, above the limit of {HEADER_LIMIT}; {_AGAIN}"
        )


def _checked_entry(
    path: Path, name: str, entry: Any, *, data_start: int
) -> tuple[TensorRef, int, int]:
    where = f"{path}: tensor {shown(name)}"
    if not _is_unicode(name):
        raise BadInputError(f"{where}: the name is not valid Unicode; {_AGAIN}")
    if not isinstance(entry, dict):
        raise BadInputError(f"{where}: its entry is a JSON {_kind(entry)}, not an object; {_AGAIN}")
    if missing := {"dtype", "shape", "data_offsets"} - entry.keys():
        raise BadInputError(f"{where}: its entry has no {min(missing)}; {_AGAIN}")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str):
        raise BadInputError(f"{where}: its dtype is a JSON {_kind(dtype)}, not a name; {_AGAIN}")
    if not _are_sizes(shape):
        raise BadInputError(f"{where}: its shape is not a list of whole numbers >= 0; {_AGAIN}")
    if not _are_sizes(offsets) or len(offsets) != 2:
        raise BadInputError(f"{where}: its data_offsets are not two whole numbers >= 0; {_AGAIN}")
    if dtype not in _DTYPES:
        raise UnsupportedError(
            f"{where}: has the dtype {shown(dtype)}, which is not known; convert it to F32 or BF16"
        )
    begin, end = offsets
    needed, odd = divmod(_product(shape) * bits(_DTYPES[dtype]), 8)
    if odd or needed != end - begin:
        raise BadInputError(
            f"{where}: {dtype} {_short(shape)} takes {needed}{f' {odd}/8' if odd else ''} bytes, "
            f"but {end - begin} are stored; {_AGAIN}"
        )
    if _product(filter(None, shape)) > _LARGEST // 16:  # no values, but no array either
        raise BadInputError(f"{where}: {dtype} {_short(shape)} is beyond any array; {_AGAIN}")
    ref = TensorRef(name, _DTYPES[dtype], tuple(shape), str(path), data_start + begin)
    return ref, begin, end


def _check_places(path: Path, places: list[tuple[int, int, str]], *, data_size: int) -> None:
    """Tensors must follow each other from the first byte after the header to the last."""
    reached, before = 0, ""
    for begin, end, name in sorted(places):
        where = f"{path}: tensor {shown(name)}"
        if begin < reached:
            raise BadInputError(
                f"{where}: begins at byte {begin}, before {shown(before)} ends at {reached}; "
                f"{_AGAIN}"
            )
        if begin > reached:
            raise BadInputError(
                f"{where}: begins at byte {begin}, but the data before it end at {reached}; "
                f"{_AGAIN}"
            )
        if end > data_size:
            raise BadInputError(
                f"{where}: ends at byte {end} of the data, but the file has {data_size}; {_AGAIN}"
            )
        reached, before = end, name
    if reached < data_size:
        raise BadInputError(
            f"{path}: has {data_size} bytes of data, but its header describes {reached}; {_AGAIN}"
        )


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _RepeatedKeyError(shown(key))
            seen.add(key)
    return result


def _kind(value: Any) -> str:
    kinds = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return kinds.get(type(value), "number")


def _is_unicode(name: str) -> bool:
    """JSON can spell half a surrogate pair, which no file or terminal accepts."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(
        type(value) is int and 0 <= value <= _LARGEST for value in values
    )


def _product(shape: Iterable[int]) -> int:
    """Multiply, but stop beyond any file: the numbers in a broken header can be endless."""
    product = 1
    for length in sorted(shape):
        product *= length
        if product == 0 or product > _LARGEST:
            break
    return product


def _short(shape: list[int]) -> str:
    return str(shape) if len(shape) <= 8 else f"[{shape[0]}, ... {len(shape)} dimensions]"
