"""Write the README's table of measurements from `results.jsonl`.

    python bench/table.py [--check]

With `--check` nothing is written; the exit status is 1 if the README is not up to date. For each
thing measured on each machine the last row counts. A row of a kind that is not known is an error.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results.jsonl")
README = Path(__file__).parent.parent / "README.md"
MARKED = re.compile(r"(<!-- table -->\n).*?(<!-- /table -->)", re.DOTALL)
IDENTITY = ("kind", "what", "dtype", "layout", "peer", "machine")
"""What makes two rows measurements of the same thing."""

Row = Mapping[str, Any]


def _number(value: float) -> str:
    """Three significant digits."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")


def _cell(row: Row, key: str, form: Callable[[float], str] = _number) -> str:
    """A value of a row; a dash where it makes no sense, words where it was not measured."""
    if key not in row:
        return "-"
    return "not measured" if row[key] is None else form(row[key])


def _speed(row: Row) -> str:
    return _cell(row, "ratio", lambda ratio: f"{_number(ratio)} times {row['peer']}")


def _what(row: Row) -> str:
    details = [str(row[key]) for key in ("dtype", "layout") if row.get(key)]
    return f"{row['what']} ({', '.join(details)})" if details else str(row["what"])


def _pipeline(row: Row) -> str:
    size = f"{row['bytes'] / 1e9:.2f} GB, {row['private_bytes'] / 1e6:.0f} MB private memory"
    return f"{_what(row)}: {size}"


KINDS: dict[str, Callable[[Row], str]] = {
    "kernel": _what,
    "pipeline": _pipeline,
    "graph": _what,
    "hops": _what,
}
HEAD = ("what", "seconds", "GB/s", "share of the floor", "speed")


def _cells(row: Row) -> list[str]:
    numbers = [_cell(row, "seconds"), _cell(row, "gbytes_per_s")]
    return [KINDS[row["kind"]](row), *numbers, _cell(row, "share", "{:.0%}".format), _speed(row)]


def last_rows(lines: Iterable[str]) -> list[Row]:
    """Last measurement of each thing, in the order in which things were first measured.

    Raises
    ------
    ValueError
        If a line is no row of a known kind.
    """
    latest: dict[tuple[Any, ...], Row] = {}
    for number, line in enumerate(lines, 1):
        row = json.loads(line)
        if row.get("kind") not in KINDS:
            raise ValueError(f"line {number}: kind {row.get('kind')!r}: must be {', '.join(KINDS)}")
        latest[tuple(_machine(row) if k == "machine" else row.get(k) for k in IDENTITY)] = row
    return list(latest.values())


def _machine(row: Row) -> str:
    machine = row.get("machine")
    if isinstance(machine, Mapping):
        return ", ".join(str(value) for value in machine.values() if value not in (None, ""))
    return str(machine)


def table(rows: Iterable[Row]) -> str:
    """Markdown: one table for each machine, under its name and the commits measured."""
    by_machine: dict[str, list[Row]] = {}
    for row in rows:
        by_machine.setdefault(_machine(row), []).append(row)
    parts = []
    for machine, measured in by_machine.items():
        commits = ", ".join(dict.fromkeys(row["commit"] for row in measured))
        dates = sorted({row["date"][:10] for row in measured})
        when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
        lines = ["| " + " | ".join(HEAD) + " |", "|---" + "|---:" * (len(HEAD) - 1) + "|"]
        lines += ["| " + " | ".join(_cells(row)) + " |" for row in measured]
        parts.append(f"{machine}; commit {commits}; {when}\n\n" + "\n".join(lines))
    return "\n\n".join(parts) if parts else "Not measured yet."


def filled(readme: str, rows: Iterable[Row]) -> str:
    """Put the table between the markers of a README.

    Raises
    ------
    ValueError
        If there are no markers, or several.
    """
    body = table(rows)
    text, found = MARKED.subn(lambda match: f"{match[1]}{body}\n{match[2]}", readme)
    if found != 1:
        raise ValueError(f"<!-- table --> ... <!-- /table -->: found {found} times, must be once")
    return text


def main() -> int:
    """Write or check; the exit status."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--check", action="store_true", help="only say whether it is up to date")
    check = arguments.parse_args().check
    lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.exists() else []
    before = README.read_text(encoding="utf-8")
    after = filled(before, last_rows(lines))
    if check and after != before:
        print("README.md: the table is not that of bench/results.jsonl; run bench/table.py")
        return 1
    if not check:
        README.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
