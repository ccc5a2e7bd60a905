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
from neuromfa.reports.figure import Figure, Missing, Note, Section, shown
from neuromfa.reports.opening import Opening
from neuromfa.storage import write_text


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


def write_page(opening: Opening, sections: Sequence[Section], path: Path) -> Path:
    """Write the report as one HTML page.

    Parameters
    ----------
    opening : Opening
        Title, lead, facts and words.
    sections : sequence of Section
        What is told.
    path : Path
        File to write.

    Raises
    ------
    ResourceError
        If the packages for reports are missing or the file cannot be written.
    """
    check()
    return write_text(path, render(opening, sections))


def render(opening: Opening, sections: Sequence[Section]) -> str:
    """The page as text: the same results give the same text, to the byte."""
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
        opening=opening,
        sections=sections,
        policy=_policy(scripts),
        css=Markup(css),
        look=_json(chart.CONFIG),
        vega=Markup(scripts[0]),
        script=Markup(scripts[1]),
    )


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
