"""What a report is made of: sections of figures, tables, and what is missing."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from neuromfa.reports.chart import Spec

NOTHING = "–"
LONG = 45


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table as people read it.

    Attributes
    ----------
    columns : sequence of str
        Headings.
    rows : sequence of sequences
        Values: text stays as it is, numbers are written with four decimals, None as a dash.
    note : str or None
        What was left out or what a dash means.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str | None = None

    def numeric(self, column: int) -> bool:
        """Whether a column holds numbers (or nothing), so that it is set to the right."""
        cells = [row[column] for row in self.rows if row[column] is not None]
        return bool(cells) and all(
            isinstance(cell, int | float) or str(cell).endswith("%") for cell in cells
        )

    @property
    def kinds(self) -> list[str]:
        """The class of each column in the page: numbers, long text, or short text."""
        long = [any(len(str(r[k])) > LONG for r in self.rows) for k in range(len(self.columns))]
        return ["n" if self.numeric(k) else "l" if long[k] else "t" for k in range(len(long))]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure with everything a reader needs who cannot see it.

    Attributes
    ----------
    name : str
        Its place in the page and the stem of its file.
    title : str
        What is shown.
    caption : str
        How to read it, in the field's words.
    summary : str
        What is to be seen, in numbers: the text alternative.
    spec : mapping
        Vega-Lite; colours are names of the page's palette.
    table : Table
        The numbers behind it.
    wide : bool
        Whether it takes the whole width of the page.
    """

    name: str
    title: str
    caption: str
    summary: str
    spec: Spec
    table: Table
    wide: bool = False


@dataclass(frozen=True, kw_only=True)
class TableBlock:
    """A table that stands for itself, over the whole width or half of it."""

    name: str
    title: str
    caption: str
    table: Table
    wide: bool = True


@dataclass(frozen=True, kw_only=True)
class Missing:
    """Something that cannot be shown, and why, in one line."""

    title: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Note:
    """Something that takes one line to say."""

    title: str
    text: str


Item = Figure | TableBlock | Missing | Note


@dataclass(frozen=True, kw_only=True)
class Section:
    """A chapter of the report: a question, and what answers it."""

    name: str
    title: str
    question: str
    items: Sequence[Item] = field(default_factory=tuple)


def shown(value: Any) -> str:
    """A value as it is printed: four decimals, thousands apart, a dash for what is undefined."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        small = 0 < abs(value) < 1e-4
        return (f"{value:.2e}" if small else f"{value:,.4f}").replace("-", "−")
    return str(value)


def with_error(value: float | None, error: float | None) -> str:
    """``value ± error``, or the value alone."""
    text = shown(value)
    return text if error is None or text == NOTHING else f"{text} ± {shown(error)}"


def file_stem(*words: str) -> str:
    """A name for a figure from words that anyone may have chosen."""
    plain = (re.sub(r"[^a-z0-9]+", "-", word.lower()).strip("-")[:40] for word in words)
    return "-".join(word or "unnamed" for word in plain)
