"""Records as plain values: dataclasses of numbers, texts and arrays, to JSON and back."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from neuromfa.errors import BadInputError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Record = TypeVar("Record", bound="DataclassInstance")

_FROM_PLAIN: dict[str, Callable[[Any], Any]] = {  # by a field's declared type
    "Float64": lambda values: np.array(values, dtype=np.float64),
    "Int64": lambda values: np.array(values, dtype=np.int64),
    "float": lambda value: math.nan if value is None else value,
    "tuple[str, ...]": tuple,
}


def to_plain(record: DataclassInstance) -> dict[str, Any]:
    """JSON-ready fields of a record: lists for arrays, None for NaN."""
    return {f.name: plain(getattr(record, f.name)) for f in fields(record)}


def from_plain(kind: type[Record], record: Mapping[str, Any]) -> Record:
    """Inverse of `to_plain`, for a record of that kind."""
    return kind(
        **{
            f.name: _FROM_PLAIN.get(str(f.type), lambda value: value)(record[f.name])
            for f in fields(kind)
        }
    )


def plain(value: Any) -> Any:
    """JSON has no NaN and no arrays."""
    if isinstance(value, np.ndarray):
        return [plain(x) for x in value.tolist()]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    return value


def json_text(record: Mapping[str, Any]) -> str:
    """A record as JSON text (RFC 8259: no NaN)."""
    return json.dumps(record, allow_nan=False, indent=1) + "\n"


def check_version(record: Mapping[str, Any], expected: str, what: str) -> None:
    """Refuse a record of another major version of its schema.

    Raises
    ------
    BadInputError
        With both versions.
    """
    version = str(record.get("schema_version"))
    if version.partition(".")[0] != expected.partition(".")[0]:
        raise BadInputError(f"{what}: schema version {version}, this version reads {expected}")
