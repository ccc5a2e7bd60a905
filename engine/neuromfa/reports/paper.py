"""The published figures that have no place of their own: the radar, and emergence against size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from neuromfa.reports import chart
from neuromfa.reports.course import spread, step_of
from neuromfa.reports.figure import Figure, Item, Missing, Section, Table, shown
from neuromfa.reports.material import Material, Point, Series, finite

MOST_STEPS = 4
SIZE = 326
RINGS = 4
FEWEST_AXES = 3
NEARLY = 0.02
"""Share of the rim below which a negative E is drawn at the centre, as zero."""


def section(material: Material) -> Section:
    """The radar, and emergence against size."""
    return Section(
        name="published",
        title="Radar and size",
        question="How does E differ between roles or models, and does it go with their size?",
        items=[radar(material), size(material)],
    )


def radar(material: Material) -> Item:
    """E on one axis for each model or, of a single model, for each role."""
    with_e = [series for series in material.series if series.emerged()]
    title = "Radar of emergence"
    if not with_e:
        return Missing(title=title, reason="no model has a degree of emergence")
    if len(with_e) >= FEWEST_AXES:
        found = {
            series.model: {step_of(p): _degree(series, p) for p in series.points}
            for series in with_e
        }
        steps = [step_of(p) for p in with_e[0].points]
        return _radar(found, _common(steps, found), title=f"{title} by model")
    series = with_e[0]
    found = {
        role: {step_of(p): _degree(series, p, "roles", role) for p in series.points}
        for role in series.names("roles")
        if series.emerged("roles", role)
    }
    if len(found) < FEWEST_AXES:
        return Missing(title=title, reason="it takes three models or three roles with E")
    steps = [step_of(p) for p in series.points]
    return _radar(found, _common(steps, found), title=f"{title} by role, {series.model}")


def _degree(
    series: Series, point: Point, kind: str = "network", name: str | None = None
) -> float | None:
    return finite(series.emerged(kind, name).get(point.label, {}).get("E"))


def _common(steps: Sequence[str], found: Mapping[str, Mapping[str, float | None]]) -> list[str]:
    """Steps at which every axis has a value; the first, the baseline, is zero by definition."""
    common = [s for s in steps[1:] if all(of.get(s) is not None for of in found.values())]
    return spread(common, MOST_STEPS)


def _radar(
    found: Mapping[str, Mapping[str, float | None]], steps: Sequence[str], *, title: str
) -> Item:
    values = [of[step] for of in found.values() for step in steps]
    known = [value for value in values if value is not None]
    if not known:
        return Missing(title=title, reason="no step has E on every axis")
    low, high = min(0.0, *known), max(0.0, *known)
    low = 0.0 if -low < high * NEARLY else low
    unit = (high - low) or 1.0
    axes = list(found)

    def place(axis: int, value: float) -> dict[str, float]:
        angle = 2 * math.pi * axis / len(axes)
        radius = max(0.0, value - low) / unit
        return {"x": radius * math.sin(angle), "y": radius * math.cos(angle)}

    around = [*range(len(axes)), 0]
    lines = [
        {"series": step, "axis": axes[k], "E": value, "order": n, **place(k, value)}
        for step in steps
        for n, k in enumerate(around)
        if (value := found[axes[k]][step]) is not None
    ]
    levels = [low + unit * k / RINGS for k in range(RINGS + 1)]
    rings = [
        {"ring": n, "order": m, **place(k, level)}
        for n, level in enumerate(levels)
        for m, k in enumerate(around)
    ]
    marks = [
        {"label": f"{level:.2g}".replace("-", "−"), **place(0, level)} for level in levels[1:-1]
    ]
    names = [
        {"label": axis, **{c: 1.13 * v for c, v in place(k, high).items()}}
        for k, axis in enumerate(axes)
    ]
    return Figure(
        name="radar",
        title=title,
        caption=(
            f"One axis for each; the centre is {shown(low)}, the rim {shown(high)}. "
            "Areas mean nothing: read along the axes."
        ),
        summary=f"At {steps[-1]}: "
        + ", ".join(f"{axis} {shown(found[axis][steps[-1]])}" for axis in axes)
        + ".",
        spec=_drawn(lines, rings, marks=marks, names=names, steps=steps),
        table=Table(
            columns=["axis", *steps],
            rows=[(axis, *(found[axis][step] for step in steps)) for axis in axes],
        ),
    )


def _drawn(
    lines: Sequence[chart.Row],
    rings: Sequence[chart.Row],
    *,
    marks: Sequence[chart.Row],
    names: Sequence[chart.Row],
    steps: Sequence[str],
) -> chart.Spec:
    x, y = (
        {"field": c, "type": "quantitative", "axis": None, "scale": {"domain": [-most, most]}}
        for c, most in (("x", 1.9), ("y", 1.3))
    )
    text = {"x": x, "y": y, "text": {"field": "label"}}
    seen = chart.tooltip(axis="", series="step", E="E")
    drawn = chart.line(
        x, y, order={"field": "order"}, color=chart.ramp("series", steps), tooltip=seen
    )
    grid = {"mark": {"type": "line", "color": chart.LINE, "strokeWidth": 1}}
    over_rings = {"x": x, "y": y, "order": {"field": "order"}, "detail": {"field": "ring"}}
    return chart.chart(
        lines,
        [
            grid | {"data": {"values": chart.rows(rings)}, "encoding": over_rings},
            drawn,
            {
                "data": {"values": chart.rows(marks)},
                "mark": {"type": "text", "align": "left", "dx": 4, "color": chart.MUTED,
                         "fontSize": 10.5},
                "encoding": text,
            },
            *(
                {
                    "data": {"values": chart.rows(of_side)},
                    "mark": {"type": "text", "align": side},
                    "encoding": text,
                }
                for side, of_side in _sides(names).items()
                if of_side
            ),
        ],
        width=SIZE,
        height=SIZE * 1.3 / 1.9,
        autosize="pad",
    )  # fmt: skip


def _sides(names: Sequence[chart.Row]) -> dict[str, list[chart.Row]]:
    """Names by the side of the radar that they stand on, which decides how they are aligned."""
    return {
        "right": [name for name in names if name["x"] < -NEARLY],
        "center": [name for name in names if abs(name["x"]) <= NEARLY],
        "left": [name for name in names if name["x"] > NEARLY],
    }


def size(material: Material) -> Item:
    """E of each model against the number of its weights, at steps that all of them have."""
    title = "Emergence against size"
    with_e = [series for series in material.series if series.emerged()]
    if len(with_e) < 2:
        return Missing(title=title, reason="it takes two models with a degree of emergence")
    at = {series.model: {step_of(p): p for p in series.points} for series in with_e}
    steps = [s for s in at[with_e[0].model] if all(s in of for of in at.values())][1:]
    rows: list[dict[str, Any]] = []
    for series in with_e:
        for step in spread(steps, MOST_STEPS):
            point = at[series.model][step]
            found = series.emerged().get(point.label, {})
            network = point.analysis.network
            value, error = finite(found.get("E")), finite(found.get("E_stderr"))
            rows.append(
                {
                    "model": series.model,
                    "series": step,
                    "size": network.edges + network.zeros + network.nonfinite,
                    "value": value,
                    "low": None if value is None or error is None else value - error,
                    "high": None if value is None or error is None else value + error,
                }
            )
    if not any(row["value"] is not None for row in rows):
        return Missing(
            title=title, reason="the models have no step in common at which E is defined"
        )
    x = chart.number("size", "weights analysed, logarithmic", axis={"grid": False, "format": "~s"})
    x["scale"] = {"type": "log", "nice": True}
    colour = chart.ramp("series", list(dict.fromkeys(row["series"] for row in rows)))
    seen = chart.tooltip(model="model", series="step", size="weights", value="E")
    return Figure(
        name="emergence-against-size",
        title=title,
        caption=(
            "One colour for each step. Models differ in width, depth and scale of their weights, "
            "and every one has its own baseline: read with the controls."
        ),
        summary=f"{len(with_e)} models at {len(colour['scale']['domain'])} steps in common.",
        spec=chart.chart(
            rows,
            [
                chart.line(
                    x, chart.number("value", "degree of emergence, E"), color=colour, tooltip=seen
                ),
                chart.bar_of_error(x, "low", "high", color=colour),
            ],
        ),
        table=Table(
            columns=["model", "step", "weights", "E"],
            rows=[(row["model"], row["series"], row["size"], row["value"]) for row in rows],
        ),
    )
