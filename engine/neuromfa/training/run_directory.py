"""The analyses of a training, kept as those of a suite are: `read_suite` reads them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from neuromfa.errors import BadInputError, UsageError
from neuromfa.protocol import Protocol
from neuromfa.results import Analysis
from neuromfa.storage import read_analysis
from neuromfa.suites.assembly import assemble
from neuromfa.suites.identity import key_of, settings_of
from neuromfa.suites.journal import Journal, open_journal
from neuromfa.suites.suite import Named, Suite, SuiteModel
from neuromfa.suites.suite_results import SuiteResults, read_suite
from neuromfa.suites.work import VOLATILE, analysis_path, write_stored

BASELINE = "baseline"
"""Name of a baseline that is no step of the training."""


class RunDirectory:
    """A directory of results that grows with a training, held against other runs.

    Parameters
    ----------
    directory : Path
        Where.
    journal : Journal
        Open for more.
    training : mapping
        What all analyses have in common: ``model``, ``protocol``, ``structure``,
        ``architectures``, ``layers`` and ``seed``.

    Raises
    ------
    UsageError
        If it holds other results than those of this training.
    """

    def __init__(self, directory: Path, journal: Journal, training: Mapping[str, Any]) -> None:
        self.directory, self.journal, self.training = directory, journal, dict(training)
        self.settings = settings_of(self._suite({"step0": {}}))
        ours = {"event": "training", "settings": self.settings, **self.training}
        known = _training(journal)
        if known is None:
            if journal.events:
                raise UsageError(f"{directory}: holds another suite; choose another directory")
            journal.append(ours)
        elif differ := [name for name, value in ours.items() if known.get(name) != value]:
            raise UsageError(
                f"{directory}: holds a training analysed otherwise ({', '.join(differ)}); choose "
                "another directory"
            )

    def keep(
        self, revision: str, analysis: Analysis, config: Mapping[str, Any], *, step: int | None
    ) -> None:
        """Keep an analysis under the name of its step; what was there of that step gives way."""
        content = str(analysis.provenance["content_hash"])
        key = key_of(content, config, self.settings)
        if not analysis_path(self.directory, key).exists():
            write_stored(self.directory, key, analysis, revision)
        facts = {name: analysis.provenance.get(name) for name in VOLATILE}
        self._note(revision, None, step=step, content_hash=content, key=key, **facts)

    def fail(self, revision: str, reason: str, *, step: int) -> None:
        """Write down why there is no analysis of a step."""
        self._note(revision, reason, step=step)

    def _note(self, revision: str, error: str | None, **facts: Any) -> None:
        about = {"event": "analysis", "model": self.training["model"], "revision": revision}
        about |= {"source": revision, "settings": self.settings, "error": error}
        self.journal.append({**about, "commit": None, "stamps": None, **facts})

    def baseline(self) -> Analysis | None:
        """The analysis that emergence is counted from; None while there is none."""
        events = self._last()
        key = events[revision]["key"] if (revision := _baseline(events)) else None
        return read_analysis(analysis_path(self.directory, key)) if key else None

    def assemble(self) -> None:
        """Put together the files of a suite from all analyses so far."""
        if events := self._last():
            assemble(self._suite(events), self.directory, self.journal, ())

    def _last(self) -> dict[str, dict[str, Any]]:
        """The last event of every step."""
        return {e["revision"]: e for e in self.journal.events if e["event"] == "analysis"}

    def _suite(self, events: Mapping[str, Mapping[str, Any]]) -> Suite:
        """The training as a suite."""
        training, name = self.training, str(self.training["model"])
        checkpoints = tuple(Named(name=r, step=event.get("step")) for r, event in events.items())
        model = SuiteModel(name=name, checkpoints=checkpoints, baseline=_baseline(events))
        registry = training["architectures"]
        return Suite(
            name=name,
            models=(model,),
            protocol=Protocol(**training["protocol"]),
            controls=None,
            structure=training["structure"],
            opening={"architectures": registry} if registry else {},
        )


def _training(journal: Journal) -> dict[str, Any] | None:
    return next((event for event in journal.events if event.get("event") == "training"), None)


def _baseline(events: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The one that was given, or the first step that could be analysed."""
    if BASELINE in events:
        return BASELINE
    done = {revision: event["step"] for revision, event in events.items() if event.get("key")}
    return min(done, key=lambda revision: done[revision], default=None)


@contextmanager
def open_run(
    directory: str | os.PathLike[str], training: Mapping[str, Any]
) -> Iterator[RunDirectory]:
    """Open the directory of a training for more, also of one that was stopped."""
    with open_journal(Path(directory)) as journal:
        yield RunDirectory(Path(directory), journal, training)


def assemble_training(directory: str | os.PathLike[str]) -> SuiteResults:
    """Put together the results of a training that was killed, from all analyses it finished.

    A `Monitor` does so now and then, and when it is closed.

    Parameters
    ----------
    directory : path
        Of the results.

    Returns
    -------
    SuiteResults
        Read from it.

    Raises
    ------
    BadInputError
        If there is no training in it, or no analysis.
    UsageError
        If the training goes on, or another version of neuromfa analysed it.
    """
    folder = Path(directory)
    if (known := _training(Journal(folder))) is None:
        raise BadInputError(f"{folder}: holds no training; give the directory of a Monitor")
    names = ("model", "protocol", "structure", "architectures", "layers", "seed")
    with open_run(folder, {name: known[name] for name in names}) as run:
        run.assemble()
    return read_suite(folder)
