"""The results of a suite, read from their directory."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from neuromfa.errors import BadInputError, UsageError
from neuromfa.reference.record import ReferenceAnalysis
from neuromfa.results import Analysis
from neuromfa.storage import read_analysis
from neuromfa.suites.entries import Entry
from neuromfa.suites.journal import read_events

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")

SCHEMA_VERSION = "1.0"


@dataclass(frozen=True, eq=False, kw_only=True)
class SuiteResults:
    """What a suite has found; everything but its list of checkpoints is read on first use.

    Attributes
    ----------
    directory : Path
        Where it is.
    record : mapping
        ``suite.json``: name, protocol, controls, models, baselines.
    entries : tuple of Entry
        Every checkpoint with its state, models in the order of the suite, checkpoints in that of
        training.
    """

    directory: Path
    record: Mapping[str, Any]
    entries: tuple[Entry, ...]

    @property
    def name(self) -> str:
        """Name of the suite."""
        return str(self.record["name"])

    @property
    def protocol(self) -> Mapping[str, Any]:
        """Every setting that defines the numbers."""
        found: Mapping[str, Any] = self.record["protocol"]
        return found

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models."""
        return tuple(self.record["models"])

    def series(self, model: str) -> tuple[Entry, ...]:
        """Finished checkpoints of a model in the order of training, each weights once."""
        return tuple(e for e in self.entries if e.model == model and e.state == "done")

    def baseline(self, model: str) -> Entry | None:
        """The checkpoint that the degree of emergence starts from; None if it is not finished."""
        revision = self.record["baselines"][model]
        return next((e for e in self.series(model) if e.revision == revision), None)

    def analysis(self, entry: Entry) -> Analysis | ReferenceAnalysis:
        """The analysis of a finished entry.

        Raises
        ------
        UsageError
            If the entry has none.
        BadInputError
            If its file is missing or broken.
        """
        if entry.key is None:
            raise UsageError(f"{entry.name}: is {entry.state} and has no analysis")
        return self._analyses(entry.key)

    @cached_property
    def _analyses(self) -> Callable[[str], Analysis | ReferenceAnalysis]:
        sampled = self.record["protocol_kind"] == "reference"

        @cache
        def read(key: str) -> Analysis | ReferenceAnalysis:
            path = self.directory / "analyses" / f"{key}.json"
            return _read(path, ReferenceAnalysis.from_dict) if sampled else read_analysis(path)

        return read

    def controls(self, entry: Entry) -> dict[str, Any] | None:
        """Controls and null models of an entry against its baseline; None if there are none."""
        if entry.controls_key is None:
            return None
        return _read(self.directory / "controls" / f"{entry.controls_key}.json", dict)

    @cached_property
    def emergence(self) -> Mapping[str, Any]:
        """By model, its course of emergence; ``undefined`` with the reason where there is none."""
        found: Mapping[str, Any] = _read(self.directory / "emergence.json", dict)["models"]
        return found

    @cached_property
    def association(self) -> Mapping[str, Any] | None:
        """How the numbers go with the scores; None if the suite has no scores."""
        path = self.directory / "association.json"
        return _read(path, dict) if path.exists() else None

    def table(self) -> pa.Table:
        """Every number of every finished checkpoint: one row for each group and quantity."""
        return _parquet(self.directory / "analyses.parquet")

    def scores(self) -> pa.Table | None:
        """The scores; None if the suite has none."""
        path = self.directory / "scores.parquet"
        return _parquet(path) if path.exists() else None

    def cube(self) -> dict[str, np.ndarray[Any, Any]]:
        """Spectra as arrays over checkpoint, group and q: see docs/suites.md."""
        path = self.directory / "cube.npz"
        try:
            with np.load(path) as arrays:
                return dict(arrays)
        except (OSError, ValueError) as error:
            raise BadInputError(f"{path}: cannot be read: {error}") from error

    @property
    def log(self) -> list[dict[str, Any]]:
        """What was done when, and how fast: the events of all runs."""
        return read_events(self.directory)


def read_suite(directory: str | os.PathLike[str]) -> SuiteResults:
    """Read the results of a suite.

    Parameters
    ----------
    directory : path
        What ``neuromfa suite run`` or `run_suite` wrote.

    Raises
    ------
    BadInputError
        If there are no results of a suite, or they are of another version.
    """
    folder = Path(directory)
    path = folder / "suite.json"
    if not path.exists():
        raise BadInputError(
            f"{folder}: holds no finished suite; give the output of a whole neuromfa suite run"
        )
    record = _read(path, dict)
    version = str(record.get("schema_version"))
    if version.partition(".")[0] != SCHEMA_VERSION.partition(".")[0]:
        raise BadInputError(
            f"{path}: schema version {version}, this version reads {SCHEMA_VERSION}"
        )
    entries = _read(path, lambda r: tuple(map(Entry.from_dict, r["entries"])))
    return SuiteResults(directory=folder, record=record, entries=entries)


def _read(path: Path, revive: Callable[[dict[str, Any]], T]) -> T:
    try:
        return revive(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise BadInputError(f"{path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInputError(f"{path}: not the record of a suite ({error!r})") from error


def _parquet(path: Path) -> pa.Table:
    import pyarrow as pa  # noqa: PLC0415  (slow to import)
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise BadInputError(f"{path}: cannot be read: {error}") from error
