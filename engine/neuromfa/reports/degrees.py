"""The degree of emergence over training, beside its controls and the scores."""

from __future__ import annotations

import itertools

from neuromfa.reports import chart
from neuromfa.reports.course import along, at, several
from neuromfa.reports.figure import Figure, Missing, Table, TableBlock, shown, with_error
from neuromfa.reports.material import Material, Point, Record, Series, errors_of, finite

CONTROLS = {
    "E": "as measured",
    "scale": "scale: baseline rescaled",
    "shape": "shape: weights shuffled",
    "scale_free": "scale-free: scaled back",
}
CONTROL_WORDS = (
    "Scale: the baseline's weights, each tensor merely rescaled to the size it has at this step. "
    "Shape: the weights of this step, shuffled within each tensor. "
    "Scale-free: the weights of this step, rescaled to the size they had in the baseline. "
    "What scale reaches, growth alone explains; what shape reaches, the values explain "
    "without their places."
)


def degree(series: Series) -> Figure | Missing:
    """E of one model over training, with its band and its controls."""
    title = series.titled("Degree of emergence E")
    emerged = series.emerged()
    if not emerged:
        return Missing(title=title, reason=series.no_emergence)
    rows, lines = [], []
    for point in series.points:
        found = emerged.get(point.label, {})
        controls = found.get("controls") or {}
        values = {"E": found.get("E"), **{name: _of(controls, name) for name in list(CONTROLS)[1:]}}
        error = found.get("E_stderr")
        lines.append((point.label, point.step, values["E"], error, *list(values.values())[1:]))
        for name, value in values.items():
            own = error if name == "E" else None
            rows.append(at(point, value, own) | {"series": CONTROLS[name]})
    there = {row["series"] for row in rows if row["value"] is not None}
    used = [text for text in CONTROLS.values() if text in there]
    known = {name for name, text in CONTROLS.items() if text in used}
    x, colour = along([series]), chart.colour("series", used, ink=True)
    value = chart.number("value", "degree of emergence, E")
    shown_at = chart.tooltip(series="", label="checkpoint", value="E", error="standard error")
    spec = chart.chart(
        (row for row in rows if row["series"] in used),
        [
            *chart.level(0.0),
            chart.band(x, "low", "high", mark={"color": chart.INK}),
            chart.line(
                x,
                value,
                color=colour,
                strokeDash=chart.dash("series", used),
                opacity=chart.FADED,
                tooltip=shown_at,
            )
            | {"params": [chart.legend_choice("series")]},
        ],
        height=340,
    )
    base = (series.emergence or {}).get("baseline")
    return Figure(
        name=f"emergence-{series.stem}",
        title=title,
        caption=(
            f"E = (width / width of the baseline) × ln(α₀ of the baseline / α₀); baseline: {base}. "
            f"The band is {series.error} to either side. "
            + (CONTROL_WORDS if len(used) > 1 else "No controls were computed.")
        ),
        summary=_seen(series, emerged),
        spec=spec,
        table=Table(
            columns=["checkpoint", "step", "E", "standard error", "scale", "shape", "scale-free"],
            rows=lines,
            note=None if len(known) == len(CONTROLS) else "A dash: not computed or undefined.",
        ),
        wide=True,
    )


def _seen(series: Series, emerged: dict[str, Record]) -> str:
    """The last point of every line, and the highest of E."""
    known = _known(series, emerged)
    if not known:
        return "E is undefined at every checkpoint."
    last = emerged[known[-1].label]
    controls = last.get("controls") or {}
    values = [
        f"{name.replace('_', '-')} {shown(_of(controls, name))}"
        for name in list(CONTROLS)[1:]
        if _of(controls, name) is not None
    ]
    highest = max(known, key=lambda point: emerged[point.label]["E"])
    peak = f" E is largest at {highest.label}: {shown(emerged[highest.label]['E'])}."
    end = ", ".join([f"E {with_error(last['E'], last.get('E_stderr'))}", *values])
    return f"At {known[-1].label}: {end}.{peak if highest is not known[-1] else ''}"


def _known(series: Series, emerged: dict[str, Record]) -> list[Point]:
    return [p for p in series.points if finite(emerged.get(p.label, {}).get("E")) is not None]


