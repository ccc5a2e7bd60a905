"""What moves over training: regularity, width, spectra, and how well they are fitted."""

from __future__ import annotations

from collections.abc import Sequence

from neuromfa.reports import chart
from neuromfa.reports.course import along, at, left_out, several, spread, step_of
from neuromfa.reports.degrees import CONTROLS
from neuromfa.reports.figure import Figure, Missing, Table, TableBlock, shown, with_error
from neuromfa.reports.material import Point, Series, errors_of, finite

MOST_SPECTRA = 12
ONE = "there is one checkpoint, and nothing to compare it with"


def quantity(series: Series, which: str) -> Figure | Missing:
    """alpha_0 or width of the network over training, with what rescaling alone would do."""
    title, axis = TITLES[which]
    title = series.titled(f"{title} over training")
    if len(series.points) < 2:
        return Missing(title=title, reason=ONE)
    emerged, rows, lines = series.emerged(), [], []
    for point in series.points:
        network = point.analysis.network
        value = finite(getattr(network, which))
        error = errors_of(network).get(f"{which}_stderr")
        controls = emerged.get(point.label, {}).get("controls") or {}
        scale = (controls.get("scale") or {}).get(which)
        rows.append(at(point, value, error) | {"series": "as measured"})
        rows.append(at(point, scale, None) | {"series": CONTROLS["scale"]})
        lines.append((point.label, point.step, value, error, scale))
    controlled = any(line[-1] is not None for line in lines)
    used = ["as measured", *([CONTROLS["scale"]] if controlled else [])]
    x, colour = along([series]), chart.colour("series", used, legend=controlled, ink=True)
    spec = chart.chart(
        (row for row in rows if row["series"] in used),
        [
            chart.line(
                x,
                chart.number("value", axis),
                color=colour,
                strokeDash=chart.dash("series", used, legend=controlled),
                tooltip=chart.tooltip(
                    series="", label="checkpoint", value=axis, error="standard error"
                ),
            ),
            chart.bar_of_error(x, "low", "high", color=colour),
        ],
    )
    first, last = lines[0], lines[-1]
    return Figure(
        name=f"{which.replace('_', '-')}-{series.stem}",
        title=title,
        caption=f"Bars: {series.error} to either side.",
        summary=(
            f"From {with_error(first[2], first[3])} at {first[0]} "
            f"to {with_error(last[2], last[3])} at {last[0]}."
        ),
        spec=spec,
        table=Table(
            columns=["checkpoint", "step", axis, "standard error", "scale control"], rows=lines
        ),
    )


TITLES = {
    "alpha_0": ("Regularity α₀", "regularity, α(0)"),
    "width": ("Heterogeneity (width)", "width of the spectrum"),
}


def spectra(series: Series) -> Figure | Missing:
    """f(alpha) of the network at steps spread over training."""
    title = series.titled("Spectra over training")
    if len(series.points) < 2:
        return Missing(title=title, reason=ONE)
    drawn = [point for point in series.points if not point.analysis.network.undefined]
    if not drawn:
        return Missing(title=title, reason="no checkpoint has a spectrum")
    chosen = spread(drawn, MOST_SPECTRA)
    labels = [step_of(point) for point in chosen]
    rows = [
        {"series": label, "q": q, "alpha": a, "f": f}
        for label, point in zip(labels, chosen, strict=True)
        for q, a, f in _spectrum(point)
    ]
    f = chart.number("f", "f(α)")
    alpha = chart.number("alpha", "α")
    return Figure(
        name=f"spectra-{series.stem}",
        title=title,
        caption=(
            f"Each curve is the {'mean over the samples' if series.sampled else 'whole network'} "
            "at one step. Its top is the regularity α₀, its extent "
            "the width; towards the left are moments q > 0, which hear neurons whose neighbours "
            "are near." + left_out(drawn, chosen)
        ),
        summary=_spectra_told(chosen),
        spec=chart.chart(
            rows,
            [
                chart.line(
                    alpha,
                    f,
                    order={"field": "q"},
                    color=chart.ramp("series", labels),
                    opacity=chart.FADED,
                    tooltip=chart.tooltip(series="step", q="q", alpha="α", f="f(α)"),
                    mark={"point": False},
                )
                | {"params": [chart.legend_choice("series")]}
            ],
            height=360,
        ),
        table=_of_moments(chosen),
        wide=True,
    )


