"""The queue: every job with its state, in one SQLite file that survives whatever happens."""

from __future__ import annotations

import json
import secrets
import shutil
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import RLock
from typing import Any

from neuromfa.service.settings import Limits

STATES = ("queued", "running", "done", "partial", "failed", "cancelled")
ACTIVE = ("queued", "running")
_JSON = ("request", "progress", "summary", "problem")
_TABLE = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    kind TEXT NOT NULL,
    request TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'queued',
    attempts INTEGER NOT NULL DEFAULT 0,
    progress TEXT,
    summary TEXT,
    problem TEXT,
    created TEXT NOT NULL,
    started TEXT,
    finished TEXT
)"""


class QueueFullError(Exception):
    """There are as many jobs as there may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One request and what has become of it.

    Attributes
    ----------
    id : str
        16 hexadecimal digits.
    owner : str
        Whose token asked for it.
    kind : str
        "analysis", "plan", "comparison", "suite" or "suite_status".
    request : mapping
        What was asked for.
    state : {"queued", "running", "done", "partial", "failed", "cancelled"}
        Partial is a suite some of whose checkpoints failed.
    attempts : int
        Times it was started.
    progress, summary, problem : mapping or None
        How far it is; what came out, in short; why it failed.
    created, started, finished : str or None
        Times, UTC, ISO 8601.
    """

    id: str
    owner: str
    kind: str
    request: Mapping[str, Any]
    state: str
    attempts: int
    progress: Mapping[str, Any] | None
    summary: Mapping[str, Any] | None
    problem: Mapping[str, Any] | None
    created: str
    started: str | None
    finished: str | None

    @property
    def active(self) -> bool:
        """Whether it waits or runs."""
        return self.state in ACTIVE

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready record, without the owner."""
        return {name: value for name, value in asdict(self).items() if name != "owner"}


