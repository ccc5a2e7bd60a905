"""Families of tensor names: a tensor's name tells where it belongs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from neuromfa.patterns import Index, Row


@dataclass(frozen=True, slots=True)
class Match:
    """Where a tensor belongs.

    Attributes
    ----------
    row : Row
        What it is.
    stack : str
        Stack of its block.
    block : tuple of int or None
        Numbers of its block; None outside the blocks.
    expert : int or None
        Number of its expert.
    pattern : str
        The part of its name that the registry knows, with # for integers.
    numbers : tuple of int
        The integers.
    """

    row: Row
    stack: str
    block: tuple[int, ...] | None
    expert: int | None
    pattern: str
    numbers: tuple[int, ...]

    @property
    def order(self) -> tuple[object, ...]:
        """Sorts the tensors of one layer and owner, whatever their order in the file."""
        return (self.pattern, self.numbers)


@dataclass(frozen=True, slots=True)
class Family:
    """Architectures that share their tensor names."""

    name: str
    title: str
    model_types: tuple[str, ...]
    roots: frozenset[str]
    towers: Mapping[str, str]
    tied: bool
    rows: tuple[Row, ...]
    source: str
    _index: Index = field(repr=False)

    def match(self, name: str) -> Match | None:
        """Find the row of a tensor by the longest pattern that its name ends with."""
        parts = name.removesuffix(".weight").split(".")
        numbers = [int(part) if part.isdecimal() else None for part in parts]
        keys = [
            "#" if number is not None else part for part, number in zip(parts, numbers, strict=True)
        ]
        tower = ""
        for start, part in enumerate(parts):
            pattern = ".".join(keys[start:])
            values = tuple(number for number in numbers[start:] if number is not None)
            for slots, stack, row in self._index.get(tower + pattern, ()):
                if all(s == v for s, v in zip(slots, values, strict=True) if isinstance(s, int)):
                    return _match(row, stack, pattern, slots=slots, values=values)
            if part in self.towers and not tower:
                tower = f"{self.towers[part]}:"
            elif part not in self.roots and part not in self.towers:
                return None
        return None


def _match(
    row: Row, stack: str, pattern: str, *, slots: tuple[str | int, ...], values: tuple[int, ...]
) -> Match:
    named = list(zip(slots, values, strict=True))
    block = tuple(value for slot, value in named if slot == "block")
    expert = next((value for slot, value in named if slot == "expert"), None)
    return Match(row, stack, block if block or stack else None, expert, pattern, values)
