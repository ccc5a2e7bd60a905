"""Tables and intervals of the association with scores."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from neuromfa.reports import chart
from neuromfa.reports.figure import Figure, Item, Missing, Note, Table, TableBlock, file_stem, shown
from neuromfa.reports.material import Material, Record

MOST_TASKS, MOST_ROWS = 16, 120
VIEWS = {
    ("levels", "spearman"): "values, ρ",
    ("differences", "spearman"): "changes, ρ",
    ("given_log_step", "spearman"): "given log step, ρ",
    ("given_log_step", "pearson"): "given log step, r",
}
"""What is shown of the forms and statistics: ranks throughout and, since what is monotone in the
step leaves nothing of ranks once the step is known, Pearson's coefficient beside them there."""
LEFT = ("model", "revision", "scores", "reason")
COLUMNS = ("task", "series", "value", "low", "high", "n", "p")


def task_of(row: Record) -> str:
    """A task, with whatever tells it from others of its name."""
    more = [row["filter"], None if row["shots"] is None else f"{row['shots']}-shot", row["version"]]
    told = ", ".join(str(text) for text in more if text not in (None, "", "none"))
    return f"{row['task']} ({told})" if told else str(row["task"])


def associations(material: Material) -> list[Item]:
    """Every statistic that is shown of a suite, and what could not be joined."""
    record = material.association
    if not record:
        return []
    table = record["associations"]
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    of: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for row in rows:
        if (row["form"], row["statistic"]) in VIEWS:
            where = row["model"] if row["scope"] == "within" else f"models at step {row['step']}"
            of[row["scope"], str(where)].append(row)
    items: list[Item] = []
    for (scope, where), found in of.items():
        items += [_intervals(scope, where, found), _table(scope, where, found, record)]
    return [*items, _join(record["join"])]


def _intervals(scope: str, where: str, found: Sequence[Record]) -> Item:
    """Coefficients of E with their intervals, task by task."""
    title = f"Correlation of E with scores, {where}"
    known = [row for row in found if row["measure"] == "E" and row["value"] is not None]
    if not known:
        return Missing(title=title, reason=_reason(found) or "E is not among the measures")
    names = _ranked(known)[:MOST_TASKS]
    drawn = [row for row in known if _task(row) in names]
    views = [view for key, view in VIEWS.items() if any(_view(row) == view for row in drawn)]
    rows = [
        {"task": _task(row), "series": _view(row), "p": row["p_holm"]}
        | {name: row[name] for name in ("value", "low", "high", "n")}
        for row in drawn
    ]
    return Figure(
        name=f"association-{file_stem(scope, where)}",
        title=title,
        caption=(
            f"Lines: bootstrap intervals at {found[0]['level']:.0%}. Of values; of their changes "
            "from one checkpoint to the next; and with log step held fixed. Everything moves with "
            "the step, so the last two are the fair questions."
        ),
        summary="; ".join(_told(row) for row in drawn if _task(row) in names[:3]) + ".",
        spec=chart.chart(
            rows, _forest(names, views), height=max(110, 13 * len(names) * len(views))
        ),
        table=Table(
            columns=["task", "coefficient", "value", "from", "to", "n", "p (Holm)"],
            rows=[(*(row[k] for k in COLUMNS[:-1]), _p(row["p"])) for row in rows],
        ),
        wide=True,
    )


def _forest(names: Sequence[str], views: Sequence[str]) -> list[chart.Spec]:
    x = {"type": "quantitative", "scale": {"domain": [-1, 1]}, "title": "coefficient"}
    across = {
        "y": chart.name("task", None, order=names),
        "yOffset": {"field": "series", "sort": list(views)},
        "color": chart.colour("series", views),
    }
    seen = chart.tooltip(
        task="task", series="", value="value", low="from", high="to", n="n", p="p (Holm)"
    )
    return [
        {
            "mark": {"type": "point", "size": 50},
            "encoding": {"x": x | {"field": "value"}, "tooltip": seen, **across},
        },
        {
            "transform": [{"filter": {"field": "low", "valid": True}}],
            "mark": {"type": "rule", "strokeWidth": 2},
            "encoding": {"x": x | {"field": "low"}, "x2": {"field": "high"}, **across},
        },
    ]


