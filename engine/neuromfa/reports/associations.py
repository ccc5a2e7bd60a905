"""Tables and intervals of the association with scores."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from neuromfa.reports import chart
from neuromfa.reports.figure import Figure, Item, Missing, Table, TableBlock, file_stem, shown
from neuromfa.reports.material import Material, Record

MOST_TASKS, MOST_ROWS = 16, 90
LEFT = ("model", "revision", "scores", "reason")
COLUMNS = ("task", "series", "value", "low", "high", "n", "p")
FORMS = {"levels": "values", "differences": "changes", "given_log_step": "given log step"}


def task_of(row: Record) -> str:
    """A task, with whatever tells it from others of its name."""
    more = [row["filter"], None if row["shots"] is None else f"{row['shots']}-shot", row["version"]]
    told = ", ".join(str(text) for text in more if text not in (None, "", "none"))
    return f"{row['task']} ({told})" if told else str(row["task"])


def associations(material: Material) -> list[Item]:
    """Every statistic that a suite has, and what could not be joined."""
    record = material.association
    if not record:
        return []
    table = record["associations"]
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    of: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for row in rows:
        if row["statistic"] == "spearman":
            where = row["model"] if row["scope"] == "within" else f"models at step {row['step']}"
            of[row["scope"], str(where)].append(row)
    items: list[Item] = []
    for (scope, where), found in of.items():
        items += [_intervals(scope, where, found), _table(scope, where, found, record)]
    return [*items, _join(record["join"])]


def _intervals(scope: str, where: str, found: Sequence[Record]) -> Item:
    """Coefficients of E with their intervals, task by task."""
    title = f"Rank correlation of E with scores, {where}"
    known = [row for row in found if row["measure"] == "E" and row["value"] is not None]
    if not known:
        return Missing(title=title, reason=_reasons(found))
    strength: dict[str, float] = defaultdict(float)
    for row in known:
        strength[_line(row)] = max(strength[_line(row)], abs(row["value"]))
    names = sorted(strength, key=lambda name: (-strength[name], name))[:MOST_TASKS]
    forms = [form for form in FORMS if any(row["form"] == form for row in known)]
    rows = [
        {
            "task": _line(row), "series": FORMS[row["form"]], "low": row["low"],
            "high": row["high"], "value": row["value"], "n": row["n"], "p": row["p_holm"],
        }
        for row in known
        if _line(row) in names
    ]  # fmt: skip
    y = chart.name("task", None, order=names)
    offset = {"field": "series", "sort": [FORMS[form] for form in forms]}
    colour = chart.colour("series", [FORMS[form] for form in forms])
    x = {"type": "quantitative", "scale": {"domain": [-1, 1]}, "title": "Spearman's ρ"}
    seen = chart.tooltip(
        task="task", series="of", value="ρ", low="from", high="to", n="n", p="p (Holm)"
    )
    across = {"y": y, "yOffset": offset, "color": colour}
    return Figure(
        name=f"association-{file_stem(scope)}-{file_stem(where)}",
        title=title,
        caption=(
            f"Lines: bootstrap intervals at {found[0]['level']:.0%}. Of values; of their changes "
            "from one checkpoint to the next; and with log step held fixed, which is the fair "
            "question, since everything moves with the step."
        ),
        summary="; ".join(_told(row) for row in known if _line(row) in names[:3]) + ".",
        spec=chart.chart(
            rows,
            [
                {
                    "transform": [{"filter": {"field": "low", "valid": True}}],
                    "mark": {"type": "rule", "strokeWidth": 2},
                    "encoding": {"x": x | {"field": "low"}, "x2": {"field": "high"}, **across},
                },
                {
                    "mark": {"type": "point", "size": 50},
                    "encoding": {"x": x | {"field": "value"}, "tooltip": seen, **across},
                },
            ],
            height=max(120, 15 * len(names) * len(forms)),
        ),
        table=Table(
            columns=["task", "of", "ρ", "from", "to", "n", "p (Holm)"],
            rows=[tuple(r[k] for k in COLUMNS) for r in rows],
        ),
        wide=True,
    )  # fmt: skip


def _table(scope: str, where: str, found: Sequence[Record], record: Record) -> TableBlock:
    lines: dict[tuple[str, str], dict[str, Record]] = defaultdict(dict)
    for row in found:
        lines[_line(row), row["measure"]][row["form"]] = row
    ranked = sorted(lines, key=lambda key: (-_strength(lines[key]), key))
    kept = ranked[:MOST_ROWS]
    forms = [form for form in FORMS if any(form in of for of in lines.values())]
    more = len(ranked) - len(kept)
    return TableBlock(
        name=f"associations-{file_stem(scope)}-{file_stem(where)}",
        title=f"Association with scores, {where}",
        caption=(
            f"Spearman's ρ with its interval, n, and p after Holm over the tasks; seed "
            f"{record['seed']}, {record['resamples']:,} resamples. Pearson's and Kendall's are in "
            "association.json."
        ),
        table=Table(
            columns=[
                "task",
                "measure",
                *(f"{FORMS[form]}, {what}" for form in forms for what in ("ρ", "n", "p")),
            ],
            rows=[
                (*key, *(cell for form in forms for cell in _cells(lines[key].get(form))))
                for key in kept
            ],
            note=f"The strongest {len(kept)} of {len(ranked)}." if more > 0 else None,
        ),
    )  # fmt: skip


def _cells(row: Record | None) -> tuple[Any, ...]:
    if row is None or row["value"] is None:
        return (None, None if row is None else row["n"], None)
    interval = "" if row["low"] is None else f" [{shown(row['low'])}, {shown(row['high'])}]"
    return (f"{shown(row['value'])}{interval}", row["n"], row["p_holm"])


def _strength(forms: Mapping[str, Record]) -> float:
    return max((abs(row["value"]) for row in forms.values() if row["value"] is not None), default=0)


def _line(row: Record) -> str:
    return f"{task_of(row)}: {row['metric']}"


def _told(row: Record) -> str:
    return f"{_line(row)}, {FORMS[row['form']]}: ρ = {shown(row['value'])} (n = {row['n']})"


def _reasons(found: Iterable[Record]) -> str:
    counts = Counter(row["undefined"] or "no E among the measures" for row in found)
    return counts.most_common(1)[0][0]


def _join(join: Record) -> Item:
    """What had no counterpart, with the reason."""
    sides = [(name, left) for name in ("scores_left", "checkpoints_left") for left in join[name]]
    title = (
        f"Joined: {join['scores_joined']:,} scores to {join['checkpoints_joined']:,} of "
        f"{join['checkpoints']:,} checkpoints"
    )
    if not sides:
        return Missing(title=title, reason="nothing was left over on either side")
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
    )  # fmt: skip
