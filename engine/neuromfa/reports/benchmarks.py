"""Scores beside emergence, and how the two go together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from neuromfa.reports import chart
from neuromfa.reports.associations import associations, task_of
from neuromfa.reports.course import at, several
from neuromfa.reports.figure import Figure, Item, Missing, Section, Table, file_stem, shown
from neuromfa.reports.material import Material, Point, Record, Series, finite

MOST_TASKS = 8
BARS = "Bars: the standard error that the file gives."
NO_BARS = "The files give no standard errors."
NONE = "the suite names no score files"

Course = Mapping[str, list[tuple[Point, float, float | None]]]
"""Of each task, its scores in the order of training: point, value, standard error."""


def courses(material: Material, series: Series) -> dict[str, Course]:
    """By metric, the scores that were joined to the checkpoints of a model."""
    points = {point.label: point for point in series.points}
    found: dict[str, dict[str, dict[str, Record]]] = defaultdict(lambda: defaultdict(dict))
    for row in material.scores:
        here = row["checkpoint_model"] == series.model and row["checkpoint_revision"] in points
        if here and finite(row["value"]) is not None:
            found[row["metric"]][task_of(row)].setdefault(row["checkpoint_revision"], row)
    return {
        metric: {
            task: [
                (points[label], row["value"], row["stderr"])
                for label in points
                if label in rows
                for row in [rows[label]]
            ]
            for task, rows in tasks.items()
        }
        for metric, tasks in sorted(found.items(), key=lambda of: (-len(of[1]), of[0]))
    }


def beside(material: Material, series: Series) -> list[Item]:
    """The scores that stand beside emergence: those of the metric that most tasks have."""
    found = courses(material, series)
    if not material.association:
        return []  # which the chapter on scores says
    if not found:
        return [Missing(title=series.titled("Scores over training"), reason=_why(material))]
    metric = next(iter(found))
    return [_over_training(series, metric, found[metric])]


def section(material: Material) -> Section:
    """Association with scores."""
    items: list[Item] = []
    for series in material.series:
        found = courses(material, series)
        items += [_over_training(series, m, found[m]) for m in list(found)[1:]]
        alone = len(found) == 1
        items += [_against(series, metric, found[metric], wide=alone) for metric in found]
    items += associations(material)
    return Section(
        name="scores",
        title="Association with scores",
        question="Does emergence go along with what the model can do? Association, not cause.",
        items=items or [Missing(title="Association with scores", reason=_why(material))],
    )


def _why(material: Material) -> str:
    return "no score could be joined to a checkpoint" if material.association else NONE


def _chosen(tasks: Course) -> list[str]:
    """The tasks that move most over training, in the order of the file."""

    def moved(task: str) -> float:
        values = [value for _, value, _ in tasks[task]]
        return max(values) - min(values)

    kept = set(sorted(tasks, key=lambda task: (-moved(task), task))[:MOST_TASKS])
    return [task for task in tasks if task in kept]


def _more(tasks: Course, names: Sequence[str]) -> str:
    left = len(tasks) - len(names)
    return f"Of {len(tasks)} tasks, the {len(names)} that move most." if left else ""


def _over_training(series: Series, metric: str, tasks: Course) -> Figure:
    names = _chosen(tasks)
    rows = [
        at(point, value, error) | {"series": task}
        for task in names
        for point, value, error in tasks[task]
    ]
    known = any(row["error"] is not None for row in rows)
    ends = (f"{task} {shown(tasks[task][0][1])} to {shown(tasks[task][-1][1])}" for task in names)
    return several(
        rows,
        [series],
        name=f"scores-{file_stem(metric)}-{series.stem}",
        titles=(series.titled(f"Scores over training: {metric}"), metric),
        caption=f"{BARS if known else NO_BARS} {_more(tasks, names)}",
        summary=f"From first to last: {', '.join(ends)}.",
        names=names,
    )


def _against(series: Series, metric: str, tasks: Course, *, wide: bool) -> Item:
    """Emergence against scores, checkpoint by checkpoint."""
    title = series.titled(f"Emergence against scores: {metric}")
    emerged, names = series.emerged(), _chosen(tasks)
    rows: list[dict[str, Any]] = [
        {"series": task, "E": e, "score": value, "at": point.at, "label": point.label}
        for task in names
        for point, value, _ in tasks[task]
        if (e := finite(emerged.get(point.label, {}).get("E"))) is not None
    ]
    if not rows:
        return Missing(title=title, reason="no checkpoint has both E and a score")
    seen = chart.tooltip(series="task", label="checkpoint", E="E", score=metric)
    return Figure(
        name=f"emergence-against-{file_stem(metric)}-{series.stem}",
        title=title,
        caption=(
            "Each point is a checkpoint; a line joins them in the order of training. Both move "
            f"with the step, so likeness alone says little: see the table. {_more(tasks, names)}"
        ),
        wide=wide,
        summary=(
            f"{len(rows)} points: E from {_span(row['E'] for row in rows)}, {metric} from "
            f"{_span(row['score'] for row in rows)}."
        ),
        spec=chart.chart(
            rows,
            [
                chart.line(
                    chart.number("E", "degree of emergence, E", axis={"grid": False}),
                    chart.number("score", metric),
                    order={"field": "at"},
                    color=chart.colour("series", names),
                    strokeDash=chart.dash("series", names),
                    opacity=chart.FADED,
                    tooltip=seen,
                )
                | {"params": [chart.legend_choice("series")]}
            ],
        ),
        table=Table(
            columns=["task", "checkpoint", "E", metric],
            rows=[(row["series"], row["label"], row["E"], row["score"]) for row in rows],
        ),
    )


def _span(values: Iterable[float]) -> str:
    found = list(values)
    return f"{shown(min(found))} to {shown(max(found))}"
