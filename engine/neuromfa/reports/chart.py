"""The look of every figure, and the few building blocks of Vega-Lite that they share."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

Spec = dict[str, Any]
Row = Mapping[str, Any]

SERIES = tuple(f"var(--s{i})" for i in range(8))
RAMP = tuple(f"var(--r{i})" for i in range(12))
DASHES = ([1, 0], [7, 3], [2, 3], [9, 3, 2, 3], [4, 4], [1, 3], [12, 3], [6, 2, 2, 2])
INK, MUTED, LINE, PAPER = "var(--ink)", "var(--muted)", "var(--line)", "var(--paper)"
FONT = "'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', sans-serif"
HEIGHT = 290
LABEL = 220
DIGITS = 6

CONFIG: Spec = {
    "font": FONT,
    "background": None,
    "view": {"stroke": None},
    "axis": {
        "labelColor": MUTED, "titleColor": INK, "domainColor": LINE, "tickColor": LINE,
        "gridColor": "var(--grid)", "titleFontWeight": "normal", "labelFontSize": 12,
        "titleFontSize": 12.5, "titlePadding": 8, "tickCount": 6, "labelLimit": 130,
    },
    "axisY": {"domain": False, "ticks": False, "labelPadding": 6},
    "legend": {
        "labelColor": INK, "titleColor": MUTED, "titleFontWeight": "normal", "orient": "top",
        "labelFontSize": 12, "titleFontSize": 12, "labelLimit": LABEL, "columnPadding": 12,
        "symbolStrokeWidth": 2.2, "symbolSize": 110, "symbolType": "stroke", "symbolOpacity": 1,
        "offset": 8,
    },
    "line": {"strokeWidth": 2, "strokeJoin": "round"},
    "point": {"size": 34, "filled": True, "opacity": 1},
    "rule": {"strokeWidth": 1.2},
    "text": {"fontSize": 12, "color": INK},
    "title": {"color": INK, "fontSize": 13, "anchor": "start", "offset": 12},
}  # fmt: skip


@cache
def palette(mode: str) -> dict[str, str]:
    """The colours of ``light`` or ``dark`` paper: names as in ``var(--NAME)``, and their values."""
    text = files("neuromfa.reports").joinpath("palette.toml").read_text(encoding="utf-8")
    colours: dict[str, Any] = tomllib.loads(text)[mode]
    ordered = {
        f"{name[0]}{i}": value
        for name in ("series", "ramp")
        for i, value in enumerate(colours.pop(name))
    }
    return colours | ordered


def on_paper(spec: Any) -> Any:
    """A specification with the colours of light paper in place of their names."""
    if isinstance(spec, dict):
        return {key: on_paper(value) for key, value in spec.items()}
    if isinstance(spec, list):
        return [on_paper(value) for value in spec]
    if isinstance(spec, str) and spec.startswith("var(--"):
        return palette("light").get(spec[6:-1], spec)
    return spec


def rounded(value: Any) -> Any:
    """A number as the page keeps it: six significant digits, None if it is not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if not math.isfinite(value):
        return None
    return value if isinstance(value, int) else float(f"{value:.{DIGITS}g}")


def rows(records: Iterable[Row]) -> list[Spec]:
    """Data of a figure, its numbers rounded."""
    return [{name: rounded(value) for name, value in record.items()} for record in records]


def chart(records: Iterable[Row], layers: Sequence[Spec], **parts: Any) -> Spec:
    """One figure of several layers over the same data."""
    return {
        "data": {"values": rows(records)},
        "layer": list(layers),
        "width": "container",
        "height": HEIGHT,
        "autosize": {"type": "fit-x", "contains": "padding"},
        **parts,
    }


def number(field: str, title: str, **parts: Any) -> Spec:
    """A channel for numbers that need not begin at zero."""
    scale = {"zero": False, "nice": True, **parts.pop("scale", {})}
    return {"field": field, "type": "quantitative", "title": title, "scale": scale, **parts}


def name(field: str, title: str | None, *, order: Sequence[Any] | None = None) -> Spec:
    """A channel for names, in the order of the data or as given."""
    sort = list(order) if order is not None else None
    return {"field": field, "type": "nominal", "title": title, "sort": sort}


