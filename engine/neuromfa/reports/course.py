"""The axis of training, and what figures over it share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from neuromfa.reports import chart
from neuromfa.reports.figure import Figure, Table
from neuromfa.reports.material import Point, Series, finite

FEW_TICKS = 200
"""Last step below which the axis has ticks between the powers of ten."""


def along(series: Sequence[Series]) -> chart.Spec:
    """The axis of training: steps on a logarithmic scale that has room for step 0, or places."""
    if all(one.by_step for one in series):
        top = max((point.at for one in series for point in one.points), default=1.0)
        between = (1, 2, 5) if top < FEW_TICKS else (1,)
        ticks = [0] + [m * 10**k for k in range(len(str(int(max(top, 1))))) for m in between]
        axis = {"values": ticks, "labelExpr": "format(datum.value, '~s')", "grid": False}
        scale = {"type": "symlog", "constant": 1, "nice": False}
        title = "training step, logarithmic"
    else:
        axis = {"tickMinStep": 1, "format": "d", "grid": False}
        scale, title = {"nice": False, "zero": False}, "checkpoint, in the order of its name"
    return {"field": "at", "type": "quantitative", "title": title, "axis": axis, "scale": scale}


def at(point: Point, value: float | None, error: float | None = None) -> dict[str, Any]:
    """One row of a figure: a value where it stands, and one error to either side."""
    value, error = finite(value), finite(error)
    low = high = None
    if value is not None and error is not None:
        low, high = value - error, value + error
    return {
        "at": point.at, "label": point.label, "value": value, "error": error,
        "low": low, "high": high,
    }  # fmt: skip


def spread(points: Sequence[Any], most: int) -> list[Any]:
    """At most so many of the points, evenly spread in their order, ends included."""
    if len(points) <= most:
        return list(points)
    last = len(points) - 1
    return [points[round(i * last / (most - 1))] for i in range(most)]


def step_of(point: Point) -> str:
    """The step of a checkpoint as it is written; its name if the step is not known."""
    return point.label if point.step is None else f"{point.step:,}"


def left_out(all_of: Sequence[Point], chosen: Sequence[Point]) -> str:
    """A sentence on the points that are not drawn; empty if all are."""
    left = len(all_of) - len(chosen)
    return f" {left} checkpoints between them are not drawn." if left else ""


def several(
    rows: Sequence[Mapping[str, Any]],
    series: Sequence[Series],
    *,
    name: str,
    titles: tuple[str, str],
    caption: str,
    summary: str,
    names: Sequence[str],
    wide: bool = False,
    **parts: Any,
) -> Figure:
    """Lines over training with their errors: rows of `at` that say their ``series``.

    Parameters
    ----------
    rows : sequence of mappings
        The points.
    series : sequence of Series
        Whose axis of training it is.
    name, caption, summary : str
        Of the figure.
    titles : tuple of str
        Of the figure and of its vertical axis.
    names : sequence of str
        The lines, in order.
    wide : bool
        As in `Figure`.
    **parts
        More of the specification, ``height`` for example.
    """
    x, title = along(series), titles[1]
    seen = chart.tooltip(series="", label="checkpoint", value=title, error="standard error")
    colour = chart.colour("series", names, legend=len(names) > 1)
    drawn = chart.line(
        x,
        chart.number("value", title),
        color=colour,
        strokeDash=chart.dash("series", names, legend=len(names) > 1),
        opacity=chart.FADED,
        tooltip=seen,
    )
    drawn["params"] = [chart.legend_choice("series")]
    bars = chart.bar_of_error(x, "low", "high", color=colour, opacity=chart.FADED)
    known = any(row["error"] is not None for row in rows)
    return Figure(
        name=name,
        title=titles[0],
        caption=caption,
        summary=summary,
        wide=wide,
        spec=chart.chart(rows, [drawn, bars] if known else [drawn], **parts),
        table=Table(
            columns=["series", "checkpoint", "value", "standard error"],
            rows=[(r["series"], r["label"], r["value"], r["error"]) for r in rows],
        ),
    )
