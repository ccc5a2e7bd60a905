"""The page: one file with its style, its data and the plotting library in it."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from neuromfa.errors import ResourceError
from neuromfa.provenance import versions
from neuromfa.reports import chart
from neuromfa.reports.degrees import told
from neuromfa.reports.figure import Figure, Missing, Note, Section, shown
from neuromfa.reports.material import Material
from neuromfa.storage import write_text

WORDS = (
    ("neuron", "a unit that a layer reads; its edges are the weights by which it is read"),
    ("distance, radius", "1/|w|, the length of an edge; rounded to a whole number, a radius"),
    ("cutoff", "the largest distance that counts"),
    ("counted neuron", "a neuron with enough edges in range"),
    ("partition function Z_q(r)", "the sum over counted neurons of the share of their neighbours "
     "within r, to the power q"),
    ("moment q", "which neurons are heard: those with near neighbours (q > 0) or far ones (q < 0)"),
    ("mass exponent τ(q)", "the slope of ln Z_q(r) over ln r"),
    ("α, f(α)", "the derivative of τ, and the spectrum qα − τ"),
    ("regularity α₀ = α(0)", "how fast the average neuron's neighbourhood grows with the radius"),
    ("heterogeneity, width", "largest minus smallest α: how much neurons differ in that"),
    ("degree of emergence E", "width relative to the baseline's, times ln of the baseline's α₀ "
     "over α₀"),
    ("controls", "E of weights that have the same scale or the same values, but not the "
     "organisation"),
    ("null model, z", "the same tensors shuffled, or drawn anew: distance from them in their "
     "standard deviations"),
    ("standard error", "by the jackknife: how much a number moves if blocks are left out in turn"),
    ("r²", "how straight a line is; the smallest over q is the worst of all fits"),
    ("neuron fractal dimension", "the slope of one neuron's ln N(r) over ln r"),
)  # fmt: skip


def check() -> None:
    """Refuse a report that cannot be made, before anything is read.

    Raises
    ------
    ResourceError
        If the packages for reports are not installed.
    """
    missing = [name for name in ("jinja2", "vl_convert") if find_spec(name) is None]
    if missing:
        raise ResourceError(f"reports need {' and '.join(missing)}: pip install 'neuromfa[report]'")


def write_page(material: Material, sections: Sequence[Section], path: Path) -> Path:
    """Write the report as one HTML page.

    Parameters
    ----------
    material : Material
        What there is.
    sections : sequence of Section
        What `story.tell` made of it.
    path : Path
        File to write.

    Raises
    ------
    ResourceError
        If the packages for reports are missing or the file cannot be written.
    """
    check()
    return write_text(path, render(material, sections))


def render(material: Material, sections: Sequence[Section]) -> str:
    """The page as text: the same material gives the same text, to the byte."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415  (optional)
    from markupsafe import Markup  # noqa: PLC0415

    # Names of models and tensors were chosen by others: everything is escaped but our own files.
    environment = Environment(
        loader=PackageLoader("neuromfa.reports", "."), autoescape=True, undefined=StrictUndefined
    )
    environment.filters |= {"shown": shown, "spec": _spec}
    environment.tests |= {
        "figure": lambda item: isinstance(item, Figure),
        "missing": lambda item: isinstance(item, Missing),
        "note": lambda item: isinstance(item, Note),
    }
    colours = {mode: chart.palette(mode) for mode in ("light", "dark")}
    css = environment.get_template("page.css").render(
        {mode: {k: Markup(v) for k, v in of.items()} for mode, of in colours.items()}
    )
    scripts = (_vega(), _file("page.js"))
    return environment.get_template("page.html.jinja").render(
        version=versions(("neuromfa",))["neuromfa"] or "of unknown version",
        title=material.title,
        lead=[told(series) for series in material.series] if len(material.series) == 1 else [],
        facts=_facts(material),
        sections=sections,
        words=WORDS,
        policy=_policy(scripts),
        css=Markup(css),
        look=_json(chart.CONFIG),
        vega=Markup(scripts[0]),
        script=Markup(scripts[1]),
    )


def _facts(material: Material) -> list[tuple[str, Any]]:
    analyses = [point.analysis for _, point in material.analyses]
    networks = [analysis.network for analysis in analyses]
    weights = sum(n.edges + n.zeros + n.nonfinite for n in networks)
    states = [entry["state"] for entry in material.entries]
    return [
        *([("models", len(material.series))] if len(material.series) > 1 else []),
        ("checkpoints analysed", len(analyses)),
        *((name, states.count(state)) for name, state in
          (("failed", "failed"), ("duplicates", "duplicate"), ("not yet run", "pending"))
          if state in states),
        ("neurons, largest", max(n.neurons for n in networks)),
        ("weights counted", weights),
        ("in range", f"{sum(n.edges_in_range for n in networks) / max(weights, 1):.1%}"),
        ("architecture", ", ".join(dict.fromkeys(a.architecture for a in analyses))),
    ]  # fmt: skip


def _file(name: str) -> str:
    return files("neuromfa.reports").joinpath(name).read_text(encoding="utf-8")


@cache
def _vega() -> str:
    """The plotting library, as the package for figures carries it."""
    from vl_convert import javascript_bundle  # noqa: PLC0415  (optional)

    text = javascript_bundle()  # type: ignore[call-arg]  # its types ask for what it does not
    if "</script" in text.lower() or "<!--" in text:
        raise ResourceError("vl-convert-python: its library cannot stand in a page; update it")
    return text


def _policy(scripts: Sequence[str]) -> str:
    """What the page may do: run these scripts and nothing else, and reach no network."""
    hashes = (b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'"
    )


def _spec(spec: chart.Spec, description: str) -> Any:
    return _json(spec | {"description": description})


def _json(value: Any) -> Any:
    """JSON that may stand between script tags."""
    from jinja2.utils import htmlsafe_json_dumps  # noqa: PLC0415  (optional)

    return htmlsafe_json_dumps(
        value, dumps=json.dumps, ensure_ascii=False, separators=(",", ":"), allow_nan=False
    )
