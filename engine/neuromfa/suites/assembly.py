"""From finished analyses to the files of a suite: tables, cube, emergence, association."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from neuromfa.errors import NeuromfaError
from neuromfa.provenance import versions
from neuromfa.reference.settings import ReferenceProtocol
from neuromfa.scores.association import associate, record
from neuromfa.scores.score import Score
from neuromfa.storage import atomic_file, write_text
from neuromfa.suites.entries import Entry
from neuromfa.suites.journal import Journal
from neuromfa.suites.outcome import outcome
from neuromfa.suites.procedures import Record, procedure_of
from neuromfa.suites.scoring import join_scores, scores_table
from neuromfa.suites.suite import Suite
from neuromfa.suites.tables import cube, cube_bytes, emergence_numbers, long_table
from neuromfa.suites.work import analysis_path, read_controls, write_stored

SCHEMA_VERSION = "1.0"


def assemble(
    suite: Suite, directory: Path, journal: Journal, scores: Sequence[Score]
) -> tuple[Entry, ...]:
    """Write the files of a suite from what is finished, the same bytes for the same results.

    Parameters
    ----------
    suite : Suite
        What was asked for.
    directory : Path
        Of the results.
    journal : Journal
        What has been done.
    scores : sequence of Score
        Those of the suite.

    Returns
    -------
    tuple of Entry
        Every entry with its state.
    """
    import pyarrow.parquet as pq  # noqa: PLC0415  (slow to import)

    procedure = procedure_of(suite)
    entries = outcome(suite, directory, journal)
    done = [entry for entry in entries if entry.state == "done"]
    analyses = {entry.name: _read(suite, directory, entry) for entry in done}
    emergence = {}
    for model in suite.models:
        of_model = [entry for entry in entries if entry.model == model.name]
        emergence[model.name] = _emergence(suite, directory, of_model, analyses)
    rows = [(e, number) for e in done for number in procedure.numbers(analyses[e.name])]
    by_name = {entry.name: entry for entry in done}
    rows += [
        (by_name[f"{model}@{label}"], number)
        for model, course in emergence.items()
        for label, number in emergence_numbers(course)
    ]
    with atomic_file(directory / "analyses.parquet") as file:
        pq.write_table(long_table(rows), file, compression="zstd")
    spectra = [list(procedure.spectra(analyses[entry.name])) for entry in done]
    with atomic_file(directory / "cube.npz") as file:
        file.write(cube_bytes(cube(done, spectra)))
    _write(directory / "emergence.json", {"schema_version": SCHEMA_VERSION, "models": emergence})
    for name in ("scores.parquet", "association.json"):
        if not suite.scores:
            (directory / name).unlink(missing_ok=True)
    if suite.scores:
        joined = join_scores(suite, scores, entries, rows)
        with atomic_file(directory / "scores.parquet") as file:
            pq.write_table(scores_table(scores, joined, entries), file, compression="zstd")
        _write(directory / "association.json", record(joined, associate(joined)), indent=None)
    _write(directory / "suite.json", _record(suite, entries))
    return entries


def _write(path: Path, record: Mapping[str, Any], indent: int | None = 1) -> None:
    write_text(path, json.dumps(record, allow_nan=False, indent=indent) + "\n")


def _read(suite: Suite, directory: Path, entry: Entry) -> Record:
    """The analysis of an entry, kept under its name: of equals the first one's."""
    key = str(entry.key)
    found: Record = procedure_of(suite).read(analysis_path(directory, key))
    if entry.duplicate_of is None and found.source != entry.source:
        write_stored(directory, key, found, entry.source)
    return replace(found, source=entry.source)


def _emergence(
    suite: Suite, directory: Path, of_model: Sequence[Entry], analyses: Mapping[str, Record]
) -> dict[str, Any]:
    """The course of one model; without its baseline there is none, and no other is taken."""
    baseline = resolved_baseline(suite, of_model)
    if baseline.state != "done":
        reason = baseline.error or "it has not been analysed yet"
        return {"undefined": f"the baseline {baseline.revision} is {baseline.state}: {reason}"}
    series = {e.revision: analyses[e.name] for e in of_model if e.state == "done"}
    keys = {e.revision: e.controls_key for e in of_model if e.controls_key is not None}
    found = {label: read_controls(directory, key) for label, key in keys.items()}
    controls = {label: c for label, c in found.items() if c is not None}
    try:
        return procedure_of(suite).emergence(series, baseline.revision, controls)
    except NeuromfaError as error:  # networks that cannot be compared
        return {"undefined": str(error)}


def resolved_baseline(suite: Suite, of_model: Sequence[Entry]) -> Entry:
    """The entry that a model's baseline is; if that is a duplicate, the entry that it equals."""
    revision = suite.baselines()[of_model[0].model].revision
    found = next(entry for entry in of_model if entry.revision == revision)
    if found.state == "duplicate":
        return next(entry for entry in of_model if entry.name == found.duplicate_of)
    return found


def _record(suite: Suite, entries: Sequence[Entry]) -> dict[str, Any]:
    names = [model.name for model in suite.models]
    return {
        "schema_version": SCHEMA_VERSION,
        "name": suite.name,
        "neuromfa": versions(("neuromfa",))["neuromfa"],
        "protocol_kind": "reference" if isinstance(suite.protocol, ReferenceProtocol) else "exact",
        "protocol": suite.protocol.to_dict(),
        "controls": suite.controls,
        "structure": suite.structure,
        "scores": list(suite.scores),
        "models": names,
        "baselines": {
            name: resolved_baseline(suite, [e for e in entries if e.model == name]).revision
            for name in names
        },
        "entries": [entry.to_dict() for entry in entries],
    }