class Jobs:
    """All jobs of a service; threads may call it at the same time.

    Parameters
    ----------
    state : Path
        Directory of the queue and of the results.
    limits : Limits
        How many there may be.
    """

    def __init__(self, state: Path, limits: Limits) -> None:
        self.state, self.limits = state, limits
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = RLock()
        self._database = sqlite3.connect(
            state / "jobs.sqlite", check_same_thread=False, isolation_level=None
        )
        self._database.row_factory = sqlite3.Row
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.execute(_TABLE)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._database.close()

    def directory(self, job_id: str) -> Path:
        """Where the results of a job are."""
        return self.state / "results" / job_id

    def submit(self, owner: str, kind: str, request: Mapping[str, Any]) -> Job:
        """Put a job at the end of the queue.

        Raises
        ------
        QueueFullError
            If the owner, or all together, have too many waiting or running.
        """
        job_id = secrets.token_hex(8)
        with self._lock:
            count = "SELECT COUNT(*) AS n FROM jobs WHERE state IN ('queued', 'running')"
            if self._one(count)["n"] >= self.limits.queued:
                raise QueueFullError(f"{self.limits.queued} jobs are waiting or running")
            own = self._one(f"{count} AND owner = ?", owner)["n"]
            if own >= self.limits.queued_per_token:
                raise QueueFullError(f"{own} jobs of this token are waiting or running")
            self._database.execute(
                "INSERT INTO jobs (id, owner, kind, request, created) VALUES (?, ?, ?, ?, ?)",
                (job_id, owner, kind, json.dumps(request), _now()),
            )
            return self._job(self._one("SELECT * FROM jobs WHERE id = ?", job_id))

    def get(self, job_id: str, owner: str) -> Job | None:
        """A job of an owner; None if there is none, or it is another's."""
        with self._lock:
            row = self._one("SELECT * FROM jobs WHERE id = ? AND owner = ?", job_id, owner)
            return self._job(row) if row else None

    def list(self, owner: str, *, state: str | None = None, limit: int = 100) -> list[Job]:
        """Jobs of an owner, the latest first."""
        with self._lock:
            rows = self._database.execute(
                "SELECT * FROM jobs WHERE owner = ? AND (? IS NULL OR state = ?) "
                "ORDER BY number DESC LIMIT ?",
                (owner, state, state, limit),
            )
            return [self._job(row) for row in rows]

    def claim(self) -> Job | None:
        """Take the next job and count the attempt; owners with less at work come first."""
        with self._lock:
            row = self._one(
                "SELECT * FROM jobs AS j WHERE state = 'queued' ORDER BY (SELECT COUNT(*) FROM "
                "jobs WHERE owner = j.owner AND state = 'running'), number LIMIT 1"
            )
            if row is None:
                return None
            self._database.execute(
                "UPDATE jobs SET state = 'running', attempts = attempts + 1, started = ?, "
                "progress = NULL WHERE id = ?",
                (_now(), row["id"]),
            )
            return self._job(self._one("SELECT * FROM jobs WHERE id = ?", row["id"]))

    def report(self, job_id: str, progress: Mapping[str, Any]) -> None:
        """Write down how far a running job is."""
        with self._lock:
            self._database.execute(
                "UPDATE jobs SET progress = ? WHERE id = ? AND state = 'running'",
                (json.dumps(progress), job_id),
            )

    def finish(
        self,
        job_id: str,
        state: str,
        *,
        summary: Mapping[str, Any] | None = None,
        problem: Mapping[str, Any] | None = None,
    ) -> bool:
        """End a job that waits or runs; False if it has ended already."""
        with self._lock:
            changed = self._database.execute(
                "UPDATE jobs SET state = ?, summary = ?, problem = ?, finished = ? "
                "WHERE id = ? AND state IN ('queued', 'running')",
                (state, _dump(summary), _dump(problem), _now(), job_id),
            ).rowcount
            if changed:
                self._forget_oldest(self._one("SELECT owner FROM jobs WHERE id = ?", job_id)[0])
            return bool(changed)

    def requeue(self, job_id: str) -> None:
        """Put a running job back, as if it had not been started."""
        with self._lock:
            self._database.execute(
                "UPDATE jobs SET state = 'queued', attempts = attempts - 1 "
                "WHERE id = ? AND state = 'running'",
                (job_id,),
            )

    def recover(self, problem: Mapping[str, Any]) -> None:
        """After a start: what ran when the service ended waits again, or fails with `problem`.

        It fails if it was started as often as may be: it may be what ends the service.
        """
        with self._lock:
            self._database.execute(
                "UPDATE jobs SET state = 'failed', problem = ?, finished = ? "
                "WHERE state = 'running' AND attempts >= ?",
                (json.dumps(problem), _now(), self.limits.attempts),
            )
            self._database.execute("UPDATE jobs SET state = 'queued' WHERE state = 'running'")

    def delete(self, job_id: str) -> None:
        """Forget a job and its results."""
        with self._lock:
            self._database.execute("DELETE FROM jobs WHERE id = ?", (job_id,))
        shutil.rmtree(self.directory(job_id), ignore_errors=True)

    def _forget_oldest(self, owner: str) -> None:
        rows = self._database.execute(
            "SELECT id FROM jobs WHERE owner = ? AND state NOT IN ('queued', 'running') "
            "ORDER BY number DESC LIMIT -1 OFFSET ?",
            (owner, self.limits.kept_per_token),
        ).fetchall()
        for row in rows:
            self.delete(row["id"])

    def _one(self, query: str, *values: Any) -> Any:
        return self._database.execute(query, values).fetchone()

    @staticmethod
    def _job(row: sqlite3.Row) -> Job:
        record = {name: row[name] for name in row.keys() if name != "number"}  # noqa: SIM118
        for name in _JSON:
            record[name] = None if record[name] is None else json.loads(record[name])
        return Job(**record)


def _dump(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(value)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
