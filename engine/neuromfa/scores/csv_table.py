"""Scores in a table of comma-separated values."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

from neuromfa.revisions import parse_revision
from neuromfa.scores.score import Score, higher_is_better, number, whole

NEEDED = ("model", "task", "metric", "value")
PLACES = ("step", "revision")
_FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def missing_columns(text: str) -> list[str]:
    """Return which columns a table of scores has and this one has not."""
    header = next(csv.reader(text.splitlines()), [])
    names = {name.strip() for name in header}
    missing = [name for name in NEEDED if name not in names]
    return missing if set(PLACES) & names else [*missing, "step or revision"]


def read_csv_table(text: str, path: Path) -> Iterator[Score]:
    """Yield the scores of a table with a header.

    Parameters
    ----------
    text : str
        With the columns model, task, metric, value, and step or revision; and, if there are any,
        stderr, tokens, commit, filter, shots, version, limit and higher_is_better. Others are not
        read.
    path : Path
        The file.

    Raises
    ------
    ValueError
        If a row has no model, task or metric, or a number is none.
    """
    for line, raw in enumerate(csv.DictReader(io.StringIO(text, newline="")), 2):
        row = {(k or "").strip(): v.strip() for k, v in raw.items() if isinstance(v, str)}
        if blank := [name for name in NEEDED[:3] if not row.get(name)]:
            raise ValueError(f"line {line}: has no {blank[0]}")
        try:
            yield _score(row, path)
        except ValueError as error:
            raise ValueError(f"line {line}: {error}") from None


def _score(row: Mapping[str, str], path: Path) -> Score:
    model, revision = row["model"], row.get("revision") or None
    named = parse_revision(revision, model) if revision else None
    step, tokens = whole(row.get("step")), whole(row.get("tokens"))
    if named and named.step is not None and step not in (None, named.step):
        raise ValueError(f"step {step} and revision {revision} contradict each other")
    if named is None and step is not None:
        named = parse_revision(f"step{step}", model)
    flag = row.get("higher_is_better", "").lower()
    if flag and flag not in _FLAGS:
        raise ValueError(f"higher_is_better {flag!r}: must be true or false")
    return Score(
        model=model,
        revision=revision,
        step=named.step if named and step is None else step,
        tokens=named.tokens if named and tokens is None else tokens,
        commit=row.get("commit") or None,
        task=row["task"],
        metric=row["metric"],
        filter=row.get("filter") or None,
        shots=whole(row.get("shots")),
        version=row.get("version") or None,
        limit=number(row.get("limit")),
        value=number(row.get("value")),
        stderr=number(row.get("stderr")),
        higher_is_better=_FLAGS.get(flag, higher_is_better(row["metric"])),
        layout="csv",
        source=str(path),
    )
