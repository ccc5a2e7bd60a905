"""What has become of the entries of a suite, from its journal and the results that are there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from neuromfa.suites.entries import Entry
from neuromfa.suites.identity import settings_of
from neuromfa.suites.journal import Journal
from neuromfa.suites.suite import Suite
from neuromfa.suites.work import analysis_path, controls_path


def outcome(suite: Suite, directory: Path, journal: Journal) -> tuple[Entry, ...]:
    """Every entry of a suite with its state, without opening a checkpoint.

    Parameters
    ----------
    suite : Suite
        Whose entries to look for.
    directory : Path
        Of the results.
    journal : Journal
        What has been done there.
    """
    settings, baselines, found = settings_of(suite), suite.baselines(), []
    first: dict[str, Entry] = {}
    first_of_model: dict[tuple[str, str], Entry] = {}
    for entry in suite.entries():
        last = journal.last("analysis", entry)
        if last.get("settings") != settings or last.get("source") != entry.source:
            found.append(entry)
            continue
        if last["error"] is not None:
            found.append(replace(entry, state="failed", error=last["error"]))
            continue
        content = str(last["content_hash"])
        here = replace(entry, content_hash=content, key=last["key"], commit=last["commit"])
        if same := first_of_model.get((entry.model, content)):
            here = replace(here, key=same.key, state="duplicate", duplicate_of=same.name)
        elif not analysis_path(directory, last["key"]).exists():
            here = entry
        else:
            other = first.setdefault(content, here)
            here = replace(here, state="done", duplicate_of=None if other is here else other.name)
            baseline = baselines[entry.model]
            if not journal.last("analysis", baseline).get("error"):
                last = journal.last("controls", entry)
                here = replace(here, **_controls(directory, suite, baseline, last))
            first_of_model[entry.model, content] = here
        found.append(here)
    return tuple(found)


def _controls(
    directory: Path, suite: Suite, baseline: Entry, last: Mapping[str, Any]
) -> dict[str, Any]:
    """Where the controls of a finished entry are, or why they failed."""
    if (last.get("controls"), last.get("baseline")) != (suite.controls, baseline.source):
        return {}
    if last["error"] is not None:
        return {"error": f"controls: {last['error']}"}
    key = str(last["controls_key"])
    return {"controls_key": key} if controls_path(directory, key).exists() else {}