def _spectra_told(chosen: Sequence[Point]) -> str:
    first, last = chosen[0].analysis.network, chosen[-1].analysis.network
    return (
        f"From {chosen[0].label} to {chosen[-1].label} the top moves from α₀ = "
        f"{shown(first.alpha_0)} to {shown(last.alpha_0)}, the width from {shown(first.width)} "
        f"to {shown(last.width)}."
    )


def _of_moments(chosen: Sequence[Point]) -> Table:
    whole = [k for k, q in enumerate(chosen[0].analysis.network.q) if float(q).is_integer()]
    return Table(
        columns=["checkpoint", *(f"α, q = {chosen[0].analysis.network.q[k]:g}" for k in whole)],
        rows=[
            (point.label, *(float(point.analysis.network.alpha[k]) for k in whole))
            for point in chosen
        ],
        note="Whole moments only; all are in the records.",
    )


def _spectrum(point: Point) -> list[tuple[float, float, float]]:
    network = point.analysis.network
    return list(zip(network.q.tolist(), network.alpha.tolist(), network.f.tolist(), strict=True))


def fit_quality(series: Series) -> Figure | Missing:
    """The smallest r^2 over q of the network and its roles, over training."""
    title = series.titled("Worst fit over training")
    if len(series.points) < 2:
        return Missing(title=title, reason=ONE)
    kinds = [("network", "network"), *(("roles", role) for role in series.names("roles"))]
    rows = [
        at(point, group.r2_min) | {"series": name}
        for kind, name in kinds
        for point in series.points
        for group in [point.group(kind, name)]
        if group is not None
    ]
    known = [row for row in rows if row["value"] is not None]
    if not known:
        return Missing(title=title, reason="no fit has an r²")
    worst = min(known, key=lambda row: row["value"])
    return several(
        rows,
        [series],
        name=f"fit-quality-{series.stem}",
        titles=(title, "smallest r² over q"),
        caption=(
            "r² of the straight line through ln Z_q(r) over ln r, for the worst moment q. "
            "Far from 1, growth is no power law, and exponents are summaries of a curve."
        ),
        summary=f"Worst of all: {shown(worst['value'])} ({worst['series']}, {worst['label']}).",
        names=[name for _, name in kinds],
    )


def profiles(series: Series, which: str) -> Figure | Missing:
    """alpha_0 or width of every role over training."""
    words, axis = TITLES[which]
    title = series.titled(f"{words} by role over training")
    roles = series.names("roles")
    if len(series.points) < 2:
        return Missing(title=title, reason=ONE)
    if len(roles) < 2:
        return Missing(title=title, reason="there are no roles to tell apart")
    rows = [
        at(point, getattr(group, which), errors_of(group).get(f"{which}_stderr")) | {"series": role}
        for role in roles
        for point in series.points
        for group in [point.group("roles", role)]
        if group is not None
    ]
    last = {row["series"]: row["value"] for row in rows if row["label"] == series.last.label}
    return several(
        rows,
        [series],
        name=f"roles-{which.replace('_', '-')}-{series.stem}",
        titles=(title, axis),
        caption=f"A role is what a neuron is read for. Bars: {series.error}.",
        summary=f"At {series.last.label}: "
        + ", ".join(f"{role} {shown(value)}" for role, value in last.items())
        + ".",
        names=roles,
    )


def simple(series: Series) -> TableBlock | Missing:
    """Simpler measures of the same weights, beside regularity and width."""
    title = series.titled("Simpler measures beside the spectrum")
    names = ("strength_mean", "strength_cv", "strong_share", "weibull_shape")
    rows = []
    for point in series.points:
        groups = (point.analysis.structure or {}).get("groups", ())
        network = next((g for g in groups if g["kind"] == "network"), None)
        if network is not None:
            own = point.analysis.network
            rows.append(
                (point.label, own.alpha_0, own.width, *(network.get(name) for name in names))
            )
    if not rows:
        return Missing(title=title, reason="they were not asked for (structure)")
    return TableBlock(
        name=f"simple-{series.stem}",
        title=title,
        caption=(
            "Of the network: mean and coefficient of variation of a neuron's summed weights, the "
            "share of strong edges, and the Weibull shape of |w|."
        ),
        table=Table(
            columns=["checkpoint", "regularity α₀", "width", "mean strength", "its variation",
                     "strong edges", "Weibull shape"],
            rows=rows,
        ),
    )  # fmt: skip
