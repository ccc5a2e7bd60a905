"""The degree of emergence over training, beside its controls and the scores."""

from __future__ import annotations

from neuromfa.reports import chart
from neuromfa.reports.course import along, at, several
from neuromfa.reports.figure import Figure, Missing, Table, shown, with_error
from neuromfa.reports.material import Material, Record, Series, errors_of, finite

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
    "What the first two reach is no organisation; what the third keeps is not due to size."
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
        summary=_told(series, emerged),
        spec=spec,
        table=Table(
            columns=["checkpoint", "step", "E", "standard error", "scale", "shape", "scale-free"],
            rows=lines,
            note=None if len(known) == len(CONTROLS) else "A dash: not computed or undefined.",
        ),
        wide=True,
    )


def _told(series: Series, emerged: dict[str, Record]) -> str:
    """The end of the course of E in one or two sentences."""
    known = [p for p in series.points if finite(emerged.get(p.label, {}).get("E")) is not None]
    if not known:
        return f"E of {series.model} is undefined at every checkpoint."
    last = emerged[known[-1].label]
    highest = max(known, key=lambda p: emerged[p.label]["E"])
    text = (
        f"E of {series.model} is {with_error(last['E'], last.get('E_stderr'))} at {known[-1].label}"
    )
    if highest is not known[-1]:
        text += f", after a peak of {shown(emerged[highest.label]['E'])} at {highest.label}"
    controls = last.get("controls") or {}
    told = [
        f"{words} {shown(_of(controls, name))}"
        for name, words in (
            ("scale", "rescaled baseline weights alone reach"),
            ("shape", "shuffled weights"),
            ("scale_free", "and with the growth of the weights undone E is"),
        )
        if _of(controls, name) is not None
    ]
    return f"{text}; {', '.join(told)}." if told else f"{text}. No controls were computed."


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
        height=340,
    )


def _end(series: Series) -> tuple[float | None, float | None]:
    last = series.emerged().get(series.last.label, {})
    return finite(last.get("E")), finite(last.get("E_stderr"))


def _of(controls: Record, name: str) -> float | None:
    return finite((controls.get(name) or {}).get("E"))
