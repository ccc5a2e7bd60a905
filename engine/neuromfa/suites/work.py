"""The work of a suite: one checkpoint after the other, each finished one kept at once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from neuromfa.analysis import Progress
from neuromfa.checkpoint import Checkpoint, open_checkpoint
from neuromfa.emergence.controls import Controls, measure_controls
from neuromfa.errors import BadInputError, NeuromfaError
from neuromfa.protocol import Protocol
from neuromfa.storage import write_text
from neuromfa.suites.entries import Entry
from neuromfa.suites.identity import (
    controls_key_of,
    key_of,
    read_content_hash,
    settings_of,
    stamps,
)
from neuromfa.suites.journal import Journal
from neuromfa.suites.procedures import Procedure, Record, Resources, opening_of, procedure_of
from neuromfa.suites.suite import Suite

VOLATILE = ("threads", "units", "memory_bytes", "seconds", "gigabytes_per_second", "finished")
"""What provenance tells of one run: it goes to the journal, not into the result."""


class SuiteProgress(NamedTuple):
    """How far a suite has come.

    Attributes
    ----------
    done, total : int
        Checkpoints.
    entry : Entry
        The checkpoint that is being worked on.
    stage : {"analysis", "controls", "end"}
        What is done with it; at the end it is done with, for good or bad.
    analysis : Progress or None
        How far its analysis is.
    error : str or None
        Why it failed, just now.
    """

    done: int
    total: int
    entry: Entry
    stage: str = "analysis"
    analysis: Progress | None = None
    error: str | None = None


class Work:
    """What is the same for all checkpoints of a run.

    Parameters
    ----------
    suite : Suite
        What to do.
    directory : Path
        Where finished analyses are kept.
    journal : Journal
        What has been done, open for more.
    resources : Resources
        What may be used.
    progress : callable
        Called with `SuiteProgress`; an exception from it stops the run.
    """

    def __init__(
        self,
        suite: Suite,
        directory: Path,
        journal: Journal,
        *,
        resources: Resources,
        progress: Callable[[SuiteProgress], None],
    ) -> None:
        self.suite, self.directory, self.journal = suite, directory, journal
        self.resources = resources
        self.procedure, self.settings = procedure_of(suite), settings_of(suite)
        self.entries, self.baselines = suite.entries(), suite.baselines()
        self.contents = {
            json.dumps(event["stamps"]): str(event["content_hash"])
            for event in journal.events
            if event.get("stamps") and event.get("content_hash")
        }
        self._progress = progress
        self._stop: Exception | None = None

    def do(self, entries: Sequence[Entry]) -> None:
        """Analyse what is not analysed yet; what fails is written down, and the rest goes on."""
        # Baselines first: the controls of all others ask for their content.
        ordered = sorted(entries, key=lambda e: e != self.baselines[e.model])
        for done, entry in enumerate(ordered):
            state = SuiteProgress(done, len(ordered), entry)
            error = self._try("analysis", self._analyse, state)
            if error is None and self.suite.controls is not None:
                error = self._try("controls", self._control, state._replace(stage="controls"))
            self._show(state._replace(done=done + 1, stage="end", error=error))

    def _show(self, state: SuiteProgress) -> None:
        try:
            self._progress(state)
        except Exception as error:
            self._stop = error  # whatever the caller raises is no failure of a checkpoint
            raise

    def _try(
        self, event: str, step: Callable[[SuiteProgress, Checkpoint], None], state: SuiteProgress
    ) -> str | None:
        """Do a step of an entry; if it fails write down why, and return it."""
        entry = state.entry
        try:
            with self._open(entry) as checkpoint:
                step(state, checkpoint)
        except Exception as error:
            if error is self._stop:
                raise
            expected = isinstance(error, NeuromfaError) and str(error)
            sentence = str(error) if expected else f"{type(error).__name__}: {error}"
            self._note(event, entry, error=sentence)
            return sentence
        return None

    def _open(self, entry: Entry) -> Checkpoint:
        allow_pickle = bool(self.suite.opening.get("allow_pickle"))
        return open_checkpoint(self.suite.place(entry), allow_pickle=allow_pickle)

    def _note(self, event: str, entry: Entry, **rest: Any) -> None:
        about = {"event": event, "model": entry.model, "revision": entry.revision}
        facts: dict[str, Any] = {"source": entry.source, "settings": self.settings, "error": None}
        if event == "controls":
            baseline = self.baselines[entry.model].source
            facts |= {"controls": self.suite.controls, "baseline": baseline}
        self.journal.append(about | facts | rest)

    def _analyse(self, state: SuiteProgress, checkpoint: Checkpoint) -> None:
        entry, now = state.entry, stamps(checkpoint)
        content = self._content(entry, checkpoint)
        if content is not None:
            key = key_of(content, checkpoint.config, self.settings)
            if read_stored(self.procedure, self.directory, key, content) is not None:
                found = {"stamps": now, "content_hash": content, "key": key}
                found["commit"] = checkpoint.commit
                last = self.journal.last("analysis", entry)
                expected = found | {"source": entry.source, "settings": self.settings}
                if last.get("error") or any(last.get(k) != v for k, v in expected.items()):
                    self._note("analysis", entry, **found)
                return
        analysis = self.procedure.analyse(
            self.suite,
            checkpoint,
            self.resources,
            lambda progress: self._show(state._replace(analysis=progress)),
        )
        content = str(analysis.provenance["content_hash"])
        key = key_of(content, checkpoint.config, self.settings)
        if read_stored(self.procedure, self.directory, key, content) is None:
            write_stored(self.directory, key, analysis, entry.source)
        if now is not None:
            self.contents[json.dumps(now)] = content
        facts = {name: analysis.provenance.get(name) for name in VOLATILE}
        facts |= {"stamps": now, "content_hash": content, "key": key, "commit": checkpoint.commit}
        self._note("analysis", entry, **facts)

    def _content(self, entry: Entry, checkpoint: Checkpoint) -> str | None:
        """Content hash of a checkpoint, if it is known or worth a reading of its own.

        It is worth it where an analysis may well be there: if the files of an entry were touched,
        copied or moved since, or if they are in memory anyway.
        """
        now = stamps(checkpoint)
        content = self.contents.get(json.dumps(now))
        if content is None and (
            now is None or self.journal.last("analysis", entry).get("content_hash")
        ):
            content = read_content_hash(checkpoint, self.resources.threads)
            if now is not None:
                self.contents[json.dumps(now)] = content
        return content

    def _control(self, state: SuiteProgress, checkpoint: Checkpoint) -> None:
        """Measure the controls and null models of a finished entry against its baseline."""
        entry, asked, protocol = state.entry, self.suite.controls, self.suite.protocol
        analysed = self.journal.last("analysis", entry)
        baseline = self.baselines[entry.model]
        if asked is None or not isinstance(protocol, Protocol):
            return
        if self._is_duplicate(entry, analysed["content_hash"]):
            return
        if self.journal.last("analysis", baseline).get("error"):
            return  # which is reported once, at the baseline
        with self._open(baseline) as start:
            content = self._content(baseline, start) or read_content_hash(
                start, self.resources.threads
            )
            key = controls_key_of(analysed["key"], content, asked)
            began = time.perf_counter()
            if read_controls(self.directory, key) is None:
                self._show(state)
                controls = measure_controls(
                    checkpoint,
                    start,
                    protocol,
                    opening=opening_of(self.suite),
                    **asked,
                    threads=self.resources.threads,
                    memory=self.resources.memory,
                )
                controls = replace(controls, source=entry.source, baseline=baseline.source)
                write_text(controls_path(self.directory, key), controls.to_json())
        if self.journal.last("controls", entry).get("controls_key") != key:  # also if it failed
            seconds = round(time.perf_counter() - began, 6)
            self._note("controls", entry, controls_key=key, seconds=seconds)

    def _is_duplicate(self, entry: Entry, content: str) -> bool:
        """Whether an entry that comes before it in its model has the same weights."""
        for other in self.entries:
            if other == entry:
                return False
            last = self.journal.last("analysis", other) if other.model == entry.model else {}
            if not last.get("error") and last.get("content_hash") == content:
                return True
        return False


def analysis_path(directory: Path, key: str) -> Path:
    """Where the analysis of a key is kept."""
    return directory / "analyses" / f"{key}.json"


def controls_path(directory: Path, key: str) -> Path:
    """Where the controls of a key are kept."""
    return directory / "controls" / f"{key}.json"


def read_stored(procedure: Procedure, directory: Path, key: str, content: str) -> Record | None:
    """Return a finished analysis; None if it is not there, not whole, or of other weights."""
    path = analysis_path(directory, key)
    try:
        found: Record | None = procedure.read(path) if path.exists() else None
    except BadInputError:
        return None
    return found if found and found.provenance["content_hash"] == content else None


def write_stored(directory: Path, key: str, analysis: Record, source: str) -> None:
    """Keep a finished analysis, without what differs from run to run."""
    facts = {k: v for k, v in analysis.provenance.items() if k not in VOLATILE}
    kept = replace(analysis, source=source, provenance=facts)
    write_text(analysis_path(directory, key), kept.to_json())


def read_controls(directory: Path, key: str) -> Controls | None:
    """Return finished controls; None if they are not there or not whole."""
    path = controls_path(directory, key)
    try:
        return Controls.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, NeuromfaError):
        return None
