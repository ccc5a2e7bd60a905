"""Runs the queue: each job in a worker process, so that it can be ended and can do no harm."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import subprocess
import sys
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Lock, Thread, Timer
from typing import Any

from neuromfa.errors import NeuromfaError, ResourceError, UsageError
from neuromfa.service.jobs import Job, Jobs
from neuromfa.service.problems import problem, problem_of
from neuromfa.service.requests import REQUESTS
from neuromfa.service.settings import Settings

_LOG = logging.getLogger("neuromfa.service")
_IDLE_SECONDS = 5.0
_ENDED = "the service ended {} times while this job ran; ask the operator before trying again"


class Runner:
    """The workers of a service.

    Parameters
    ----------
    settings : Settings
        What the operator allows.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.jobs = Jobs(settings.state, settings.limits)
        self._stopping = False
        self._lock, self._wake = Lock(), Event()
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._threads: list[Thread] = []
        self._state_lock: int | None = None

    def start(self) -> None:
        """Take up what was left, and begin to work.

        Raises
        ------
        UsageError
            If another service is at work in the same directory.
        """
        self.lock()
        ended = _ENDED.format(self.settings.limits.attempts)
        self.jobs.recover(problem(HTTPStatus.INTERNAL_SERVER_ERROR, ended, "ended"))
        for number in range(self.settings.limits.workers):
            thread = Thread(target=self._work, name=f"neuromfa-jobs-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def lock(self) -> None:
        """Take the state directory, if it is not taken yet.

        Raises
        ------
        UsageError
            If another service is at work there.
        """
        if self._state_lock is not None:
            return
        self._state_lock = os.open(self.settings.state / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._state_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._state_lock)
            self._state_lock = None
            raise UsageError(
                f"{self.settings.state}: another service is at work there; "
                "give a place of its own with --state"
            ) from None

    def stop(self) -> None:
        """End the workers; what they were at waits for the next start."""
        self._stopping = True
        self._wake.set()
        with self._lock:
            for process in self._processes.values():
                process.kill()
        for thread in self._threads:
            thread.join()
        self.jobs.close()
        if self._state_lock is not None:
            os.close(self._state_lock)

    def submit(self, owner: str, kind: str, request: dict[str, Any]) -> Job:
        """Check a request and put it into the queue.

        Raises
        ------
        ValidationError
            Of pydantic, if it is not a request of this kind.
        UsageError, BadInputError
            If it cannot be done.
        QueueFullError
            If there are too many.
        """
        asked = REQUESTS[kind].model_validate(request)
        asked.check(self.settings)
        job = self.jobs.submit(owner, kind, asked.model_dump(mode="json", exclude_unset=True))
        self._wake.set()
        return job

    def cancel(self, job: Job) -> None:
        """End a job that waits or runs; nothing if it has ended."""
        self.jobs.finish(job.id, "cancelled")
        with self._lock:
            if process := self._processes.get(job.id):
                process.kill()

    def _work(self) -> None:
        while not self._stopping:
            self._wake.clear()
            job = self.jobs.claim()
            if job is None:
                self._wake.wait(_IDLE_SECONDS)
                continue
            self._wake.set()  # there may be another one, for another thread
            try:
                self._run(job)
            except Exception as error:
                _LOG.exception("job %s", job.id)
                self.jobs.finish(job.id, "failed", problem=problem_of(error))

    def _run(self, job: Job) -> None:
        directory = self.jobs.directory(job.id)
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (directory / "log.txt").open("a", encoding="utf-8") as log:
            process = self._start(job, directory, log)
        overdue = Event()

        def end() -> None:
            overdue.set()
            process.kill()

        timer = Timer(self.settings.limits.job_seconds, end)
        timer.start()
        try:
            last = self._listen(job, process)
        finally:
            timer.cancel()
            with self._lock:
                del self._processes[job.id]
            process.kill()
            code = process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()
        if last is None and self._stopping:
            self.jobs.requeue(job.id)
            return
        self._finish(job, last or {"state": "failed", "problem": self._fault(code, overdue)})

    def _start(self, job: Job, directory: Path, log: Any) -> subprocess.Popen[str]:
        limits = self.settings.limits
        order = {
            "kind": job.kind,
            "request": REQUESTS[job.kind].model_validate(job.request).model_dump(mode="json"),
            "directory": str(directory),
            "roots": {k: str(v) for k, v in self.settings.roots.directories.items()},
            "resources": self.settings.resources,
            "weight_bytes": limits.weight_bytes,
            "moments": limits.moments,
        }
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "neuromfa.service.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=self._environment(directory),
            text=True,
            start_new_session=True,  # an interrupt at the terminal is for the service to handle
        )
        with self._lock:
            self._processes[job.id] = process
            # Cancelled, or stopped, before there was a process to end.
            now = self.jobs.get(job.id, job.owner)
            if self._stopping or now is None or now.state != "running":
                process.kill()
        try:
            assert process.stdin is not None
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended; its code says why
        return process

    def _environment(self, directory: Path) -> dict[str, str]:
        """What a worker is told of this machine."""
        # The hub is out of reach, also where a path looks like the name of a model.
        found = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(directory / "no-hub")}
        # Compiled code is kept where a worker may write, if that is not where the package is.
        cache = self.settings.state / "cache"
        spec = find_spec("neuromfa_kernels")
        if "NUMBA_CACHE_DIR" not in os.environ and not (
            spec and spec.origin and os.access(Path(spec.origin).parent, os.W_OK)
        ):
            found["NUMBA_CACHE_DIR"] = str(cache / "numba")
        return {"CUPY_CACHE_DIR": str(cache / "cupy")} | os.environ | found

    def _listen(self, job: Job, process: subprocess.Popen[str]) -> dict[str, Any] | None:
        """Write down progress; give the last word, None if it ended without one."""
        assert process.stdout is not None
        for line in process.stdout:
            try:
                record: dict[str, Any] = json.loads(line)
            except ValueError:
                continue  # cut off
            if "state" in record:
                return record
            self.jobs.report(job.id, record["progress"])
        return None

    def _fault(self, code: int, overdue: Event) -> dict[str, Any]:
        error: NeuromfaError
        if overdue.is_set():
            seconds = self.settings.limits.job_seconds
            error = ResourceError(f"the job took longer than {seconds:,g} seconds and was ended")
        else:
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            hint = "; it may have needed more memory than there is" if code == -9 else ""
            error = ResourceError(f"the worker ended with {how}, without an answer{hint}")
        return problem_of(error)

    def _finish(self, job: Job, last: dict[str, Any]) -> None:
        found = {name: last.get(name) for name in ("summary", "problem")}
        self.jobs.finish(job.id, last["state"], **found)
        self._wake.set()
