"""What the kinds of jobs do, within a worker."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from neuromfa.analysis import Progress, analyse
from neuromfa.checkpoint import Checkpoint, open_checkpoint
from neuromfa.emergence.comparison import compare
from neuromfa.errors import (
    BadInputError,
    NeuromfaError,
    PartialError,
    ResourceError,
    UnsupportedError,
    UsageError,
)
from neuromfa.group import Group
from neuromfa.preview import preview
from neuromfa.records import plain
from neuromfa.results import Analysis
from neuromfa.service.requests import protocol_of
from neuromfa.service.roots import Roots
from neuromfa.storage import write_analysis, write_text
from neuromfa.suites.running import run_suite, suite_status
from neuromfa.suites.suite import Suite, is_pattern
from neuromfa.suites.suite_file import read_suite_file

Record = dict[str, Any]

SUITE_BYTES = 1 << 20
"""Of a suite file: a client could name any file, however large."""


class Place(NamedTuple):
    """Where an operation works.

    Attributes
    ----------
    roots : Roots
        Where it reads.
    directory : Path
        Where it writes.
    resources : mapping
        As for `neuromfa.analyse`.
    weight_bytes, moments : int
        Most bytes of files that it may read, and most moments q.
    tell : callable
        Takes a record of how far it is.
    """

    roots: Roots
    directory: Path
    resources: Mapping[str, Any]
    weight_bytes: int
    moments: int
    tell: Callable[[Record], None]


def do_plan(request: Record, place: Place) -> Record:
    """Write ``plan.json``."""
    with _open(request["checkpoint"], place) as checkpoint:
        options = {"strict": request["strict"], **place.resources}
        record = preview(checkpoint, protocol_of(request), **options)
    record["warnings"] = [place.roots.hide(warning) for warning in record["warnings"]]
    write_text(place.directory / "plan.json", json.dumps(record, indent=1) + "\n")
    names = ("architecture", "neurons", "weights", "weight_bytes", "units", "seconds")
    return {name: record[name] for name in (*names, "memory_bytes")} | {
        "layers": len(record["layers"]),
        "unknown": len(record["coverage"]["unknown"]),
    }


def do_analysis(request: Record, place: Place) -> Record:
    """Write what `neuromfa.write_analysis` does, and ``report.html``."""
    asked = {name: request[name] for name in ("fractal_dimensions", "structure")}
    analysis = _analysis(request["checkpoint"], request, place, **asked)
    write_analysis(analysis, place.directory)
    write_report(place.directory)
    return _summary(analysis)


def do_comparison(request: Record, place: Place) -> Record:
    """Write ``comparison.json``."""
    found = compare(*(_analysis(request[side], request, place) for side in ("a", "b")))
    write_text(place.directory / "comparison.json", found.to_json())
    record = found.to_dict()
    return {"same_weights": record["a"]["content_hash"] == record["b"]["content_hash"]} | {
        name: record["groups"][0][name] for name in ("a", "b", "difference", "structure_distance")
    }


def do_suite(request: Record, place: Place) -> Record:
    """Write the results of a suite, and ``report.html``; what is there already is kept."""
    suite = _suite(request["suite"], place)
    _check_size(suite, place)

    def tell(state: Any) -> None:
        inner = state.analysis
        share = inner.done_bytes / max(inner.total_bytes, 1) if inner else None
        about = {"done": state.done, "total": state.total, "share": share}
        place.tell(about | {"checkpoint": state.entry.name, "stage": state.stage})

    failure: PartialError | None = None
    try:
        run_suite(suite, output=place.directory, progress=tell, **place.resources)
    except PartialError as error:
        failure = error
    summary = _states(suite, place.directory)
    if summary["states"].get("done"):
        write_report(place.directory)
    if failure is not None:
        raise SomeFailedError(summary) from failure
    return summary


def do_suite_status(request: Record, place: Place) -> Record:
    """Tell what the journal beside a suite file says."""
    suite = _suite(request["suite"], place)
    output = suite.output or Path()
    if not place.roots.contain(os.path.realpath(output)):
        raise UnsupportedError(f"{request['suite']}: its output is not below the roots")
    return _states(suite, output)


class SomeFailedError(Exception):
    """Checkpoints of a suite failed; its summary is the argument."""


OPERATIONS: dict[str, Callable[[Record, Place], Record]] = {
    "analysis": do_analysis,
    "plan": do_plan,
    "comparison": do_comparison,
    "suite": do_suite,
    "suite_status": do_suite_status,
}
"""By the kind of job."""


def write_report(directory: Path) -> None:
    """Write ``report.html`` about the results in a directory."""
    from neuromfa.reports import opening, page, story  # noqa: PLC0415  (slow to import)
    from neuromfa.reports.material import open_material  # noqa: PLC0415

    material = open_material(directory)
    page.write_page(opening.opening(material), story.tell(material), directory / "report.html")


def _open(name: str, place: Place) -> Checkpoint:
    """Open a checkpoint below the roots; too large a one is refused from its headers."""
    # A path that exists is never taken for the name of a model elsewhere, nor are pickles read.
    checkpoint = open_checkpoint(place.roots.resolve(name), allow_pickle=False)
    size = sum(file.size for file in checkpoint.files)
    if size > place.weight_bytes:
        checkpoint.close()
        raise _too_large(name, size, place)
    checkpoint.source = name
    return checkpoint


def _too_large(name: str, size: int, place: Place) -> ResourceError:
    return ResourceError(
        f"{name}: has {size:,} bytes of weights, this service takes {place.weight_bytes:,} at most"
    )


def _analysis(name: str, request: Record, place: Place, **asked: Any) -> Analysis:
    def tell(state: Progress) -> None:
        place.tell({"checkpoint": name, "share": state.done_bytes / max(state.total_bytes, 1)})

    with _open(name, place) as checkpoint:
        options = {"strict": request["strict"], "progress": tell, **asked, **place.resources}
        analysis = analyse(checkpoint, protocol_of(request), **options)
    return replace(analysis, warnings=tuple(map(place.roots.hide, analysis.warnings)))


def _suite(name: str, place: Place) -> Suite:
    """Read a suite file; whatever it names lies below the roots too."""
    path = place.roots.resolve(name)
    if not path.is_file() or path.stat().st_size > SUITE_BYTES:
        raise BadInputError(f"{name}: give a suite file, of at most {SUITE_BYTES:,} bytes")
    # From its own directory, so that its results tell nothing of what is above.
    os.chdir(path.parent)
    suite = read_suite_file(path.name)
    if len(getattr(suite.protocol, "q", ())) > place.moments:
        raise UsageError(f"{name}: has more than {place.moments} moments q; leave some out")
    if suite.opening.get("allow_pickle"):
        raise UnsupportedError(f"{name}: asks for pickles, which a service does not read")
    named = [str(suite.opening["architectures"])] if "architectures" in suite.opening else []
    for model in suite.models:
        if model.hub is not None:
            raise UnsupportedError(
                f"{name}: model {model.name} is of the hub, which a service does not ask; "
                "name its snapshots by their paths"
            )
        named += [c if isinstance(c, str) else c.name for c in model.checkpoints]
    named += [file for scores in suite.scores for file in scores["files"]]
    for text in named:
        if not place.roots.contain(os.path.realpath(_certain(text))):
            raise UnsupportedError(f"{name}: {text} is not below the roots")
    return suite


def _certain(text: str) -> Path:
    """The part of a path before the first wildcard; what comes after may not go up."""
    parts = Path(text).parts
    first = next((n for n, part in enumerate(parts) if is_pattern(part)), len(parts))
    if ".." in parts[first:]:
        raise UnsupportedError(f"{text}: goes up after a wildcard; write it without")
    return Path(*parts[:first])


def _check_size(suite: Suite, place: Place) -> None:
    size = 0
    for entry in suite.entries():
        try:
            with open_checkpoint(suite.place(entry)) as checkpoint:
                size += sum(file.size for file in checkpoint.files)
        except NeuromfaError:
            continue  # which the run reports, entry by entry
        if size > place.weight_bytes:
            raise _too_large(f"suite {suite.name}", size, place)


def _states(suite: Suite, directory: Path) -> Record:
    entries = suite_status(suite, output=directory)
    states = [entry.state for entry in entries]
    return {
        "states": {state: states.count(state) for state in dict.fromkeys(states)},
        "entries": [
            {"model": e.model, "checkpoint": e.revision, "state": e.state, "error": e.error}
            for e in entries
        ],
    }


def _summary(analysis: Analysis) -> Record:
    network = analysis.network
    return {
        "architecture": analysis.architecture,
        "neurons": network.neurons,
        "counted_neurons": network.counted_neurons,
        "edges": network.edges,
        "unknown": len(analysis.coverage["unknown"]),
        "network": _exponents(network),
        "roles": {group.name: _exponents(group) for group in analysis.roles},
        "content_hash": analysis.provenance["content_hash"],
        "warnings": list(analysis.warnings),
    }


def _exponents(group: Group) -> Record:
    errors = group.jackknife or {}
    names = ("alpha_0", "width")
    found = {name: getattr(group, name) for name in names}
    return dict(plain(found | {f"{name}_stderr": errors.get(f"{name}_stderr") for name in names}))
