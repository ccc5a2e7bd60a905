"""One row of the registry of architectures: a tensor name with placeholders, and what it means."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

ORIENTATIONS = ("oi", "io")
FORMS = ("matrix", "each", "stack", "flat", "joined", "convolution", "depthwise")
"""How a tensor holds its maps: one matrix; one matrix of one expert; a 3-D stack of experts; the
experts' rows in one matrix; a matrix after joining the leading dimensions; a convolution
[out, in, *k]; one filter per channel [channels, 1, k]."""

_PLACEHOLDERS = ("{block}", "{expert}", "{any}")
_OPTIONS = {"role", "orientation", "split", "form", "shared", "label", "stack"}

Slots = tuple[str | int, ...]
"""What the integers of a name are: "block", "expert", "any", or exactly this number."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the registry: tensors of one kind (definitions, section 1).

    Attributes
    ----------
    pattern : str
        Name without ``.weight``, as written in the registry.
    role : str
        The units that the tensor reads, or the rule by which it is left out.
    orientation : {"oi", "io"}
        Rows are output units ([out, in]) or input units ([in, out]).
    split : str
        How a fused tensor is laid out; no count depends on it.
    form : str
        One of `FORMS`.
    shared : bool
        Belongs to the shared expert.
    label : str
        Tells layers of one role outside the blocks apart.
    stack : str
        Stack of a tensor outside the numbered blocks.
    """

    pattern: str
    role: str
    orientation: str = "oi"
    split: str = "none"
    form: str = "matrix"
    shared: bool = False
    label: str = ""
    stack: str = ""


Index = dict[str, list[tuple[Slots, str, Row]]]
"""By name with # for integers: what the integers are, the stack, the row."""


def collect(
    table: Mapping[str, Any],
    stacks: Mapping[str, list[str]],
    names: Mapping[str, str],
    index: Index,
    *,
    stack: str = "",
) -> None:
    """Add the rows of one table to the index; later tables take precedence.

    `stacks` has the prefixes of the numbered blocks; `stack` is that of rows outside them.
    """
    for key in ("block", "model"):
        if not isinstance(table, Mapping) or not isinstance(table.get(key, {}), Mapping):
            raise ValueError(f"{key}: must be a table of tensor names")
    new: Index = {}
    for pattern, entry in table.get("block", {}).items():
        row = _row(pattern, entry, names)
        for inner, prefixes in stacks.items():
            for prefix in prefixes:
                _add(new, prefix + pattern, inner, row)
    for pattern, entry in table.get("model", {}).items():
        row = _row(pattern, entry, names)
        _add(new, pattern, row.stack or stack, row)
    for key, found in new.items():
        taken = {slots for slots, _, _ in found}
        index[key] = [*found, *(old for old in index.get(key, []) if old[0] not in taken)]


def _add(index: Index, pattern: str, stack: str, row: Row) -> None:
    for name in _expand(pattern):
        parts = name.split(".")
        slots: Slots = tuple(
            part.strip("{}") if part.startswith("{") else int(part)
            for part in parts
            if part.startswith("{") or part.isdecimal()
        )
        key = ".".join("#" if p.startswith("{") or p.isdecimal() else p for p in parts)
        if any(slots == other for other, _, _ in index.setdefault(key, [])):
            raise ValueError(f"{row.pattern}: two rows for the tensor name {name}")
        index[key].append((slots, stack, row))


def _expand(pattern: str) -> Iterator[str]:
    """All names of a pattern with alternatives: ``(q|k|v)_proj`` is three names."""
    pieces = re.split(r"\(([^()]*)\)", pattern)
    for choice in itertools.product(
        *(p.split("|") if i % 2 else [p] for i, p in enumerate(pieces))
    ):
        yield "".join(choice)


def _row(pattern: str, entry: Any, names: Mapping[str, str]) -> Row:
    """Read one row: a role or rule alone, or a table of options."""
    options = {"role": entry} if isinstance(entry, str) else entry
    if not isinstance(options, Mapping) or "role" not in options:
        raise ValueError(f"{pattern}: must be a role, or a table with a role")
    if unknown := set(options) - _OPTIONS:
        raise ValueError(f"{pattern}: {min(unknown)}: must be one of {', '.join(sorted(_OPTIONS))}")
    if wrong := [
        k for k, v in options.items() if not isinstance(v, bool if k == "shared" else str)
    ]:
        raise ValueError(
            f"{pattern}: {wrong[0]}: must be {'true' if wrong[0] == 'shared' else 'a word'}"
        )
    if wrong := [p for p in pattern.split(".") if "{" in p and p not in _PLACEHOLDERS]:
        raise ValueError(f"{pattern}: {wrong[0]}: must be one of {', '.join(_PLACEHOLDERS)}")
    form = "each" if "{expert}" in pattern else "matrix"
    row = Row(pattern, **{"form": form, **options})
    for key, known in (("role", names), ("orientation", ORIENTATIONS), ("form", FORMS)):
        if getattr(row, key) not in known:
            raise ValueError(
                f"{pattern}: {key} {getattr(row, key)!r}: must be one of {', '.join(known)}"
            )
    return row
