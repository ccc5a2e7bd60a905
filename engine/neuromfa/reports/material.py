"""What a report is made from: analyses in the order of training, and what was made of them."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuromfa.errors import BadInputError
from neuromfa.group import Group
from neuromfa.reports.figure import file_stem
from neuromfa.reports.sampled import as_analysis, as_emergence
from neuromfa.results import Analysis
from neuromfa.storage import read_analysis

if TYPE_CHECKING:
    from neuromfa.reference.record import ReferenceAnalysis
    from neuromfa.suites.entries import Entry
    from neuromfa.suites.suite_results import SuiteResults

Record = Mapping[str, Any]

RECORDS = ("analysis.json", "reference.json")


@dataclass(frozen=True, kw_only=True)
class Point:
    """One analysed checkpoint.

    Attributes
    ----------
    label : str
        Its name within its model.
    at : float
        Where it stands on the axis of training: its step, or its place if steps are not known.
    step, tokens : int or None
        As far as its name tells.
    analysis : Analysis
        What was measured.
    """

    label: str
    at: float
    step: int | None
    tokens: int | None
    analysis: Analysis

    def group(self, kind: str, name: str) -> Group | None:
        """One group of the analysis; None if there is none of this name."""
        if kind == "network":
            return self.analysis.network
        return next((g for g in getattr(self.analysis, kind) if g.name == name), None)


@dataclass(frozen=True, kw_only=True)
class Series:
    """The checkpoints of one model, in the order of training.

    Attributes
    ----------
    model : str
        Its name.
    points : sequence of Point
        Finished checkpoints, each set of weights once.
    by_step : bool
        Whether points stand at their steps.
    emergence : mapping or None
        Its record of emergence.
    no_emergence : str
        Why there is none.
    alone : bool
        Whether it is the report's only model, so that titles need not name it.
    sampled : bool
        Whether its networks are means over samples.
    """

    model: str
    points: Sequence[Point]
    by_step: bool
    emergence: Record | None = None
    no_emergence: str = "it was not computed"
    alone: bool = True
    sampled: bool = False

    @cached_property
    def stem(self) -> str:
        """The model's part of a file name."""
        return file_stem(self.model)

    @property
    def error(self) -> str:
        """What its errors are."""
        if self.sampled:
            return "one standard deviation over the samples"
        return "one jackknife standard error"

    def titled(self, text: str) -> str:
        """A title, with the model's name where there are several."""
        return text if self.alone else f"{text}, {self.model}"

    @property
    def last(self) -> Point:
        """The last checkpoint."""
        return self.points[-1]

    def emerged(self, kind: str = "network", name: str | None = None) -> dict[str, Record]:
        """What is known of emergence at each label, for one group; empty if nothing is."""
        for group in (self.emergence or {}).get("groups", ()):
            if group["kind"] == kind and name in (None, group["name"]):
                return {point["label"]: point for point in group["points"]}
        return {}

    def names(self, kind: str) -> list[str]:
        """Names of the groups of a kind, in the order of the first checkpoint that has them."""
        seen = (g.name for point in self.points for g in getattr(point.analysis, kind))
        return list(dict.fromkeys(seen))


@dataclass(frozen=True, kw_only=True)
class Material:
    """Everything a report may tell.

    Attributes
    ----------
    title : str
        The suite's name or the checkpoint's.
    series : sequence of Series
        One for each model with a finished checkpoint.
    suite : mapping or None
        ``suite.json``; None for a single analysis.
    scores : sequence of mappings
        Rows of the table of scores.
    association : mapping or None
        Statistics of association with scores.
    """

    title: str
    series: Sequence[Series]
    suite: Record | None = None
    scores: Sequence[Record] = ()
    association: Record | None = None
    entries: Sequence[Record] = field(default_factory=tuple)

    @property
    def analyses(self) -> list[tuple[Series, Point]]:
        """Every point with its series."""
        return [(series, point) for series in self.series for point in series.points]


def open_material(path: str | os.PathLike[str]) -> Material:
    """Read what a report is made from.

    Parameters
    ----------
    path : path
        The results of a suite (a directory with ``suite.json``), or one analysis: its directory,
        its ``analysis.json``, or its ``reference.json`` if it followed the authors' procedure.

    Raises
    ------
    BadInputError
        If it is neither, is broken, or nothing in it is finished.
    """
    place = Path(path)
    if (place / "suite.json").exists():
        from neuromfa.suites.suite_results import read_suite  # noqa: PLC0415  (slow to import)

        return _of_suite(read_suite(place))
    if place.is_dir():
        place = next((p for p in map(place.joinpath, RECORDS) if p.exists()), place)
    if place.name == "reference.json":
        return of_analysis(as_analysis(_read_reference(place)), sampled=True)
    if place.is_dir():
        raise BadInputError(
            f"{place}: neither suite.json nor analysis.json nor reference.json nor graph.json is "
            "there; give the directory that `neuromfa suite run`, or `neuromfa analyse` or `graph` "
            "with --output, wrote"
        )
    return of_analysis(read_analysis(place))


def _read_reference(path: Path) -> ReferenceAnalysis:
    from neuromfa.reference.record import ReferenceAnalysis  # noqa: PLC0415  (slow to import)

    try:
        return ReferenceAnalysis.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise BadInputError(f"{path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInputError(f"{path}: not the record of an analysis ({error!r})") from error


def of_analysis(analysis: Analysis, *, sampled: bool = False) -> Material:
    """The material of a single analysis."""
    name = Path(analysis.source).name or analysis.source
    point = Point(label=name, at=0.0, step=None, tokens=None, analysis=analysis)
    one = "this is a single checkpoint: emergence needs several, see `neuromfa suite`"
    series = Series(model=name, points=(point,), by_step=False, no_emergence=one, sampled=sampled)
    return Material(title=name, series=(series,))


def _of_suite(results: SuiteResults) -> Material:
    series = [_series(results, model) for model in results.models]
    if not any(one.points for one in series):
        raise BadInputError(
            f"{results.directory}: no checkpoint of this suite is finished; run it first"
        )
    scores = results.scores()
    return Material(
        title=results.name,
        series=[one for one in series if one.points],
        suite=results.record,
        scores=() if scores is None else scores.to_pylist(),
        association=results.association,
        entries=results.record["entries"],
    )


def _series(results: SuiteResults, model: str) -> Series:
    from neuromfa.reference.record import ReferenceAnalysis  # noqa: PLC0415  (slow to import)

    def analysis(entry: Entry) -> Analysis:
        found = results.analysis(entry)
        return as_analysis(found) if isinstance(found, ReferenceAnalysis) else found

    entries = results.series(model)
    sampled = results.record["protocol_kind"] == "reference"
    by_step = all(entry.step is not None for entry in entries)
    points = [
        Point(
            label=entry.revision,
            at=float(entry.step if by_step and entry.step is not None else place),
            step=entry.step,
            tokens=entry.tokens,
            analysis=analysis(entry),
        )
        for place, entry in enumerate(entries)
    ]
    record = (results.emergence or {}).get(model)
    undefined = "it was not computed" if record is None else record.get("undefined")
    return Series(
        model=model,
        points=points,
        by_step=by_step,
        emergence=None
        if undefined or record is None
        else as_emergence(record)
        if sampled
        else record,
        no_emergence=undefined or "",
        alone=len(results.models) == 1,
        sampled=sampled,
    )


def finite(value: float | None) -> float | None:
    """None for what is not a number."""
    return None if value is None or not math.isfinite(value) else value


def errors_of(group: Group) -> Record:
    """The jackknife's standard errors of a group; empty if there are none."""
    return group.jackknife or {}
