"""Where in the network: blocks and roles, and single spectra with their fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neuromfa.group import Group
from neuromfa.reports import chart
from neuromfa.reports.course import step_of
from neuromfa.reports.figure import Figure, Missing, Table, TableBlock, shown
from neuromfa.reports.fitting import fitted_lines
from neuromfa.reports.material import Series, errors_of, finite
from neuromfa.reports.training import TITLES

CELL = 26
LEAST_HEIGHT, MOST_HEIGHT = 120, 620


def spectrum(series: Series) -> Figure | Missing:
    """f(alpha) of the network and its roles at the last checkpoint."""
    point, title = series.last, series.titled(f"Spectrum, {series.last.label}")
    network = point.analysis.network
    if network.undefined:
        return Missing(title=title, reason=network.undefined)
    roles = [g for g in point.analysis.roles if not g.undefined]
    groups = [network, *(roles if len(roles) > 1 else [])]
    names = ["network", *(g.name for g in groups[1:])]
    rows = [
        {"series": name, "q": q, "alpha": a, "f": f}
        for name, g in zip(names, groups, strict=True)
        for q, a, f in zip(g.q.tolist(), g.alpha.tolist(), g.f.tolist(), strict=True)
    ]
    return Figure(
        name=f"spectrum-{series.stem}",
        title=title,
        caption=(
            "The top of a curve is the regularity α₀, its extent the width. Towards the left are "
            "moments q > 0, which hear neurons whose neighbours are near."
        ),
        summary=f"Network: α₀ = {shown(network.alpha_0)}, width {shown(network.width)}; "
        + ", ".join(f"{g.name}: {shown(g.alpha_0)}, {shown(g.width)}" for g in groups[1:])
        + ".",
        spec=chart.chart(
            rows,
            [
                chart.line(
                    chart.number("alpha", "α"),
                    chart.number("f", "f(α)"),
                    order={"field": "q"},
                    color=chart.colour("series", names, ink=True),
                    strokeDash=chart.dash("series", names),
                    opacity=chart.FADED,
                    tooltip=chart.tooltip(series="", q="q", alpha="α", f="f(α)"),
                    mark={"point": False},
                )
                | {"params": [chart.legend_choice("series")]}
            ],
        ),
        table=Table(
            columns=["group", "regularity α₀", "width", "asymmetry", "min r²"],
            rows=[
                (n, g.alpha_0, g.width, finite(g.asymmetry), g.r2_min)
                for n, g in zip(names, groups, strict=True)
            ],
        ),
    )


def fits(series: Series) -> Figure | Missing:
    """Ln Z_q(r) of the network over r, with the lines that were fitted."""
    point = series.last
    title = series.titled(f"Partition functions and their fits, {point.label}")
    network = point.analysis.network
    if network.undefined:
        return Missing(title=title, reason=network.undefined)
    if not len(network.radii):
        return Missing(title=title, reason="the record keeps no partition functions")
    measured = point.analysis.log_partition_function
    return fitted_lines(network, measured, name=f"fits-{series.stem}", title=title)


def over_blocks(series: Series, which: str) -> Figure | Missing:
    """alpha_0 or width of every block at every step, as a heat map."""
    words, axis = TITLES[which]
    title = series.titled(f"{words} by block over training")
    blocks = series.names("blocks")
    if len(series.points) < 2 or not blocks:
        return Missing(title=title, reason="it takes several checkpoints and blocks")
    steps = [step_of(point) for point in series.points]
    rows = [
        {"x": step, "y": block, "value": finite(getattr(group, which)) if group else None}
        for step, point in zip(steps, series.points, strict=True)
        for block in blocks
        for group in [point.group("blocks", block)]
    ]
    where = ("step" if series.by_step else "checkpoint", steps), ("block", blocks)
    return _cells(rows, where, name=f"blocks-{which.replace('_', '-')}-{series.stem}",
                  titles=(title, axis))  # fmt: skip


def over_layers(series: Series, which: str) -> Figure | Missing:
    """alpha_0 or width of every layer of one checkpoint, block by role."""
    words, axis = TITLES[which]
    point = series.last
    title = series.titled(f"{words} by block and role, {point.label}")
    layers = [g for g in point.analysis.layers if g.block is not None]
    blocks = list(dict.fromkeys(g.block for g in layers if g.block is not None))
    roles = list(dict.fromkeys(str(g.role) for g in layers))
    if len(blocks) < 2 or len(roles) < 2:
        return Missing(title=title, reason="there are not several blocks and roles")
    rows = [{"x": str(g.role), "y": g.block, "value": finite(getattr(g, which))} for g in layers]
    where = ("role", roles), ("block", blocks)
    return _cells(
        rows, where, name=f"layers-{which.replace('_', '-')}-{series.stem}", titles=(title, axis)
    )


def _cells(
    rows: Sequence[dict[str, Any]],
    where: tuple[tuple[str, Sequence[str]], tuple[str, Sequence[str]]],
    *,
    name: str,
    titles: tuple[str, str],
) -> Figure | Missing:
    """A heat map; what is undefined stays empty."""
    (x_title, xs), (y_title, ys) = where
    known = [row for row in rows if row["value"] is not None]
    if not known:
        return Missing(title=titles[0], reason="no value is defined")
    at = {(row["x"], row["y"]): row["value"] for row in rows}
    least, most = (pick(known, key=lambda row: row["value"]) for pick in (min, max))
    told = [
        f"{word} {shown(row['value'])} ({y_title} {row['y']}, {x_title} {row['x']})"
        for word, row in (("smallest", least), ("largest", most))
    ]
    colour = chart.number("value", titles[1], legend={"gradientLength": 180, "titleLimit": 260})
    colour["scale"] = {"scheme": "viridis", "zero": False, "nice": False}
    angle = -40 if x_title == "role" else 0
    across = chart.name("x", x_title, order=xs)
    across["axis"] = {"labelAngle": angle, "labelOverlap": True}
    spec = chart.chart(
        known,
        [
            {
                "mark": {"type": "rect", "stroke": chart.PAPER, "strokeWidth": 1},
                "encoding": {
                    "x": across,
                    "y": chart.name("y", y_title, order=ys) | {"axis": {"labelOverlap": True}},
                    "color": colour,
                    "tooltip": chart.tooltip(x=x_title, y=y_title, value=titles[1]),
                },
            }
        ],
        height=min(MOST_HEIGHT, max(LEAST_HEIGHT, CELL * len(ys))),
    )
    return Figure(
        name=name,
        title=titles[0],
        caption="Empty cells are undefined or were not analysed.",
        summary=f"{'; '.join(told).capitalize()}.",
        spec=spec,
        table=Table(
            columns=[f"{y_title} \\ {x_title}", *xs],
            rows=[(y, *(at.get((x, y)) for x in xs)) for y in ys],
        ),
    )


def groups(series: Series) -> TableBlock:
    """The numbers of the network, its roles and its blocks at the last checkpoint."""
    point = series.last
    analysis = point.analysis
    kinds = (("network", (analysis.network,)), ("role", analysis.roles), ("block", analysis.blocks))
    return TableBlock(
        name=f"groups-{series.stem}",
        title=series.titled(f"The network, its roles and its blocks, {point.label}"),
        caption=f"± is {series.error}, where there is one.",
        table=Table(
            columns=["group", "neurons", "counted", "in range", "regularity α₀", "±", "width", "±",
                     "min r²", "mean dimension"],
            rows=[_line(kind, group) for kind, of_kind in kinds for group in of_kind],
            note="A dash: undefined.",
        ),
    )  # fmt: skip


def _line(kind: str, group: Group) -> tuple[Any, ...]:
    weights = group.edges + group.zeros + group.nonfinite
    errors = errors_of(group)
    return (
        group.name if kind == "network" else f"{kind} {group.name}",
        group.neurons,
        group.counted_neurons,
        f"{group.edges_in_range / weights:.1%}" if weights else None,
        *(group.alpha_0, errors.get("alpha_0_stderr")),
        *(group.width, errors.get("width_stderr")),
        group.r2_min,
        group.fractal_dimension["mean"],
    )
