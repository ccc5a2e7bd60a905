"""The verb ``scores``: what is in files of scores."""

from __future__ import annotations

import csv
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neuromfa.errors import UsageError

if TYPE_CHECKING:
    from neuromfa.scores.score import Score


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print every score as JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print every score as a CSV table.")
def scores(paths: tuple[Path, ...], *, as_json: bool, as_csv: bool) -> None:
    """Show what files of benchmark scores hold, or turn them into one table."""
    from neuromfa import console  # noqa: PLC0415  (slow to import)
    from neuromfa.scores.reading import read_scores  # noqa: PLC0415

    if as_json and as_csv:
        raise UsageError("--json and --csv: give one of them")
    rows = read_scores(paths)
    if as_json:
        click.echo(json.dumps([row.to_dict() for row in rows], indent=1, allow_nan=False))
    elif as_csv:
        _print_csv(rows)
    else:
        console.print_table(summary(rows))


def summary(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """Count what there is of each model in each layout and number of shots.

    Parameters
    ----------
    scores : sequence of Score
        At least one.

    Returns
    -------
    list of dict
        One row for each, with texts and counts.
    """
    groups: dict[tuple[str, str, str], list[Score]] = defaultdict(list)
    for score in scores:
        shots = "-" if score.shots is None else str(score.shots)
        groups[score.model, score.layout, shots].append(score)
    return [
        {
            "model": model,
            "layout": layout,
            "shots": shots,
            "files": len({row.source for row in rows}),
            "revisions": len({(row.revision, row.step) for row in rows}),
            "steps": _span(rows),
            "tasks": len({row.task for row in rows}),
            "metrics": ", ".join(sorted({row.metric for row in rows})),
            "scores": len(rows),
            "missing": sum(row.value is None for row in rows),
        }
        for (model, layout, shots), rows in sorted(groups.items())
    ]


def _span(rows: Sequence[Score]) -> str:
    steps = sorted({row.step for row in rows if row.step is not None})
    if not steps:
        return "-"
    return f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,}"


def _print_csv(scores: Sequence[Score]) -> None:
    """Write the table that `neuromfa.scores.csv_table.read_csv_table` reads, missing left empty."""
    from neuromfa.scores.score import Score as Row  # noqa: PLC0415

    writer = csv.DictWriter(sys.stdout, [field.name for field in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(row.to_dict() for row in scores)