def _table(scope: str, where: str, found: Sequence[Record], record: Record) -> TableBlock:
    lines: dict[tuple[str, str], dict[str, Record]] = defaultdict(dict)
    for row in found:
        lines[_task(row), row["measure"]][_view(row)] = row
    order = {task: place for place, task in enumerate(_ranked(found))}
    keys = sorted(lines, key=lambda key: order[key[0]])[:MOST_ROWS]
    known = {_view(row) for row in found if row["value"] is not None}
    views = [view for view in VIEWS.values() if view in known]
    unknown = [view for view in VIEWS.values() if view not in known and scope == "within"]
    reason = _reason(found)
    notes = [
        *([f"The first {len(keys)} of {len(lines)} rows."] if len(keys) < len(lines) else []),
        *([f"Undefined, {', '.join(unknown)}: {reason}."] if unknown and reason else []),
        *(["A dash: undefined."] if reason and not unknown else []),
    ]
    return TableBlock(
        name=f"associations-{file_stem(scope, where)}",
        title=f"Association with scores, {where}",
        caption=(
            "Spearman's ρ (or Pearson's r) with its bootstrap interval, number of points, and p "
            f"after Holm over the tasks; seed {record['seed']}, {record['resamples']:,} resamples. "
            "Coefficients are of the scores as they are: of losses, lower is better."
        ),
        table=Table(
            columns=[
                "task", "measure", *(head for view in views for head in (view, "n", "p")),
            ],
            rows=[
                (*key, *(cell for view in views for cell in _cells(lines[key].get(view))))
                for key in keys
            ],
            note=" ".join(notes) or None,
        ),
    )  # fmt: skip


def _cells(row: Record | None) -> tuple[Any, ...]:
    if row is None or row["value"] is None:
        return (None, None if row is None else row["n"], None)
    interval = "" if row["low"] is None else f" [{row['low']:.2f}, {row['high']:.2f}]"
    return (f"{row['value']:.2f}{interval}".replace("-", "−"), row["n"], _p(row["p_holm"]))


def _p(p: float | None) -> str | None:
    return None if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _ranked(found: Iterable[Record]) -> list[str]:
    """Tasks, those with the strongest coefficients of E first."""
    strength: dict[str, float] = defaultdict(float)
    for row in found:
        value = abs(row["value"] or 0.0) if row["measure"] == "E" else 0.0
        strength[_task(row)] = max(strength[_task(row)], value)
    return sorted(strength, key=lambda task: (-strength[task], task))


def _view(row: Record) -> str:
    return VIEWS[row["form"], row["statistic"]]


def _task(row: Record) -> str:
    return f"{task_of(row)}: {row['metric']}"


def _told(row: Record) -> str:
    return f"{_task(row)}: {_view(row)} = {shown(row['value'])} (n = {row['n']})"


def _reason(found: Iterable[Record]) -> str | None:
    """The commonest reason why a coefficient is undefined."""
    counts = Counter(row["undefined"] for row in found if row["undefined"])
    return min(counts, key=lambda reason: (-counts[reason], reason)) if counts else None


def _join(join: Mapping[str, Any]) -> Item:
    """What had no counterpart, with the reason."""
    sides = [(name, left) for name in ("scores_left", "checkpoints_left") for left in join[name]]
    title = (
        f"{join['scores_joined']:,} scores joined to {join['checkpoints_joined']:,} of "
        f"{join['checkpoints']:,} checkpoints"
    )
    if not sides:
        return Note(title=title, text="nothing was left over on either side")
    return TableBlock(
        name="join",
        title=title,
        caption="What had no counterpart. Nothing is matched by guessing; missing is not zero.",
        table=Table(
            columns=["left over", "model", "revision", "scores", "why"],
            rows=[
                (name.removesuffix("_left"), *(left[k] for k in LEFT))
                for name, left in sides[:MOST_ROWS]
            ],
            note=f"{len(sides) - MOST_ROWS} more." if len(sides) > MOST_ROWS else None,
        ),
    )
