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


def _number(value: float | None, digits: int = 3) -> str:
    """Three significant digits; what was not measured says so."""
    if value is None:
        return "not measured"
    return f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:#.{digits}g}".rstrip(".")


def _share(row: Row) -> str:
    share = row.get("share")
    return "not measured" if share is None else f"{share:.0%}"


def _peer(row: Row) -> str:
    if row.get("ratio") is None:
        return "not measured"
    return f"{_number(row['ratio'])} times {row.get('peer') or 'its peer'}"


def _what(row: Row) -> str:
    details = [str(row[key]) for key in ("dtype", "layout") if row.get(key)]
    return f"{row['what']} ({', '.join(details)})" if details else str(row["what"])


def _kernel(row: Row) -> list[str]:
    return [_what(row), _number(row["seconds"]), _number(row.get("gbytes_per_s"))]


def _pipeline(row: Row) -> list[str]:
    size = f"{row['bytes'] / 1e9:.2f} GB, {row['private_bytes'] / 1e6:.0f} MB private memory"
    return [f"{_what(row)}: {size}", _number(row["seconds"]), _number(row["gbytes_per_s"])]


KINDS: dict[str, Callable[[Row], list[str]]] = {"kernel": _kernel, "pipeline": _pipeline}
HEAD = ("what", "seconds", "GB/s", "share of the floor", "speed")


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
        commits = ", ".join(dict.fromkeys(str(row.get("commit", "?"))[:9] for row in measured))
        dates = sorted({str(row.get("date", ""))[:10] for row in measured})
        lines = ["| " + " | ".join(HEAD) + " |", "|---" + "|---:" * (len(HEAD) - 1) + "|"]
        lines += [
            "| " + " | ".join([*KINDS[row["kind"]](row), _share(row), _peer(row)]) + " |"
            for row in measured
        ]
        parts.append(f"{machine}; commit {commits}; {' to '.join(dates)}\n\n" + "\n".join(lines))
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