def colour(field: str, names: Sequence[str], *, legend: bool = True, ink: bool = False) -> Spec:
    """Colours of unordered things; beyond eight they come again, so lines are dashed too.

    With `ink` the first is drawn in the colour of the text: what was measured, beside controls.
    """
    at = [*([INK] if ink else []), *(SERIES[i % len(SERIES)] for i in range(len(names)))]
    return _named(field, names, at, legend=legend)


def dash(field: str, names: Sequence[str], *, legend: bool = True) -> Spec:
    """Dashes of unordered things, so that colour is not all that tells them apart."""
    at = [DASHES[i % len(DASHES)] for i in range(len(names))]
    return _named(field, names, at, legend=legend)


def _named(field: str, names: Sequence[str], at: Sequence[Any], *, legend: bool) -> Spec:
    scale = {"domain": list(names), "range": list(at[: len(names)])}
    channel = {"field": field, "type": "nominal", "title": None, "scale": scale}
    return channel | {"legend": _legend(names) if legend else None}


def _legend(names: Sequence[str]) -> Spec:
    """As many columns as there is room for, whatever the width of the screen."""
    widest = min(LABEL, max((len(str(name)) for name in names), default=1) * 6.6) + 40
    return {"columns": {"each": round(widest)}}


def sized(spec: Any, width: int) -> Any:
    """A specification of fixed width, for a file; the page does the same for its screen."""
    if isinstance(spec, list):
        return [sized(value, width) for value in spec]
    if not isinstance(spec, dict):
        return width if spec == "container" else spec
    if "each" in spec:
        return max(1, width // int(spec["each"]))
    return {key: sized(value, width) for key, value in spec.items() if key != "autosize"}


def ramp(field: str, names: Sequence[str]) -> Spec:
    """Colours of ordered things, as many as there are."""
    last = max(1, len(names) - 1)
    at = [RAMP[round(i * (len(RAMP) - 1) / last)] for i in range(len(names))]
    scale = {"domain": list(names), "range": at}
    channel = {"field": field, "type": "ordinal", "title": None, "scale": scale}
    return channel | {"legend": _legend(names)}


def tooltip(**titles: str) -> list[Spec]:
    """What a pointer shows: fields and their titles."""
    return [{"field": field, "title": title} for field, title in titles.items()]


def line(x: Spec, y: Spec, **channels: Any) -> Spec:
    """A line through its points in the order of x; broken where a value is missing."""
    mark = {"type": "line", "point": True, "invalid": "break-paths-show-path-domains"}
    return {"mark": {**mark, **channels.pop("mark", {})}, "encoding": {"x": x, "y": y, **channels}}


def band(x: Spec, low: str, high: str, **channels: Any) -> Spec:
    """The area between two fields."""
    y = {"field": low, "type": "quantitative"}
    return {
        "transform": [{"filter": {"field": low, "valid": True}}],
        "mark": {"type": "area", "opacity": 0.16, "line": False, **channels.pop("mark", {})},
        "encoding": {"x": x, "y": y, "y2": {"field": high}, **channels},
    }


def bar_of_error(x: Spec, low: str, high: str, **channels: Any) -> Spec:
    """A vertical line between two fields."""
    y = {"field": low, "type": "quantitative"}
    known = [{"filter": {"field": low, "valid": True}}]
    encoding = {"x": x, "y": y, "y2": {"field": high}, **channels}
    return {"transform": known, "mark": "rule", "encoding": encoding}


def level(value: float, label: str | None = None) -> list[Spec]:
    """A thin horizontal line at a value, with its meaning beside it."""
    data = {"values": [{"level": value, "label": label}]}
    y = {"field": "level", "type": "quantitative"}
    drawn: list[Spec] = [
        {
            "data": data,
            "mark": {"type": "rule", "color": MUTED, "strokeDash": [3, 3], "strokeWidth": 1},
            "encoding": {"y": y},
        }
    ]
    if label:
        text = {"type": "text", "align": "left", "dy": -6, "dx": 4, "color": MUTED, "x": 0}
        drawn.append({"data": data, "mark": text, "encoding": {"y": y, "text": {"field": "label"}}})
    return drawn


def legend_choice(field: str) -> Spec:
    """A click on the legend picks a series out."""
    return {"name": "picked", "select": {"type": "point", "fields": [field]}, "bind": "legend"}


FADED: Spec = {"condition": {"param": "picked", "value": 1}, "value": 0.15}
"""Opacity of what the legend's choice leaves out."""
