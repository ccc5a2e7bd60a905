"""The two procedures that a suite may follow: the exact one, and the authors' sampled one."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from neuromfa.analysis import Progress, analyse
from neuromfa.emergence.controls import Controls
from neuromfa.emergence.course import measure_emergence
from neuromfa.errors import BadInputError
from neuromfa.multifractal import Float64
from neuromfa.protocol import Protocol
from neuromfa.records import plain
from neuromfa.reference.emergence import reference_emergence
from neuromfa.reference.procedure import analyse_reference
from neuromfa.reference.record import ReferenceAnalysis
from neuromfa.reference.settings import ReferenceProtocol
from neuromfa.results import Analysis
from neuromfa.storage import read_analysis
from neuromfa.suites.suite import Suite

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from neuromfa.checkpoint import Checkpoint

Record = Analysis | ReferenceAnalysis

OVER_Q = ("tau", "tau_stderr", "alpha", "f", "generalised_dimension", "r2")
"""What the cube holds for each moment; the sampled procedure has no generalised dimension."""

_LABELS = ("kind", "name", "block", "role", "tensors", "radii", "undefined", "concave")
_ERROR = "_stderr"


class Resources(NamedTuple):
    """What a run may use; see `neuromfa.analyse`."""

    threads: int | None
    memory: int
    device: str = "cpu"
    device_memory: int | None = None
    executor: Executor | None = None


class Number(NamedTuple):
    """A number of a group, with its standard error."""

    kind: str
    group: str
    quantity: str
    value: float | None
    stderr: float | None = None


class Spectrum(NamedTuple):
    """What the cube holds of a group, by name."""

    kind: str
    group: str
    arrays: Mapping[str, Float64 | float]


class Procedure(NamedTuple):
    """How checkpoints are analysed, and what is read from the records.

    Attributes
    ----------
    analyse : callable
        From suite, open checkpoint, resources and progress.
    read : callable
        A record from its file.
    numbers, spectra : callable
        Of a record, group by group.
    emergence : callable
        The record of one model, from its analyses by label, the baseline's label and the controls.
    """

    analyse: Callable[[Suite, Checkpoint, Resources, Callable[[Progress], None]], Record]
    read: Callable[[Path], Any]
    numbers: Callable[[Any], Iterator[Number]]
    spectra: Callable[[Any], Iterator[Spectrum]]
    emergence: Callable[[Mapping[str, Any], str, Mapping[str, Controls]], dict[str, Any]]


def procedure_of(suite: Suite) -> Procedure:
    """The procedure that a suite's protocol belongs to."""
    return SAMPLED if isinstance(suite.protocol, ReferenceProtocol) else EXACT


def opening_of(suite: Suite) -> dict[str, Any]:
    """How the opened checkpoints of a suite are classified."""
    return {k: v for k, v in suite.opening.items() if k != "allow_pickle"}


def _analyse_exact(
    suite: Suite,
    checkpoint: Checkpoint,
    resources: Resources,
    progress: Callable[[Progress], None],
) -> Analysis:
    assert isinstance(suite.protocol, Protocol)
    if resources.executor is not None:
        resources = resources._replace(threads=None)  # those of the controls, which stay here
    return analyse(
        checkpoint,
        suite.protocol,
        structure=suite.structure,
        progress=progress,
        **opening_of(suite),
        **resources._asdict(),
    )


def _exact_numbers(analysis: Analysis) -> Iterator[Number]:
    for record in analysis.to_arrow("groups").to_pylist():
        for quantity, value in record.items():
            if quantity not in _LABELS and not quantity.endswith(_ERROR):
                stderr = record.get(quantity + _ERROR)
                yield Number(record["kind"], record["name"], quantity, value, stderr)
    for record in (analysis.structure or {}).get("groups", ()):
        for quantity, value in record.items():
            if quantity not in _LABELS:
                yield Number(record["kind"], record["name"], quantity, value)


def _exact_spectra(analysis: Analysis) -> Iterator[Spectrum]:
    for kind, group in analysis.groups():
        names = ("q", *OVER_Q, "alpha_0", "width")
        yield Spectrum(kind, group.name, {name: getattr(group, name) for name in names})


def _exact_emergence(
    analyses: Mapping[str, Analysis], baseline: str, controls: Mapping[str, Controls]
) -> dict[str, Any]:
    found = measure_emergence(analyses, baseline=baseline, controls=controls)
    return found.to_dict()


def _analyse_sampled(
    suite: Suite,
    checkpoint: Checkpoint,
    resources: Resources,
    progress: Callable[[Progress], None],
) -> ReferenceAnalysis:
    assert isinstance(suite.protocol, ReferenceProtocol)
    threads = resources.threads
    analysis = analyse_reference(checkpoint, suite.protocol, threads=threads, **opening_of(suite))
    weight_bytes = int(analysis.provenance["weight_bytes"])
    progress(Progress(weight_bytes, weight_bytes, None))
    return analysis


def _read_sampled(path: Path) -> ReferenceAnalysis:
    try:
        return ReferenceAnalysis.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise BadInputError(f"{path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInputError(f"{path}: not the record of an analysis ({error!r})") from error


def _sampled_numbers(analysis: ReferenceAnalysis) -> Iterator[Number]:
    """Means over the samples with their standard errors, then every sample."""
    found = analysis.statistics()
    for name in ("alpha_0", "alpha_0_derivative", "width"):
        mean, sd = found[f"{name}_mean"], found[f"{name}_sd"]
        yield Number("network", "network", name, mean, sd / math.sqrt(len(analysis.samples)))
        yield Number("network", "network", f"{name}_sd", sd)
    for sample in analysis.samples:
        names = ("alpha_0", "alpha_0_derivative", "width", "neurons", "counted_neurons")
        for name in (*names, "edges", "edges_in_range", "edges_below", "edges_above", "zeros"):
            yield Number("samples", str(sample.sample), name, getattr(sample, name))


def _sampled_spectra(analysis: ReferenceAnalysis) -> Iterator[Spectrum]:
    """Of each sample; forward differences have no last value."""
    q = np.array(analysis.protocol["q"])
    for sample in analysis.samples:
        arrays: dict[str, Float64 | float] = {
            "q": q,
            **{name: getattr(sample, name) for name in ("tau", "tau_stderr", "r2")},
            **{name: np.append(getattr(sample, name), math.nan) for name in ("alpha", "f")},
            **{name: getattr(sample, name) for name in ("alpha_0", "width")},
        }
        yield Spectrum("samples", str(sample.sample), arrays)


def _sampled_emergence(
    analyses: Mapping[str, ReferenceAnalysis], baseline: str, _controls: Mapping[str, Controls]
) -> dict[str, Any]:
    first = analyses[baseline]
    return {
        "schema_version": "1.0",
        "baseline": baseline,
        "protocol": dict(first.protocol),
        "labels": list(analyses),
        "points": [
            {"label": label, **plain(reference_emergence(analysis, first).to_dict())}
            for label, analysis in analyses.items()
        ],
    }


EXACT = Procedure(_analyse_exact, read_analysis, _exact_numbers, _exact_spectra, _exact_emergence)
SAMPLED = Procedure(
    _analyse_sampled, _read_sampled, _sampled_numbers, _sampled_spectra, _sampled_emergence
)