def _told(series: Series, emerged: dict[str, Record]) -> str:
    """How far E comes, and how far the controls do."""
    known = _known(series, emerged)
    if not known:
        return f"E of {series.model} is undefined at every checkpoint."
    last = emerged[known[-1].label]
    baseline = (series.emergence or {}).get("baseline")
    value = with_error(last["E"], last.get("E_stderr"))
    text = f"{series.model} at {known[-1].label}: E against {baseline} is {value}."
    controls = last.get("controls") or {}
    told = [
        f"{words} {shown(reached)} ({reached / last['E']:.0%} of it)"
        for name, words in (
            ("scale", "Weights of the baseline with nothing but the new scale reach"),
            ("shape", "the new weights, shuffled,"),
        )
        if (reached := _of(controls, name)) is not None and last["E"] > 0
    ]
    if told:
        text += f" {'; '.join(told)}."
    if (undone := _of(controls, "scale_free")) is not None:
        text += f" With the growth of the weights undone, E is {shown(undone)}."
    return text if controls else f"{text} No controls were computed."


def told(series: Series) -> str:
    """The series in a sentence or two, made from its numbers."""
    if emerged := series.emerged():
        return _told(series, emerged)
    network = series.last.analysis.network
    if network.undefined:
        return f"{series.last.label} has no exponents: {network.undefined}."
    errors = errors_of(network)
    return (
        f"The network of {series.last.label} has regularity α₀ = "
        f"{with_error(network.alpha_0, errors.get('alpha_0_stderr'))} and width "
        f"{with_error(network.width, errors.get('width_stderr'))}; "
        f"its worst fit has r² = {shown(network.r2_min)}."
    )


def nulls(series: Series) -> Figure | Missing:
    """How far alpha_0 and width lie from those of null models, in their standard deviations."""
    title = series.titled("Distance from null models")
    emerged, rows = series.emerged(), []
    for null, which in itertools.product(("shuffled", "gaussian"), ("alpha_0", "width")):
        for point in series.points:
            found = (emerged.get(point.label, {}).get("nulls") or {}).get(null) or {}
            z = (found.get(which) or {}).get("z")
            rows.append(at(point, z) | {"series": f"{which}, {null}"})
    known = [row for row in rows if row["value"] is not None]
    if not known:
        return Missing(title=title, reason="no null models were computed")
    names = list(dict.fromkeys(row["series"] for row in known))
    last = {row["series"]: row["value"] for row in known}
    return several(
        rows,
        [series],
        name=f"nulls-{series.stem}",
        titles=(title, "z"),
        caption=(
            "Shuffled: each tensor's values in another order. Gaussian: independent draws with "
            "each tensor's mean and standard deviation. z is the distance from the mean of the "
            "draws: near zero, the network is like any other of its values."
        ),
        wide=True,
        summary="Last: " + ", ".join(f"{name} {shown(z)}" for name, z in last.items()) + ".",
        names=names,
    )


def ends(material: Material) -> TableBlock:
    """E and its controls at the last checkpoint of each model."""
    rows = []
    for series in material.series:
        emerged = series.emerged()
        known = _known(series, emerged)
        found = emerged[known[-1].label] if known else {}
        controls = found.get("controls") or {}
        rows.append(
            (
                series.model,
                known[-1].label if known else None,
                *(finite(found.get(name)) for name in ("E", "E_stderr")),
                *(_of(controls, name) for name in list(CONTROLS)[1:]),
                None if known else series.no_emergence or "E is undefined at every checkpoint",
            )
        )
    columns = ["model", "at", "E", "±", "scale", "shape", "scale-free", "without E because"]
    if all(row[-1] is None for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    return TableBlock(
        name="emergence-ends",
        title="How far E comes, and how far its controls do",
        caption=CONTROL_WORDS,
        table=Table(columns=columns, rows=rows),
    )


def degrees(material: Material) -> Figure | Missing:
    """E of all models over training."""
    title = "Degree of emergence E, all models"
    with_e = [series for series in material.series if series.emerged()]
    if not with_e:
        return Missing(title=title, reason="no model has a degree of emergence")
    rows = [
        at(point, found.get("E"), found.get("E_stderr")) | {"series": series.model}
        for series in with_e
        for emerged in [series.emerged()]
        for point in series.points
        for found in [emerged.get(point.label, {})]
    ]
    ends = [with_error(*_end(series)) for series in with_e]
    return several(
        rows,
        with_e,
        name="emergence-all",
        titles=(title, "degree of emergence, E"),
        caption="The baseline and the controls of each model stand with its own figure.",
        summary="At the last checkpoint: "
        + "; ".join(f"{s.model} {end}" for s, end in zip(with_e, ends, strict=True))
        + ".",
        names=[series.model for series in with_e],
        wide=True,
        height=340,
    )


def _end(series: Series) -> tuple[float | None, float | None]:
    last = series.emerged().get(series.last.label, {})
    return finite(last.get("E")), finite(last.get("E_stderr"))


def _of(controls: Record, name: str) -> float | None:
    return finite((controls.get(name) or {}).get("E"))
